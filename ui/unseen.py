"""What came to its end while nobody looked: one line on every page, until somebody does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from core.runs import Job, Run
from ui.state import State
from ui.words import STATES, ago_words, count_words

PAGES = {
    "train": "pages/train.py",
    "evaluate": "pages/evaluate.py",
    "uncertainty": "pages/evaluate.py",
    "embed": "pages/latent.py",
}
TOLD = ("finished", "failed", "lost")  # who stops something knows that it has stopped


def unseen(jobs: Sequence[Job]) -> list[Job]:
    """Ended work of the queue whose end nobody has looked at, the latest first."""
    ended = [job for job in jobs if job.kind in PAGES and not job.is_seen]
    ended = [job for job in ended if job.state in TOLD and job.status.attempt > 0]
    return sorted(ended, key=lambda job: job.status.ended, reverse=True)


def unseen_line(jobs: Sequence[Job], title: Callable[[Job], str]) -> None:
    """Nothing where there is nothing new."""
    ended = unseen(jobs)
    if not ended:
        return
    job = ended[0]
    said = f"**{title(job)}**: {STATES[job.state].lower()}, {ago_words(job.status.ended)}"
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


def _look(job: Job) -> None:
    job.mark_seen()
    run_id = job.id if isinstance(job, Run) else str(job.params.get("run", ""))
    st.session_state[State.RUN] = run_id
    if job.kind == "train":
        st.session_state.setdefault(State.NEXT_VIEW, {})[State.TRAIN_VIEW] = "runs"
    st.switch_page(PAGES[job.kind])
