"""Prepare: bring a cohort onto one grid and one scale, and see what each step does."""

import streamlit as st

from core.cohort import Cohort, list_cohorts
from core.dataset import Dataset, list_datasets
from core.errors import InvalidConfigError
from core.quality.flags import flags_of
from core.quality.report import read_report
from core.recipes import PrepareConfig
from core.runs import ENDED, list_runs
from core.workspace import safe_name
from ui.case_slices import case_slices
from ui.dataset_view import dataset_summary, delete_dataset_button, left_out
from ui.empty import empty_state
from ui.errors import guard
from ui.frame import page_header
from ui.gallery import gallery
from ui.jobs_banner import start_job
from ui.outcome import failure_notice, is_running, just_finished
from ui.pickers import case_picker, cohort_picker, dataset_picker
from ui.quality_view import check_button, quality_view
from ui.state import State, workspace
from ui.steps_view import images_of, recipe_form, recipe_picker, steps_view
from ui.views import turn_to, view_switch

VIEWS = {"gallery": "Gallery", "case": "One case", "quality": "Quality"}


def make() -> None:
    """Cohort and recipe on the left, their effect on one image on the right."""
    left, right = st.columns([2, 3], gap="medium")
    config = None
    with left, guard():
        cohort = cohort_picker()
        if cohort is None or not cohort.case_ids:
            empty_state("No case to prepare", "This cohort has no case. Import images on the Data page.")
            return
        modalities = sorted({m for case_id in cohort.case_ids for m in images_of(cohort, case_id)})
        recipe, usual = recipe_picker("brain-mr-ct" if cohort.info.get("simulated") else "generic")
        above = st.container()  # the act stays in sight however long the form is
        config = recipe_form(recipe, usual, modalities)
        with above:
            start_controls(cohort, config)
    if config is not None:
        with right, guard():
            case_id = case_picker([case_id for case_id in cohort.case_ids if images_of(cohort, case_id)])
            if case_id is not None:
                steps_view(cohort, case_id, config)


def start_controls(cohort: Cohort, config: PrepareConfig) -> None:
    """Name and button; the button says why it cannot be pressed."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tip = "Letters, digits, - and _. A dataset of the same name is replaced."
        name = st.text_input(
            "Dataset name", free_name(cohort.name), max_chars=64, help=tip, key=f"dataset-name-{cohort.name}"
        )
        reason = refusal(name)
        pressed = st.button(
            "Prepare", type="primary", icon=":material/play_arrow:", disabled=bool(reason), help=reason or None
        )
    if reason:
        st.caption(f":material/info: {reason}")
    elif name in {dataset.name for dataset in list_datasets(workspace())}:
        st.caption(f":material/info: Dataset {name} is there already and will be replaced. Its runs lose their data.")
    if pressed:
        start_job("prepare", {"cohort": cohort.name, "dataset": name, "recipe": config.model_dump()})
        st.rerun()


def free_name(cohort: str) -> str:
    """The cohort's own name while no dataset has it, else with a number: nothing is replaced unasked."""
    taken = {dataset.name for dataset in list_datasets(workspace())}
    return next(name for name in (cohort, *(f"{cohort}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)


def refusal(name: str) -> str:
    """Why preparing cannot start; "" when it can."""
    try:
        safe_name(name)
    except InvalidConfigError as error:
        return str(error)
    if is_running("prepare"):
        return "A dataset is being prepared just now; wait until it is done."
    if any(run.config.dataset == name and run.state not in ENDED for run in list_runs(workspace())):
        return f"A training on {name} is running; choose another name."
    return ""


def look() -> None:
    """A dataset: all cases in small, one of them larger, or its quality."""
    chosen, said, switch = st.columns([3, 8, 3], vertical_alignment="bottom")
    with chosen:
        dataset = dataset_picker()
    with switch, st.container(horizontal_alignment="right"):
        view = view_switch(State.DATASET_VIEW, VIEWS, "gallery")
    if dataset is None:
        return
    with said:
        dataset_summary(dataset)
    left_out(dataset)
    report = read_report(dataset)
    flags = flags_of(dataset, report)
    if view == "case":
        case_slices(dataset, flags)
    elif report is None:
        unchecked(dataset)
    elif view == "gallery":
        gallery(dataset, flags)
    else:
        quality_view(dataset, report, flags)
    delete_dataset_button(dataset)


def unchecked(dataset: Dataset) -> None:
    """A dataset of an earlier version, or one whose check was stopped."""
    empty_state("Not looked through yet", "A check draws every case in small and says which should be looked at.")
    if is_running("quality"):
        st.caption("The check is running; what it finds comes here.")
    else:
        check_button(dataset, "Check quality")


page_header("Prepare", "Bring a cohort onto one grid and one scale.")
with guard():
    done = just_finished("prepare")
    if done is not None:
        st.session_state[State.DATASET] = done.params["dataset"]
        turn_to(State.PREPARE_VIEW, "look")
    has_datasets = bool(list_datasets(workspace()))
    view = view_switch(State.PREPARE_VIEW, {"make": "New dataset", "look": "Datasets"}, "make")
    failure_notice("prepare", "Preparing")
    failure_notice("quality", "The check")
    if view == "make" and list_cohorts(workspace()):
        make()
    elif view == "make":
        empty_state("No cohort yet", "Import images on the Data page, or open the demo there.")
    elif has_datasets:
        look()
    else:
        empty_state("No dataset yet", "Choose a cohort under New dataset and prepare it.")
