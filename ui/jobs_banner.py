"""What is running, on top of every page: progress, time left, cancel. Polls only while something runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from core.errors import UserError
from core.jobs import backend
from core.jobs.same import tell_if_same
from core.runs import ENDED, Job, Run, list_jobs, list_runs, new_job
from core.workspace import Workspace
from ui.errors import guard
from ui.state import State, workspace
from ui.unseen import unseen_line
from ui.words import STATES

KINDS = {
    "train": "Training",
    "demo": "Making the demo",
    "scan": "Looking through files",
    "ingest": "Importing",
    "prepare": "Preparing",
    "quality": "Checking quality",
    "preview": "Trying a recipe",
    "embed": "Embedding",
    "evaluate": "Evaluating",
    "uncertainty": "Calibrating error bars",
    "audit": "Checking a run",
    "search": "Searching",
    "arena": "Arena",
    "export": "Packing the workspace",
    "restore": "Taking in an export",
    "generate": "Making a cohort with",
}
SAID = ("train", "search", "arena", "evaluate", "uncertainty", "audit", "embed", "generate")  # the others' pages say it
POLL = "2s"
MAX_ROWS = 3
COUNT = re.compile(r"\b\d+ of \d+\b")


def active_jobs(place: Workspace) -> list[Job]:
    """Queued and running jobs and runs, newest first."""
    return [job for job in [*list_jobs(place), *list_runs(place)] if job.state not in ENDED]


def jobs_banner() -> None:
    """Draw the banner; nothing at all when nothing runs and nothing new has ended."""
    every = [*list_jobs(workspace()), *list_runs(workspace())]
    jobs = [job for job in every if job.state not in ENDED]
    _say_what_ended(every, {job.id for job in jobs})
    with guard():
        unseen_line(every, job_title)
    if jobs:
        backend().adopt(workspace())  # also what an app that is gone had started
        with st.container(key="cs-jobs"):
            st.fragment(_rows, run_every=POLL)(_states(jobs))


def _say_what_ended(every: Sequence[Job], active: set[str]) -> None:
    """A word on whatever page, once, when long work of this session's workspace has come to its end."""
    seen = st.session_state.get(State.ACTIVE, set())
    st.session_state[State.ACTIVE] = active
    if seen <= active:
        return
    for job in every:
        if job.id in seen - active and job.kind in SAID:
            icon = ":material/check:" if job.state == "finished" else ":material/info:"
            st.toast(f"{job_title(job)}: {STATES[job.state].lower()}.", icon=icon)


def _states(jobs: list[Job]) -> list[tuple[str, str]]:
    return [(job.id, job.state) for job in jobs]


def _rows(drawn: list[tuple[str, str]]) -> None:
    jobs = active_jobs(workspace())
    if _states(jobs) != drawn:
        st.empty()  # lets a click on another page that came meanwhile go first: a rerun would overwrite its page
        st.rerun()  # the whole page, so that it shows what has just been made or begun
    for job in jobs[:MAX_ROWS]:
        backend().enforce(job)
        job_row(job)
    if len(jobs) > MAX_ROWS:
        st.caption(f"and {len(jobs) - MAX_ROWS} more")


def job_row(job: Job) -> None:
    """One line: what it is, how far it is, when it will be done, a way to stop it."""
    status = job.status
    share = min(1.0, status.done / status.total) if status.total > 0 else 0.0
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.progress(share, text=f"**{job_title(job)}**: {job_words(job)}")
        if status.state == "paused" and not job.is_cancel_requested:
            resume_button(job, f"banner-resume-{job.id}")
        if job.is_cancel_requested:
            st.caption("Stopping", width="content")
        elif job.is_pause_requested and status.state in ("queued", "running"):
            st.caption("Pausing", width="content")
        elif st.button(
            "Cancel", key=f"cancel-{job.id}", icon=":material/close:", help="Ends it; what a training learnt is kept"
        ):
            with guard():
                _cancel(job)


def resume_button(job: Job, key: str) -> None:
    """Lets a job go on that rests, was stopped or broke off."""
    tip = "Goes on exactly where it was, as soon as there is a free place"
    if st.button("Resume", key=key, icon=":material/play_arrow:", help=tip):
        with guard():
            backend().resume(job)
            st.rerun()


def job_title(job: Job) -> str:
    """Such as "Training mvae on demo"."""
    name = KINDS.get(job.kind, job.kind.capitalize())
    if job.kind == "search":
        config = job.params["config"]
        return f"{name} settings of {config['model']} on {config['dataset']}"
    if job.kind == "arena":
        return f"{name} on {job.params['config']['dataset']}"
    run = job if isinstance(job, Run) else _run_of(job)
    return f"{name} {run.config.model} on {run.config.dataset}" if run else name


def _run_of(job: Job) -> Run | None:
    """The training that a job works with; None for other jobs, and where it is gone."""
    with suppress(UserError):
        return Run.open(workspace(), str(job.params["run"])) if "run" in job.params else None
    return None


def job_words(job: Job) -> str:
    """Such as "3 of 24, about 4 min left"; a count that the message brings itself is not told twice."""
    status = job.status
    if status.state == "queued":
        return waiting_words(job)
    said = status.message if status.state == "running" else ""
    has_count = job.kind != "train" and bool(COUNT.search(said))
    parts = [status.state] if status.state != "running" else []
    parts.append(said if has_count else _share_words(job))
    if status.state == "running" and status.eta_s >= 0:
        parts.append(f"about {duration_words(status.eta_s)} left")
    parts.append("" if has_count else said)
    return ", ".join(filter(None, parts)) or "starting"


def _share_words(job: Job) -> str:
    """How much of the work is done; a time limit lets a training advance faster than its steps."""
    status = job.status
    if status.total > 1 and job.kind != "train":
        return f"{status.done:.0f} of {status.total:.0f}"
    return f"{100 * status.done / status.total:.0f} %" if status.total > 0 else ""


def waiting_words(job: Job) -> str:
    """Such as "waiting, number 2 in the queue, starts in about 5 min"."""
    place = backend().place(job)
    if place is None:
        return "starting"
    start = f"starts in about {duration_words(place.wait_s)}" if place.wait_s >= 1 else "starts soon"
    return f"waiting, number {place.position} in the queue, {start}"


def duration_words(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def start_job(kind: str, params: dict[str, object]) -> Job:
    """Start long work on this machine; the banner shows it from the next run of the page on."""
    job = new_job(workspace(), kind, params)
    begin(job)
    st.session_state[State.JOB] = job.id
    return job


def begin(job: Job) -> None:
    """Hand new work to the backend; what is refused leaves nothing behind."""
    if isinstance(job, Run):
        tell_if_same(job)  # before it has a worker, which alone writes its state from then on
    try:
        backend().start(job)
    except UserError:
        job.delete()
        raise


def _cancel(job: Job) -> None:
    backend().cancel(job)
    st.toast(f"{job_title(job)} is being stopped.")
