"""Before a search starts: whether all of it can be trained, and how many trainings it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.config import HoldOut, TrainConfig, build
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.search.folds import Folds, divide, searched_cases, strata_of
from core.search.grid import Grid, Point, points_of, typed
from core.search.rounds import n_trainings
from core.search.settings import SearchConfig, SearchOptions

MAX_TRAININGS = 1000


def count_trainings(n_points: int, options: SearchOptions) -> int:
    """How many trainings a search takes at most; a nested one chooses anew for each of its folds."""
    flat = n_trainings(n_points, options.n_folds, options.halving)
    if not options.nested:
        return flat
    chosen_anew = options.n_folds if options.halving else 0  # a chosen point that the flat search had stopped
    return flat + options.n_folds * n_trainings(n_points, options.inner_folds, options.halving) + chosen_anew


def check_size(n_points: int, options: SearchOptions) -> None:
    """Refuse what nobody waits for.

    Raises:
        InvalidConfigError: Over MAX_TRAININGS trainings.
    """
    n = count_trainings(n_points, options)
    if n > MAX_TRAININGS:
        raise InvalidConfigError(
            f"This search takes {n:,} trainings of {n_points:,} settings; {MAX_TRAININGS:,} are the most. Give fewer "
            "values, take fewer folds, or stop early by halving.",
            "GRID-TOO-LARGE",
        )


def folds_of(dataset: Dataset, options: SearchOptions) -> Folds:
    """The folds of a search on this dataset."""
    cases, _ = searched_cases(dataset, options.seed)
    return divide(strata_of(dataset, cases, options.stratify, options.n_folds), options.n_folds, options.seed)


def make_search_config(
    dataset: Dataset,
    model: str,
    fixed: Mapping[str, Mapping[str, Any]],
    grid: Grid,
    options: SearchOptions,
) -> SearchConfig:
    """All that decides a search, checked as far as it can be without training.

    Args:
        fixed: "model" and "train" -> their settings that do not vary.

    Raises:
        InvalidConfigError: Whatever does not fit: a name, a value, a combination, the number of trainings or of cases.
    """
    from core.assembly import kind_of, with_defaults

    kind = kind_of(model)
    if not kind.makes_images:
        raise InvalidConfigError("This model makes no images, so a search has nothing to judge it by.", "NO-IMAGES")
    if options.judged and options.judged not in dataset.modalities:
        known = ", ".join(dataset.modalities)
        raise InvalidConfigError(f"There is no modality {options.judged[:40]} to judge. Here: {known}.", "NO-TARGET")
    n_points = 1
    for values in grid.values():
        n_points *= len(values)
    check_size(n_points, options)
    if dict(fixed.get("train", {})).get("init_from"):
        raise InvalidConfigError(
            "A search starts from fresh weights: others may have seen the cases of a fold. Leave out train.init_from.",
            "LEAK",
        )
    if "train.optimiser" in grid and "train.lr" not in grid and "lr" not in fixed.get("train", {}):
        raise InvalidConfigError(
            "train.optimiser: AdamW and Muon want different learning rates. Give train.lr too, or vary it.", "NO-RATE"
        )
    config = build(
        SearchConfig,
        {
            **options.model_dump(),
            "dataset": dataset.name,
            "dataset_fingerprint": dataset.fingerprint,
            "model": model,
            "model_settings": dict(fixed.get("model", {})),
            "train": with_defaults(kind, fixed.get("train", {})),
            "grid": typed(grid, kind.Config),
        },
    )
    _check_points(dataset, config)
    return config


def _check_points(dataset: Dataset, config: SearchConfig) -> None:
    """Settings of every point, and the model of the first point and of each value beside it."""
    from core.assembly import kind_of
    from core.search.trial import run_config

    kind, points = kind_of(config.model), points_of(config.grid)
    for point in points:
        build(kind.Config, {**config.model_settings, **point.of("model")})
        build(TrainConfig, {**config.train, **point.of("train")})
    folds, (cases, test) = folds_of(dataset, config), searched_cases(dataset, config.seed)
    for fold in folds:
        if config.nested:
            inner_folds(dataset, config, [case_id for case_id in cases if case_id not in fold])
    hold_out = HoldOut(judged=max(folds, key=len), unseen=test)
    for point in _beside_the_first(points):
        run_config(dataset, config, point, hold_out)


def inner_folds(dataset: Dataset, config: SearchConfig, cases: Sequence[str]) -> Folds:
    """The folds of one choice in a nested search."""
    return divide(strata_of(dataset, cases, config.stratify, config.inner_folds), config.inner_folds, config.seed)


def _beside_the_first(points: Sequence[Point]) -> list[Point]:
    """Those that differ from the first in one value at most."""
    first = points[0].values
    return [point for point in points if sum(point.values[key] != first[key] for key in first) <= 1]
