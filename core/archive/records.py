"""What the JSON files of an archive may say. Names in them become paths, so they are checked like those."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from core.config import Settings
from core.workspace import NAME

Name = Annotated[str, Field(pattern=rf"^{NAME}\z")]
Word = Annotated[str, Field(max_length=80, pattern=r"^[\w .,+%*()/-]*\z")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")]
Row = Annotated[tuple[Number, ...], Field(min_length=4, max_length=4)]
Matrix = Annotated[tuple[Row, ...], Field(min_length=4, max_length=4)]
Side = Annotated[int, Field(ge=1, le=16_384)]
Sides = Annotated[tuple[Side, ...], Field(min_length=3, max_length=3)]
Labels = dict[Name, Word | Number]


class Facts(Settings):
    """One volume in `case.json`."""

    shape: Sides
    spacing_mm: tuple[Number, Number, Number]
    affine: Matrix
    unit: Word
    min: Number
    max: Number
    mean: Number
    warnings: tuple[Name, ...] = ()


class CaseRecord(Settings):
    """`case.json`."""

    id: Name
    labels: Labels
    volumes: dict[Name, Facts]


class CohortInfo(Settings):
    """`cohort.json`, which only generated cohorts have; where one is from is told anew by whoever reads it."""

    simulated: Literal[True]
    level: Word = ""
    seed: int = 0
    source: str = Field("", max_length=2000)


class Prepared(Settings):
    """A case in a dataset's `index.json`."""

    id: Name
    modalities: Annotated[tuple[Name, ...], Field(min_length=1)]
    affine: Matrix
    scales: dict[Name, tuple[Number, Number]]
    labels: Labels
    label_maps: tuple[Name, ...]
    warnings: dict[Name, tuple[Name, ...]]
    findings: dict[str, Any]
    mask_voxels: int = Field(ge=0)
    sha256: Hash
    excluded: str = Field("", max_length=200)


class Index(Settings):
    """A dataset's `index.json`."""

    name: Name
    cohort: Name
    simulated: bool
    recipe: dict[str, Any]
    modalities: tuple[Name, ...]
    units: dict[Name, Word]
    shape: Sides
    spacing_mm: tuple[Number, Number, Number]
    fingerprint: Hash
    cases: Annotated[tuple[Prepared, ...], Field(min_length=1)]
    excluded: tuple[Prepared, ...] = ()


class Ended(Settings):
    """What of a run's `state.json` is taken over; sentences in it are written anew."""

    state: Literal["queued", "running", "finished", "failed", "cancelled", "lost", "paused"]
    done: Number = 0
    total: Number = 0
    created: Number = 0
    started: Number = 0
    ended: Number = 0
    device: Word = ""
