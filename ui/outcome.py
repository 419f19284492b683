"""How the last long work of a kind ended, where the page should say so."""

from __future__ import annotations

import streamlit as st

from core.runs import ENDED, Job, list_jobs
from ui.state import State, workspace


def last_job(kind: str) -> Job | None:
    """The newest job of that kind, whatever its state."""
    return next((job for job in list_jobs(workspace()) if job.kind == kind), None)


def failure_notice(kind: str, what: str) -> None:
    """If the newest job of that kind failed: its sentence, and a button that puts it away."""
    job = last_job(kind)
    if job is None or job.state not in ("failed", "lost"):
        return
    status = job.status
    with st.container(horizontal=True, vertical_alignment="center"):
        st.error(f"{what} did not work. {status.error}  \n:small[:gray[Code {status.code}]]", icon=":material/error:")
        if st.button("Dismiss", key=f"dismiss-{job.id}", help="Put this message away"):
            job.delete()
            st.rerun()


def is_running(kind: str) -> bool:
    """Whether a job of that kind waits or works just now."""
    return any(job.kind == kind and job.state not in ENDED for job in list_jobs(workspace()))


def just_finished(kind: str) -> Job | None:
    """The job that this session started, once, when it has finished."""
    job_id = st.session_state.get(State.JOB)
    job = next((job for job in list_jobs(workspace()) if job.id == job_id), None) if job_id else None
    if job is None or job.kind != kind or job.state != "finished":
        return None
    del st.session_state[State.JOB]
    return job
