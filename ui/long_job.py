"""What the pages of long jobs (searches, arenas) share: which one is looked at, how far it is, what can be done."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.jobs import backend
from core.runs import ENDED, Job, list_jobs
from ui.confirm import confirm_button
from ui.jobs_banner import job_words, resume_button
from ui.pickers import choose
from ui.run_view import rest_button, stop_button
from ui.state import workspace
from ui.words import STATES

POLL = "3s"
COLOURS = {"finished": "green", "failed": "red", "lost": "red", "cancelled": "orange", "paused": "gray"}
RUNS_ON = "Runs on when you close this tab, and goes on where it was after a stop."


def jobs_of(kind: str) -> list[Job]:
    """Newest first."""
    return [job for job in list_jobs(workspace()) if job.kind == kind]


def job_picker(kind: str, key: str, title: Callable[[Job], str], tip: str = "") -> Job | None:
    """None where there was none yet."""
    jobs = {job.id: job for job in jobs_of(kind)}
    chosen = choose(kind.capitalize(), list(jobs), key, lambda name: title(jobs[name]), tip)
    return jobs[chosen] if chosen else None


def looked_after(kind: str, job_id: str) -> Job | None:
    """The job as it is now, its stop enforced where one was asked for; None where it is gone."""
    job = next((job for job in jobs_of(kind) if job.id == job_id), None)
    if job is not None:
        backend().enforce(job)
    return job


def headline(job: Job, more: Callable[[], None] | None = None) -> None:
    """Its state, and buttons for what can be done with it; `more` draws further ones before these."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(STATES[job.state], color=COLOURS.get(job.state, "blue"))
        st.space("stretch")
        if more is not None:
            more()
        if job.state not in ENDED:
            rest_button(job)
            stop_button(job)
            return
        job.mark_seen()
        if job.state != "finished":
            resume_button(job, f"resume-{job.id}")
        confirm_button(
            f"Delete {job.kind}",
            f"The {job.kind} is removed with its trainings and its table.",
            job.delete,
            key=f"delete-{job.id}",
            tip=f"Remove this {job.kind} with all of its trainings",
        )


def progress_of(job: Job) -> None:
    """How far it is, or why it ended."""
    status = job.status
    if status.note:
        st.caption(f":material/info: {status.note}")
    if status.state in ("failed", "lost"):
        st.error(f"{status.error}  \n:small[:gray[Code {status.code}]]", icon=":material/error:")
    elif status.state not in ENDED:
        st.progress(min(1.0, status.done / status.total) if status.total else 0.0, text=job_words(job).capitalize())
