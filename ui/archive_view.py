"""All of a workspace as one file, out and in."""

from __future__ import annotations

import io
import time
from pathlib import Path

import streamlit as st

from core.runs import ENDED, EXPORT, Job, Run, list_jobs
from core.uploads import stage
from ui.errors import guard
from ui.jobs_banner import start_job
from ui.outcome import failure_notice, is_running, just_finished
from ui.state import State, workspace
from ui.words import ago_words, count_words, size_of_words

FRESH_S = 600.0
MAX_DOWNLOAD_BYTES = 1_000_000_000  # a download is held in the server's memory
WHAT = "Cohorts, datasets and runs with their results, without the simulated demo's images. No logs, no uploads."


def archive_panel() -> None:
    """Folded away until somebody wants it; open while it has something to say."""
    failure_notice("export", "Packing the workspace")
    failure_notice("restore", "Taking in the export")
    taken = just_finished("restore")
    if taken is not None:
        added, already = (len(taken.result[name]) for name in ("added", "already"))
        rest = f" {count_words(already, 'other')} were here already." if already else ""
        st.success(f"Taken in: {count_words(added, 'cohort, dataset or run', 'cohorts, datasets and runs')}.{rest}")
    words = "Save all as one file, or bring such a file in"
    with st.expander(words, icon=":material/swap_vert:", expanded=_has_news()):
        left, right = st.columns(2, gap="large")
        with left, guard():
            _out()
        with right, guard():
            _in()


def _has_news() -> bool:
    """Whether something is being packed or taken in, or was packed a little while ago."""
    jobs = [job for job in list_jobs(workspace()) if job.kind in ("export", "restore")]
    return any(job.state not in ENDED or time.time() - job.status.ended < FRESH_S for job in jobs)


def _out() -> None:
    st.markdown("**Save**", help=WHAT)
    if not any(place.is_dir() and any(place.iterdir()) for place in _kept_places()):
        st.caption("There is nothing to save yet.")
        return
    done = next((job for job in list_jobs(workspace()) if job.kind == "export" and job.state == "finished"), None)
    busy = is_running("export")
    with st.container(horizontal=True, gap="small"):
        tip = "It is being packed just now." if busy else f"Packs one file to keep or to go on with elsewhere. {WHAT}"
        if st.button("Pack the workspace", icon=":material/inventory_2:", disabled=busy, help=tip):
            for old in [job for job in list_jobs(workspace()) if job.kind == "export"]:
                old.delete()
            start_job("export", {})
            st.rerun()
        if done is not None and not busy:
            save_button(done, "crossmodal-workspace.zip", "use `python -m core export` on the server.")


def _kept_places() -> tuple[Path, ...]:
    return workspace().cohorts, workspace().datasets, workspace().runs


def save_button(job: Job, file_name: str, otherwise: str) -> None:
    """The file that a job packed.

    Args:
        otherwise: what to do where it is too large for this.
    """
    path = job.folder / EXPORT
    size = path.stat().st_size
    if size > MAX_DOWNLOAD_BYTES:
        st.warning(f"{size_of_words(size)} are too much for a browser: {otherwise}")
        return
    st.download_button(
        f"Save {size_of_words(size)}",
        path.read_bytes,
        file_name=file_name,
        mime="application/zip",
        icon=":material/download:",
        key=f"packed-{job.id}",
        help=f"Packed {ago_words(job.status.ended)}",
    )


def _in() -> None:
    st.markdown("**Bring in**", help="Every file in it is checked before anything is added; nothing here is replaced.")
    key = f"archive-{st.session_state.get(State.ARCHIVES, 0)}"
    tip = "A workspace or a run that was saved here or on another server"
    file = st.file_uploader("An export (.zip)", type="zip", key=key, disabled=is_running("restore"), help=tip)
    if file is not None:
        upload = stage(workspace(), [("export.zip", file)])
        st.session_state[State.ARCHIVES] = st.session_state.get(State.ARCHIVES, 0) + 1
        start_job("restore", {"upload": upload})
        st.rerun()


def save_run_button(run: Run) -> None:
    """The run as one file, packed when it is asked for."""
    st.download_button(
        "Save run",
        lambda: _packed(run),
        file_name=f"{run.id}.zip",
        mime="application/zip",
        icon=":material/download:",
        key=f"save-{run.id}",
        help="One file with settings, weights, curves and results, to keep or to bring in elsewhere (on Home)",
    )


def _packed(run: Run) -> bytes:
    from core.archive import pack_run

    stream = io.BytesIO()
    pack_run(run, stream)
    return stream.getvalue()
