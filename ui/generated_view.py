"""Evaluate, Further checks: what a run makes of many cases as one file; locked until it was checked for copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.cohort_plan import GenerateConfig, copy_check, limits_for, plan
from core.dataset import Dataset
from core.errors import UserError
from core.runs import ENDED, Job, Run
from ui.archive_view import save_button
from ui.confirm import confirm_button
from ui.errors import guard
from ui.jobs_banner import start_job
from ui.long_job import POLL, jobs_of, looked_after, progress_of
from ui.results import Entry, Pair
from ui.state import State, workspace
from ui.unseen import looked_at
from ui.words import ago_words, count_words

KIND = "generate"
CASES = {"held-out": "Held-out cases", "lacking": "Cases that lack it"}
ABOUT = (
    "What this run makes of many cases, as one ZIP of NIfTI images for other programs. Each image is first compared "
    "with the training images; what could be a copy stays out."
)


def generated_view(entry: Entry, pair: Pair) -> None:
    """Folded away until somebody wants it; open while there is a file, or one is being made."""
    runs = sorted(set(entry.run_of.values()))
    if len(runs) != 1:  # several folds: the checks above say how to choose one
        return
    run = Run.open(workspace(), runs[0])
    job = next((job for job in jobs_of(KIND) if job.params["run"] == run.id), None)
    looked_at(KIND, [run.id])
    with st.expander("Generated cohort", icon=":material/folder_zip:", expanded=job is not None), guard():
        st.caption(ABOUT)
        _form(run, entry, pair, job)
        if job is not None:
            _last(job)


def _form(run: Run, entry: Entry, pair: Pair, job: Job | None) -> None:
    """From what, what, for whom, and the button that starts it."""
    made = {given: [t for g, t in entry.rows if g == given] for given, target in entry.rows if target not in given}
    if not made:
        st.caption("This run makes no modality from others.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        values = _choose(made, pair)
        reason = _obstacle(run, values)
        is_busy = job is not None and job.state not in ENDED
        tip = reason or ("It is being made just now." if is_busy else "In the background; replaces the last file.")
        if st.button("Make", icon=":material/play_arrow:", disabled=bool(reason) or is_busy, help=tip, key="generate"):
            for old in [old for old in jobs_of(KIND) if old.params["run"] == run.id]:
                old.delete()
            start_job(KIND, {"run": run.id, "settings": values, "device": "auto"})
            st.rerun()
    if reason:
        st.caption(f":material/lock: {reason}")


def _choose(made: Mapping[tuple[str, ...], list[str]], pair: Pair) -> dict[str, Any]:
    """Settings of a GenerateConfig; at the start the page's pair."""
    options, key = list(made), State.GENERATED
    given = st.selectbox(
        "Given", options, options.index(pair[0]) if pair[0] in made else 0, format_func=" + ".join, key=f"{key}-given",
        help="The modalities that the images are made from. A case without one of them is left out.", width=170,
    )  # fmt: skip
    targets = [target for target in made[given] if target not in given]
    first = [pair[1]] if pair[1] in targets else targets[:1]
    chosen = st.multiselect(
        "Made",
        targets,
        first,
        key=f"{key}-{'-'.join(given)}",
        help="What to make, one image each.",
        width=240,
    )
    cases = st.selectbox(
        "Cases", list(CASES), format_func=CASES.__getitem__, key=f"{key}-cases", width=190,
        help="Held-out cases: this run has not learnt from them. Cases that lack it: all of the dataset that have what "
        "is given and lack what is made.",
    )  # fmt: skip
    return {"given": list(given), "targets": chosen, "cases": cases}


def _obstacle(run: Run, values: Mapping[str, Any]) -> str:
    """Why it cannot be made, in words; "" where it can."""
    if not values["targets"]:
        return "Choose what is made."
    try:
        dataset = Dataset.open(workspace(), run.config.dataset)
        split = dataset.split_of(run.config)
        found = copy_check(run, dataset, split)
        plan(dataset, split, GenerateConfig(**values))
        for target in values["targets"]:
            limits_for(found, target)
    except UserError as error:
        return str(error)
    return ""


def _last(job: Job) -> None:
    """How far the newest one is, or its file."""
    if job.state not in ENDED:
        st.fragment(_watch, run_every=POLL)(job.id)
        return
    if job.state != "finished":
        progress_of(job)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if job.state == "finished":
            run_id = str(job.params["run"])
            save_button(job, f"generated-{run_id}.zip", "run `python -m core generate` on the server.")
            st.markdown(told(job), width="stretch")
        said = "The file is removed from this workspace. It can be made again."
        confirm_button("Delete file", said, job.delete, key=f"delete-{job.id}", tip="Remove it from this workspace")


def _watch(job_id: str) -> None:
    with guard():
        job = looked_after(KIND, job_id)
        if job is None or job.state in ENDED:
            st.rerun()
        else:
            progress_of(job)


def told(job: Job) -> str:
    """What is in the file and what is not, in one line."""
    settings, found = job.params["settings"], job.result
    made = f"{' + '.join(settings['given'])} → {', '.join(settings['targets'])}"
    said = f"{made}: {count_words(found['images'], 'image')} of {count_words(found['cases'], 'case')}, "
    said += f"{ago_words(job.status.ended)}. "
    reasons = Counter(row["why"] for row in found["left_out"])
    if not reasons:
        return said + "Nothing was left out."
    return said + f"Left out: {', '.join(f'{n} ({why})' for why, n in reasons.items())}."
