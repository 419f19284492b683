"""Train, Search: the form of a new search: what varies, over which values, how it is judged, what it will cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import streamlit as st
from pydantic.fields import FieldInfo

from core.config import Settings, TrainConfig, build
from core.dataset import Dataset
from core.errors import InvalidConfigError, UserError
from core.runs import Job, list_jobs, list_runs
from core.search.folds import Folds
from core.search.grid import FIXED, points_of, said, typed
from core.search.plan import check_size, count_trainings, folds_of
from core.search.settings import SearchOptions
from ui.jobs_banner import duration_words, start_job
from ui.long_job import RUNS_ON
from ui.run_form import FIRST_MODEL, ModelCard, model_cards, run_settings
from ui.settings_form import settings_form, spoken
from ui.state import workspace
from ui.words import count_words

FIRST_VARIED = ("model.latent_dim", "train.lr")
FIRST_OPTIONS = ("n_folds", "metric", "halving", "nested")
SKIPPED = (*FIXED, "train.max_minutes", "train.preview_every", "train.deterministic", "train.compile")
Grid = dict[str, tuple[Any, ...]]


def search_model() -> str:
    """A model that makes images and has something to set."""
    cards = {name: card for name, card in model_cards().items() if card.makes_images and not card.is_baseline}
    names = list(cards)
    index = names.index(FIRST_MODEL) if FIRST_MODEL in names else 0
    tip = "Whose settings are tried. Similarity models and baselines have nothing to search."
    chosen = st.selectbox(
        "Model", names, index=index, format_func=lambda name: cards[name].title, key="search-model", help=tip
    )
    return str(chosen)


def new_search(dataset: Dataset, model: str) -> Job | None:
    """The rest of the form; the job that was just started."""
    card = model_cards()[model]
    grid = _grid(card, model)
    names = sorted({name for case_id in dataset.case_ids for name in dataset.record(case_id)["labels"]})
    options_chosen = settings_form(
        SearchOptions, "search-options", None, FIRST_OPTIONS, {"judged": dataset.modalities, "stratify": names}
    )
    start = st.container()
    with st.expander("The same in every training", icon=":material/lock:"):
        st.caption("What does not vary. Settings that are chosen above go first.")
        fixed = run_settings(dataset, model, prefix="search-")
    with start:
        return _start(dataset, model, grid, build(SearchOptions, options_chosen), fixed)


def _start(
    dataset: Dataset, model: str, grid: Grid, options: SearchOptions, fixed: tuple[dict[str, Any], dict[str, Any]]
) -> Job | None:
    hindrance, folds = _hindrance(dataset, model_cards()[model], grid, options)
    if hindrance:
        st.caption(f":material/info: {hindrance}")
    else:
        _announce(dataset, model, len(points_of(grid)), options, fixed[1])
    pressed = st.button(
        "Start search",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        disabled=bool(hindrance),
        help=hindrance or RUNS_ON,
    )
    if folds:
        sizes = sorted({len(fold) for fold in folds})
        said_sizes = " or ".join(str(size) for size in sizes)
        n_test = len(dataset.case_ids) - sum(len(fold) for fold in folds)
        tip = "A run that you train afterwards with the same seed is judged on them."
        st.caption(
            f"{len(folds)} folds of {said_sizes} cases; {count_words(n_test, 'test case')} stay unseen.", help=tip
        )
    if not pressed:
        return None
    from core.search.plan import make_search_config

    values = {"model": _but(fixed[0], grid, "model"), "train": _but(fixed[1], grid, "train")}
    config = make_search_config(dataset, model, values, grid, options)
    return start_job("search", {"config": config.model_dump(mode="json"), "device": "auto"})


def _but(values: Mapping[str, Any], grid: Grid, group: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if f"{group}.{name}" not in grid}


def _hindrance(dataset: Dataset, card: ModelCard, grid: Grid, options: SearchOptions) -> tuple[str, Folds]:
    """Why this cannot be searched; "" where it can. And the folds, where there are some."""
    folds: Folds = ()
    try:
        folds = folds_of(dataset, options)
        grid.update(typed(grid, card.Config))
        check_size(len(points_of(grid)), options)
    except UserError as error:
        return str(error), folds
    return "", folds


def _announce(dataset: Dataset, model: str, n_points: int, options: SearchOptions, training: Mapping[str, Any]) -> None:
    """How many trainings, and about how long."""
    n = count_trainings(n_points, options)
    most = "at most " if options.halving else ""
    seconds = usual_seconds(dataset, model)
    limit_s = 60 * float(training.get("max_minutes", 0))
    if seconds is not None:
        each = min(seconds, limit_s) if limit_s else seconds
        time = f"about {duration_words(n * each)}, judging by earlier trainings of this model"
    elif limit_s:
        time = f"at most {duration_words(n * limit_s)}, by the time limit of {duration_words(limit_s)} each"
    else:
        time = "some seconds each"
    st.markdown(f"**{most}{count_words(n, 'training')}** of {count_words(n_points, 'setting')}, {time}.".capitalize())


def usual_seconds(dataset: Dataset, model: str) -> float | None:
    """What a training of this model on this dataset took; None before any has ended."""
    took = [
        run.status.ended - run.status.started
        for run in list_runs(workspace())
        if (run.config.model, run.config.dataset) == (model, dataset.name) and run.state == "finished"
    ]
    for job in list_jobs(workspace()):
        found = job.result if job.kind == "search" else None
        if found and (found["model"], found["dataset"]) == (model, dataset.name):
            took += [row["seconds"] / row["folds"] for row in found["points"] if row["folds"]]
    took = [seconds for seconds in took if seconds > 0]
    return statistics.median(took) if took else None


def _grid(card: ModelCard, model: str) -> Grid:
    """Which settings vary, and their values as typed."""
    fields = varied_fields(card)
    first = [key for key in FIRST_VARIED if key in fields] or list(fields)[:1]
    tip = "Each combination of their values is one setting that is trained on every fold."
    chosen = st.multiselect(
        "Settings to vary", list(fields), first, format_func=_words, key=f"search-vary-{model}", help=tip
    )
    grid, places = {}, st.columns(2)
    for n, key in enumerate(chosen):
        with places[n % 2]:
            grid[key] = _values(key, fields[key], card, f"search-{model}-{key}")
    return grid


def varied_fields(card: ModelCard) -> dict[str, FieldInfo]:
    """Settings that can vary: numbers, switches and choices."""
    found = {f"model.{name}": info for name, info in card.Config.model_fields.items()}
    if not card.is_fitted:
        found |= {f"train.{name}": info for name, info in TrainConfig.model_fields.items()}
    return {key: info for key, info in found.items() if key not in SKIPPED and _is_simple(info)}


def _is_simple(info: FieldInfo) -> bool:
    return info.annotation in (int, float, bool) or get_origin(info.annotation) is Literal


def _words(key: str) -> str:
    return spoken(key.partition(".")[2])


def _values(key: str, info: FieldInfo, card: ModelCard, widget: str) -> tuple[Any, ...]:
    options: Sequence[Any] = (False, True) if info.annotation is bool else get_args(info.annotation)
    if options:
        tip = f"{info.description}. Each chosen value is tried."
        return tuple(st.multiselect(_words(key), options, options, format_func=said, key=widget, help=tip))
    tip = f"{info.description}. The values to try, separated by commas."
    text = st.text_input(_words(key), ", ".join(map(said, proposed(key, info, card))), key=widget, help=tip)
    return tuple(part.strip() for part in text.split(",") if part.strip())


def proposed(key: str, info: FieldInfo, card: ModelCard) -> list[Any]:
    """Half of the usual value, the value itself and its double, as far as the setting may have them."""
    group, _, name = key.partition(".")
    kind: type[Settings] = card.Config if group == "model" else TrainConfig
    usual = card.train_defaults.get(name, info.default) if group == "train" else info.default
    tried = [0, 1, 2] if not usual else [usual / 2, usual, usual * 2]
    values = [int(value) for value in tried] if info.annotation is int else [float(value) for value in tried]
    return [value for value in dict.fromkeys(values) if _is_allowed(kind, name, value)]


def _is_allowed(kind: type[Settings], name: str, value: Any) -> bool:
    try:
        build(kind, {name: value})
    except InvalidConfigError:
        return False
    return True
