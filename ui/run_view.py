"""One run: how far it is, its curves, pictures, log and settings, and what can be done with it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.dataset import Dataset
from core.errors import UserError
from core.jobs import backend
from core.runs import ENDED, Job, Run, Status, list_jobs, list_runs
from core.search.grid import said
from ui.archive_view import save_run_button
from ui.confirm import confirm_button
from ui.errors import guard
from ui.jobs_banner import duration_words, resume_button, start_job, waiting_words
from ui.run_history import curves, history_of, steps_per_second
from ui.run_pictures import run_pictures
from ui.settings_form import spoken
from ui.state import State, workspace
from ui.style import simulated_badge, table_height
from ui.views import view_switch
from ui.words import STATES, ago_words, count_words

POLL = "2s"
TOLD_HERE = {"evaluate": "Evaluating", "embed": "Embedding"}  # what failed; of other work its own page tells
DONE_WITH_RUNS = (*TOLD_HERE, "uncertainty", "audit", "generate")
LOOKS = {"curves": "Curves", "pictures": "Pictures", "log": "Log", "settings": "Settings"}


def run_table(runs: list[Run]) -> None:
    """Every run, newest first; a click on a row chooses it."""
    rows = [
        {
            "Model": run.config.model,
            "Dataset": run.config.dataset,
            "Fold": "" if run.config.fold is None else f"{run.config.fold + 1} of {run.config.n_folds}",
            "State": STATES[run.state],
            "Started": ago_words(run.status.created),
        }
        for run in runs
    ]
    ids = [run.id for run in runs]

    def choose() -> None:
        picked = st.session_state["run-table"]["selection"]["rows"]
        if picked and picked[0] < len(ids):
            st.session_state[State.RUN] = ids[picked[0]]

    st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        height=table_height(len(rows), 560),
        selection_mode="single-row",
        on_select=choose,
        key="run-table",
        alt="All runs",
    )


def run_view(run: Run) -> None:
    """Redraws itself every two seconds while the run is under way, and the whole page once when it ends."""
    is_active = run.state not in ENDED
    st.fragment(_watch, run_every=POLL if is_active else None)(run.id, is_active)


def _watch(run_id: str, was_active: bool) -> None:
    with guard():
        run = Run.open(workspace(), run_id)
        backend().enforce(run)
        is_active = run.state not in ENDED
        if was_active and not is_active:
            st.rerun()
        if not is_active:
            run.mark_seen()
        lines = history_of(run)
        _headline(run)
        _progress(run, lines)
        look = view_switch("run_look", LOOKS, "curves")
        if look == "curves":
            curves(run.id, lines)
        elif look == "pictures":
            run_pictures(run)
        elif look == "log":
            st.code(run.log_tail() or "Nothing was printed yet.", language=None, height=420)
        else:
            _settings(run)


def _headline(run: Run) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{run.title}**", width="content")
        colours = {"finished": "green", "failed": "red", "lost": "red", "cancelled": "orange", "paused": "gray"}
        st.badge(STATES[run.state], color=colours.get(run.state, "blue"))
        if _is_simulated(run):
            simulated_badge()
        st.space("stretch")
        if run.state not in ENDED:
            rest_button(run)
            stop_button(run)
        else:
            if run.can_resume:
                resume_button(run, f"resume-{run.id}")
            _next_buttons(run)


def rest_button(run: Job) -> None:
    """Pause, or go on."""
    if run.state == "paused":
        resume_button(run, f"resume-{run.id}")
        return
    asked = run.is_pause_requested or run.is_cancel_requested
    tip = "Lets it rest and frees its place. It goes on later exactly where it was."
    words = "Pausing" if run.is_pause_requested else "Pause"
    if st.button(words, icon=":material/pause:", key=f"pause-{run.id}", disabled=asked, help=tip):
        backend().pause(run)
        st.rerun()


def stop_button(run: Job) -> None:
    asked = run.is_cancel_requested
    tip = "Ends it now. What was learnt so far is kept and can be used."
    words = "Stopping" if asked else "Stop"
    if st.button(words, icon=":material/stop:", key=f"stop-{run.id}", disabled=asked, help=tip):
        backend().cancel(run)
        st.rerun()


def _next_buttons(run: Run) -> None:
    """What one does with a trained run."""
    for kind, words, icon, tip in (
        (
            "evaluate",
            "Evaluate",
            ":material/analytics:",
            "Judge it on the held-out cases; the results stand on Evaluate",
        ),
        ("embed", "Embed", ":material/scatter_plot:", "Compute the map of its shared code; it stands on Latent"),
    ):
        reason = _hindrance(run, kind)
        pressed = st.button(
            words, icon=icon, key=f"{kind}-{run.id}", disabled=bool(reason), help=reason or tip, shortcut=None
        )
        if pressed:
            start_job(kind, {"run": run.id, "device": "auto"})
            st.rerun()
    if run.has_weights:
        save_run_button(run)
    confirm_button(
        "Delete run",
        "The run is removed with its weights, curves and results.",
        lambda: delete_run(run),
        key=f"delete-{run.id}",
        tip="Remove this run, its weights and its results",
    )


def _hindrance(run: Run, kind: str) -> str:
    """Why this cannot be done with the run; "" when it can."""
    if not run.has_weights:
        return "This run has no weights."
    if any(job.state not in ENDED for job in _jobs_of(run, kind)):
        return "This is being done just now."
    return _lacking(run, kind)


def _jobs_of(run: Run, kind: str = "") -> list[Job]:
    jobs = (job for job in list_jobs(workspace()) if job.kind in DONE_WITH_RUNS)
    return [job for job in jobs if job.params.get("run") == run.id and kind in ("", job.kind)]


def _lacking(run: Run, kind: str) -> str:
    from ui.run_form import model_cards

    card = model_cards().get(run.config.model)
    if card is None:
        return "This version of the program has no such model."
    if kind == "embed" and card.is_baseline:
        return "A baseline has no shared code."
    return "" if card.makes_images or kind != "evaluate" else "This model makes no images that could be judged."


def delete_run(run: Run) -> None:
    """Remove it, and the records of the work that was done with it."""
    for job in _jobs_of(run):
        if job.state not in ENDED:
            backend().cancel(job)
        job.delete()
    run.delete()
    st.session_state.pop(State.HISTORY, None)


def _progress(run: Run, lines: list[dict[str, Any]]) -> None:
    """Bar and pace while it runs; afterwards how it ended."""
    status = run.status
    if status.note:
        st.caption(f":material/info: {status.note}")
    if status.state in ("failed", "lost"):
        st.error(f"{status.error}  \n:small[:gray[Code {status.code}]]", icon=":material/error:")
        return
    if status.state == "queued":
        st.info(f"{waiting_words(run).capitalize()}.", icon=":material/hourglass:")
        return
    if status.state == "paused" and status.code:
        st.warning(f"{status.error}  \n:small[:gray[Code {status.code}]]", icon=":material/warning:")
    pace = steps_per_second(lines)
    parts = [f"on {status.device}"] if status.device else []
    if status.state in ENDED:
        seconds = status.ended - status.started if status.started else 0.0
        parts = [status.message.rstrip("."), *_n_steps(lines), f"took {duration_words(seconds)}", *parts]
    else:
        share = [f"{100 * status.done / status.total:.0f} %"] if status.total else []
        parts = [status.message or "Starting", *share, *_n_steps(lines), *parts]
        parts += [f"{pace:.1f} steps/s"] if pace and status.state == "running" else []
        parts += (
            [f"about {duration_words(status.eta_s)} left"] if status.state == "running" and status.eta_s > 0 else []
        )
        parts += [_memory_words(status)] if status.state == "running" else []
        st.progress(min(1.0, status.done / status.total) if status.total else 0.0)
    parts += ["evaluated"] if run.has_result else []
    parts += ["embedded"] if run.embedding_path.exists() else []
    st.caption(" · ".join(part for part in parts if part))
    for job in _jobs_of(run):
        if job.kind in TOLD_HERE and job.state in ("failed", "lost"):
            st.error(f"{TOLD_HERE[job.kind]} did not work. {job.status.error}", icon=":material/error:")
            break


def _memory_words(status: Status) -> str:
    """Such as "0.6 GB memory, 2.1 GB on the GPU"."""
    parts = [f"{status.memory_bytes / 1e9:.1f} GB memory"] if status.memory_bytes else []
    parts += [f"{status.gpu_bytes / 1e9:.1f} GB on the GPU"] if status.gpu_bytes else []
    return ", ".join(parts)


def _n_steps(lines: list[dict[str, Any]]) -> list[str]:
    """How far it really came: a time limit can end a training early."""
    return [count_words(lines[-1]["step"], "step")] if lines else []


def _settings(run: Run) -> None:
    """All that decides the run, and how its cases were divided."""
    config = run.config
    values = {**config.model_settings, **config.train.model_dump(), "seed": config.seed}
    left, right = st.columns(2)
    with left:
        rows = [{"Setting": spoken(name), "Value": said(value, ", ")} for name, value in values.items()]
        st.dataframe(rows, hide_index=True, width="stretch", height=table_height(len(rows), 460))
    with right:
        from ui.run_form import split_table

        try:
            dataset = Dataset.open(workspace(), config.dataset)
            split_table(dataset.split_of(config))
        except UserError as error:
            st.caption(str(error))


def _is_simulated(run: Run) -> bool:
    try:
        return Dataset.open(workspace(), run.config.dataset).is_simulated
    except UserError:
        return False


def is_training() -> bool:
    """Whether any training waits or runs."""
    return any(run.state in ("queued", "running") for run in list_runs(workspace()))
