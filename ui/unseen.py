"""What came to its end while nobody looked: one line on every page, until somebody does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import streamlit as st

from core.errors import NotFoundError
from core.runs import ENDED, Job, Run, list_jobs
from ui.state import State, workspace
from ui.views import turn_to
from ui.words import STATES, ago_words, count_words


@dataclass(frozen=True)
class Place:
    """Where what came of a job is to be seen.

    Attributes:
        words: such as "Train, Runs".
        key: of the choice that opens the job itself; "" where its run is opened.
        train_view, run_view: the part of Train or of Evaluate.
    """

    page: str
    words: str
    key: str = ""
    train_view: str = ""
    run_view: str = ""


TRAIN, EVALUATE = "pages/train.py", "pages/evaluate.py"
PLACES = {
    "train": Place(TRAIN, "Train, Runs", State.RUN, train_view="runs"),
    "search": Place(TRAIN, "Train, Search", State.SEARCH, train_view="search"),
    "arena": Place(TRAIN, "Train, Arena", State.ARENA, train_view="arena"),
    "evaluate": Place(EVALUATE, "Evaluate"),
    "uncertainty": Place(EVALUATE, "Evaluate, Error bars", run_view="uncertainty"),
    "audit": Place(EVALUATE, "Evaluate, Further checks", run_view="audits"),
    "generate": Place(EVALUATE, "Evaluate, Further checks", run_view="audits"),
    "embed": Place("pages/latent.py", "Latent"),
}
TOLD = ("finished", "failed", "lost")  # who stops something knows that it has stopped


def unseen(jobs: Sequence[Job]) -> list[Job]:
    """Ended work of the queue whose end nobody has looked at, the latest first."""
    ended = [job for job in jobs if job.kind in PLACES and not job.is_seen]
    ended = [job for job in ended if job.state in TOLD and job.status.attempt > 0]
    return sorted(ended, key=lambda job: job.status.ended, reverse=True)


def unseen_line(jobs: Sequence[Job], title: Callable[[Job], str]) -> None:
    """Nothing where there is nothing new."""
    ended = unseen(jobs)
    if not ended:
        return
    job = ended[0]
    said = f"**{title(job)}**: {STATES[job.state].lower()}, {ago_words(job.status.ended)}, see {PLACES[job.kind].words}"
    said += f"; and {count_words(len(ended) - 1, 'other')}" if len(ended) > 1 else ""
    icon = ":material/check_circle:" if job.state == "finished" else ":material/info:"
    with st.container(key="cs-unseen", horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"{icon} {said}", width="stretch")
        if st.button("Look", key="unseen-look", icon=":material/visibility:", help="Goes to what came of it"):
            _look(job)
        if st.button("Dismiss", key="unseen-dismiss", help="Puts this line away; nothing is deleted"):
            for one in ended:
                one.mark_seen()
            st.rerun()


def looked_at(kind: str, run_ids: Collection[str]) -> None:
    """What such jobs found of these runs stands before a person's eyes: it is no news any more."""
    for job in list_jobs(workspace()):
        if job.kind == kind and job.params.get("run") in run_ids and not job.is_seen and job.state in ENDED:
            job.mark_seen()


def _look(job: Job) -> None:
    job.mark_seen()
    place = PLACES[job.kind]
    if place.key:
        st.session_state[place.key] = job.id
    else:
        _choose_run(str(job.params.get("run", "")))
    if place.train_view:
        turn_to(State.TRAIN_VIEW, place.train_view)
    if place.run_view:
        st.session_state[State.RUN_VIEW] = place.run_view
    if job.kind == "audit":
        st.session_state[State.AUDIT] = next(iter(job.params["names"]), "")
    st.switch_page(place.page)


def _choose_run(run_id: str) -> None:
    """For the page that is opened: the run, and the dataset under which Evaluate has it."""
    st.session_state[State.RUN] = run_id
    st.session_state.pop(State.ENTRY, None)  # Evaluate looks into this run, whichever it looked into before
    try:
        st.session_state[State.DATASET] = Run.open(workspace(), run_id).config.dataset
    except NotFoundError:
        return
