"""Writing a dataset: case by case beside its final place, then an index over all."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.dataset import Dataset, fingerprint_of
from core.errors import InvalidConfigError
from core.types import Affine, Array, Label
from core.workspace import Workspace, new_id, read_json, safe_name, write_json


@dataclass(frozen=True)
class PreparedCase:
    """One case as it goes into a dataset.

    Attributes:
        images: modality -> (I, J, K) float32, about 0 to 1.
        scales: modality -> (scale, offset): value * scale + offset is in the modality's unit.
        mask: (I, J, K) bool, the voxels that are judged.
        label_maps: name -> (I, J, K) uint8 (lesions, tissues).
        affine: (4, 4) voxel -> RAS mm.
        findings: what the preparing steps found out, by step.
    """

    id: str
    images: Mapping[str, Array]
    scales: Mapping[str, tuple[float, float]]
    units: Mapping[str, str]
    mask: NDArray[np.bool_]
    affine: Affine
    label_maps: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    labels: Mapping[str, Label] = field(default_factory=dict)
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    findings: Mapping[str, Any] = field(default_factory=dict)


class DatasetWriter:
    """Writes a dataset beside its final place; `finish` makes it appear, whole.

    Args:
        key: names the work; a writer of the same key finds the cases that an interrupted one had finished.
    """

    def __init__(self, workspace: Workspace, name: str, key: str = "") -> None:
        self._final = workspace.datasets / safe_name(name)
        self._draft = workspace.datasets / (f".draft-{safe_name(key)}" if key else f".{new_id('draft')}")
        self._draft.mkdir(parents=True, exist_ok=bool(key))

    @property
    def finished(self) -> frozenset[str]:
        """The cases that are written already."""
        return frozenset(path.parent.name for path in self._draft.glob("*/record.json") if path.parent.name[0] != ".")

    def add(self, case: PreparedCase) -> None:
        """Write one case, whole or not at all; may be called for different cases from different processes."""
        folder = self._draft / f".{new_id('case')}"
        folder.mkdir()
        modalities = sorted(case.images)
        stack = np.stack([case.images[m].transpose(2, 0, 1) for m in modalities], axis=1)
        arrays = {"images": stack.astype(np.float32, copy=False), "mask": case.mask}
        digest = hashlib.sha256(repr((case.id, modalities, sorted(case.scales.items()))).encode())
        for name, array in {**arrays, **case.label_maps}.items():
            stored = array if name == "images" else np.asfortranarray(array)  # a slice (I, J) of a map in one piece
            np.save(folder / f"{safe_name(name)}.npy", stored)
            digest.update(np.ascontiguousarray(array).data.cast("B"))
        record = {
            "id": case.id,
            "modalities": modalities,
            "shape": list(case.mask.shape),
            "affine": case.affine.tolist(),
            "scales": case.scales,
            "units": case.units,
            "labels": case.labels,
            "label_maps": sorted(case.label_maps),
            "warnings": case.warnings,
            "findings": case.findings,
            "mask_voxels": int(case.mask.sum()),
            "sha256": digest.hexdigest(),
        }
        write_json(folder / "record.json", record)
        folder.rename(self._draft / safe_name(case.id))

    def finish(self, cohort: str, recipe: Mapping[str, Any], simulated: bool) -> Dataset:
        """Write `index.json` over all cases added and move the folder into place, replacing one of the same name.

        A case on another grid or in another unit than most is left out and named in the recipe's `left_out`.

        Raises:
            InvalidConfigError: No case was added, or no more than half of them are on one grid and in one unit.
        """
        for half in self._draft.glob(".case-*"):
            shutil.rmtree(half, ignore_errors=True)
        records = [read_json(path) for path in sorted(self._draft.glob("*/record.json"))]
        if not records:
            self.discard()
            raise InvalidConfigError("No case could be prepared, so there is no dataset.", "NO-CASES")
        usual = _usual(records)
        odd = {record["id"]: words for record in records if (words := _oddity(record, *usual))}
        if 2 * len(odd) >= len(records):
            self.discard()
            raise InvalidConfigError(
                f"These cases do not make one dataset. One case: {next(iter(odd.values()))}. Delete those that do "
                "not belong on the Data page, or import them into a cohort of their own.",
                "MIXED",
            )
        for case_id in odd:
            shutil.rmtree(self._draft / safe_name(case_id))
        records = [record for record in records if record["id"] not in odd]
        shape, units = records[0]["shape"], {m: usual[1][m] for record in records for m in record["units"]}
        records = [{name: v for name, v in record.items() if name not in ("shape", "units")} for record in records]
        spacing = np.linalg.norm(np.asarray(records[0]["affine"])[:3, :3], axis=0)
        index = {
            "name": self._final.name,
            "cohort": cohort,
            "simulated": simulated,
            "recipe": {**recipe, "left_out": {**recipe.get("left_out", {}), **odd}} if odd else dict(recipe),
            "modalities": sorted(units),
            "units": units,
            "shape": shape,
            "spacing_mm": [round(float(value), 6) for value in spacing],
            "fingerprint": fingerprint_of(records),
            "cases": records,
        }
        write_json(self._draft / "index.json", index)
        if self._final.exists():
            old = self._final.with_name(f".{new_id('old')}")
            self._final.rename(old)
            self._draft.rename(self._final)
            shutil.rmtree(old)
        else:
            self._draft.rename(self._final)
        return Dataset(self._final)

    def discard(self) -> None:
        """Give up: remove what was written."""
        shutil.rmtree(self._draft, ignore_errors=True)


def _usual(records: Sequence[Mapping[str, Any]]) -> tuple[list[int], dict[str, str]]:
    """The commonest size, and the commonest unit of each modality."""
    ((size, _),) = Counter(tuple(record["shape"]) for record in records).most_common(1)
    units: dict[str, Counter[str]] = {}
    for record in records:
        for modality, unit in record["units"].items():
            units.setdefault(modality, Counter())[unit] += 1
    return list(size), {modality: counts.most_common(1)[0][0] for modality, counts in units.items()}


def _oddity(record: Mapping[str, Any], size: Sequence[int], units: Mapping[str, str]) -> str:
    """What of a case is not as in most, in a sentence; "" where nothing is."""
    for modality, unit in record["units"].items():
        if unit != units[modality]:
            return f"Its {modality} is in {unit}, that of most cases in {units[modality]}"
    if list(record["shape"]) != list(size):
        own, usual = (" x ".join(map(str, shape)) for shape in (record["shape"], size))
        return f"It comes out as {own} voxels, most cases as {usual}"
    return ""
