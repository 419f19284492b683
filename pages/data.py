"""Data: import images as cases of a cohort; look at what is there."""

import streamlit as st

from core.cohort import Cohort, list_cohorts
from ui.case_view import case_facts, case_histograms, case_slices, radiological_toggle
from ui.cohort_view import case_matrix, cohort_summary, delete_cohort, import_report, last_import
from ui.confirm import confirm_button
from ui.demo import demo_button
from ui.empty import empty_state
from ui.errors import guard
from ui.frame import page_header
from ui.import_view import import_view
from ui.labels_view import labels_button
from ui.outcome import failure_notice, is_running, just_finished
from ui.pickers import case_picker, cohort_picker
from ui.state import State, workspace
from ui.upload_view import PRIVACY
from ui.views import turn_to, view_switch

DEMO = (
    "24 generated patients in six modalities, with a trained model. Made on this machine, in about a minute. "
    "Everything can be tried on them."
)
LOOKS = {"slices": "Slices", "histograms": "Histograms", "facts": "Facts"}


def look(is_new: bool) -> None:
    """The cohort on the left, one of its cases on the right; a fresh import's report above, an older one below."""
    above = st.container()
    left, right = st.columns([2, 3], gap="medium")
    with left:
        cohort = cohort_picker()
        if cohort is None:
            return
        records = [cohort.describe(case_id) for case_id in cohort.case_ids]
        if not records:
            empty_state("This cohort has no case", "None of the files became a case; the report says why.")
        else:
            cohort_summary(cohort, records)
            case_matrix(records)
            labels_button(cohort, "data-labels")
        confirm_button(
            "Delete cohort",
            f"Cohort {cohort.name} and all its images are removed. Datasets made from it stay.",
            lambda: delete_cohort(cohort),
            key="delete-cohort",
        )
    if records:
        with right, guard():
            look_at_case(cohort)
    report = last_import(cohort.name)
    if report is not None and report.result:
        with above if is_new else st.container():
            import_report(report, is_new or not records)


def look_at_case(cohort: Cohort) -> None:
    """All modalities of one case."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        case_id = case_picker(cohort.case_ids)
        view = view_switch("case_look", LOOKS, "slices")
        radiological = radiological_toggle()
    if case_id is None:
        return
    if view == "slices":
        case_slices(cohort, case_id, radiological)
    elif view == "histograms":
        case_histograms(cohort, case_id)
    else:
        case_facts(cohort, case_id)
        confirm_button(
            "Delete case",
            f"Case {case_id} and all its images are removed from this cohort.",
            lambda: cohort.delete_case(case_id),
            key="delete-case",
            tip="Remove this case from the cohort",
        )


def first_visit() -> None:
    """Nothing there yet: the demo for whoever has no images at hand, the uploader for whoever has."""
    left, right = st.columns([3, 2], gap="large")
    with left, st.container(border=True):
        st.markdown("#### :material/upload_file: Bring your own images")
        import_view()
    with right:
        with st.container(border=True):
            st.markdown("#### :material/science: No images at hand?")
            st.markdown(DEMO)
            demo_button("data-demo", primary=True)
        with st.container(border=True):
            st.markdown(PRIVACY)


def bring() -> None:
    """The uploader with what becomes of the images beside it; the table has the page to itself."""
    if State.PROPOSALS in st.session_state:
        import_view()
        return
    left, right = st.columns([3, 2], gap="large")
    with right, st.container(border=True):
        st.markdown(PRIVACY)
    with left:
        import_view()


page_header("Data", "Import images as cases of a cohort, and look at them.")
with guard():
    done = just_finished("ingest") or just_finished("demo")
    if done is not None:
        st.session_state[State.COHORT] = done.params.get("cohort", "demo")
        turn_to(State.DATA_VIEW, "look")
    has_cohorts = bool(list_cohorts(workspace()))
    failure_notice("ingest", "The import")
    failure_notice("demo", "Making the demo")
    if not has_cohorts and (is_running("ingest") or is_running("demo")):
        empty_state("The images are on their way", "The bar above says how far they are; then they stand here.")
    elif not has_cohorts and State.PROPOSALS not in st.session_state:
        first_visit()
    elif not has_cohorts:
        import_view()
    else:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            view = view_switch(State.DATA_VIEW, {"look": "Cohorts", "import": "Import images"}, "look")
            demo_button("data-demo")
        if view == "import":
            bring()
        else:
            look(done is not None)
