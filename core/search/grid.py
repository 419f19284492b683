"""The grid: which settings vary, over which values, and the points that this makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from core.config import Settings, TrainConfig, build, parse_overrides
from core.errors import InvalidConfigError

GROUPS = ("model", "train")
FIXED = ("train.init_from", "train.devices")  # weights that have seen a fold's cases; what changes no result
Grid = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Point:
    """One choice of values; `number` counts from 1, in the order of the grid."""

    number: int
    values: Mapping[str, Any]

    def of(self, group: str) -> dict[str, Any]:
        """Its settings of "model" or "train", by their names there."""
        prefix = f"{group}."
        return {key.removeprefix(prefix): value for key, value in self.values.items() if key.startswith(prefix)}

    @property
    def words(self) -> str:
        """Such as "latent_dim 16, lr 0.001"."""
        return ", ".join(f"{key.partition('.')[2]} {said(value)}" for key, value in self.values.items())


def said(value: Any, between: str = " + ") -> str:
    """A value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return between.join(str(item) for item in value) or "all"
    return f"{value:g}" if isinstance(value, float) else str(value)


def points_of(grid: Grid) -> tuple[Point, ...]:
    """Every combination; the last setting changes fastest."""
    return tuple(
        Point(number, dict(zip(grid, values, strict=True))) for number, values in enumerate(product(*grid.values()), 1)
    )


def parse_grid(pairs: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """`["model.latent_dim=8,16", "train.lr=1e-3,3e-4"]` -> setting -> values, as text.

    Raises:
        InvalidConfigError: It is not written so, or a setting is there twice.
    """
    grid: dict[str, tuple[Any, ...]] = {}
    for pair in pairs:
        key = pair.partition("=")[0].strip()
        values: Any = parse_overrides([pair])
        for name in key.split("."):
            values = values[name]
        if key in grid:
            raise InvalidConfigError(f"{key}: this setting is in the grid twice. Give all its values at once.", "GRID")
        grid[key] = tuple(values) if isinstance(values, list) else (values,)
    return grid


def typed(grid: Grid, model_kind: type[Settings]) -> dict[str, tuple[Any, ...]]:
    """The same with values as the settings have them.

    Raises:
        InvalidConfigError: No setting at all, one that is not there or cannot vary, a value that it cannot have, or
            a value twice.
    """
    if not any(len(values) > 1 for values in grid.values()):
        raise InvalidConfigError(
            "A search compares at least two values of a setting, as in train.lr=1e-3,3e-4.", "GRID-EMPTY"
        )
    return {key: _typed(key, values, model_kind) for key, values in grid.items()}


def _typed(key: str, values: Sequence[Any], model_kind: type[Settings]) -> tuple[Any, ...]:
    group, _, name = key.partition(".")
    if group not in GROUPS or not name:
        raise InvalidConfigError("A setting of a grid starts with model. or train., as in train.lr=1e-3,3e-4.", "GRID")
    if key in FIXED:
        raise InvalidConfigError(f"{key} cannot be searched. Leave it out of the grid.", "GRID")
    if not values:
        raise InvalidConfigError(f"{key}: no value is given. Write them with commas between.", "GRID-EMPTY")
    found = tuple(_value(model_kind if group == "model" else TrainConfig, group, name, value) for value in values)
    for n, value in enumerate(found):
        if value in found[:n]:
            raise InvalidConfigError(f"{key}: the value {said(value)[:40]} is there twice.", "GRID-TWICE")
    return found


def _value(kind: type[Settings], group: str, name: str, value: Any) -> Any:
    try:
        return build(kind, {name: value}).model_dump(mode="json")[name]
    except InvalidConfigError as error:
        raise InvalidConfigError(f"{group}.{error}", "GRID-VALUE") from error
