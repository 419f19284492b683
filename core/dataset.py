"""A prepared dataset: every case on one grid, memory-mapped, with masks, an index and splits by case.

Only per-case or fixed steps were applied to it. Whatever is fitted across cases belongs to a run and its training fold.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import HoldOut, RunConfig
from core.errors import InvalidConfigError, NotFoundError
from core.remembered import remembered
from core.types import PHYSICAL_UNITS, Affine, Array, Label
from core.workspace import Workspace, read_json, safe_name, write_json

_read_index = remembered(at_most=64)(read_json)


@dataclass(frozen=True)
class Split:
    """Case ids; no case is in two parts."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


class Dataset:
    """A folder with `index.json` and, for each case, `images.npy` (K, M, I, J), `mask.npy` and label maps (I, J, K)."""

    def __init__(self, folder: Path, is_whole: bool = False) -> None:
        self.folder = folder
        self.is_whole = is_whole

    @property
    def whole(self) -> Dataset:
        """The same with the cases that were left out: for looking and measuring, never for training."""
        return Dataset(self.folder, is_whole=True)

    @staticmethod
    def open(workspace: Workspace, name: str) -> Dataset:
        """The dataset of that name.

        Raises:
            NotFoundError: There is none.
        """
        folder = workspace.datasets / safe_name(name)
        if not (folder / "index.json").exists():
            raise NotFoundError(f"There is no dataset named {name}. Prepare a cohort first.")
        return Dataset(folder)

    @cached_property
    def index(self) -> dict[str, Any]:
        """What `DatasetWriter.finish` wrote; see there."""
        index = dict(_read_index(self.folder / "index.json"))
        if not self.is_whole:
            return index
        cases = sorted([*index["cases"], *index.get("excluded", [])], key=lambda record: str(record["id"]))
        return {**index, "cases": cases, "excluded": [], "fingerprint": fingerprint_of(cases)}

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.index["modalities"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(I, J, K), the same for every case."""
        i, j, k = self.index["shape"]
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        i, j, k = self.index["spacing_mm"]
        return i, j, k

    @property
    def fingerprint(self) -> str:
        """Hash over all arrays, ids and scales: equal only where every number that training sees is equal."""
        return str(self.index["fingerprint"])

    @property
    def is_simulated(self) -> bool:
        return bool(self.index["simulated"])

    @cached_property
    def case_ids(self) -> tuple[str, ...]:
        return tuple(record["id"] for record in self.index["cases"])

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Case -> its place in `case_ids`."""
        return {case_id: number for number, case_id in enumerate(self.case_ids)}

    @cached_property
    def _records(self) -> dict[str, dict[str, Any]]:
        return {record["id"]: record for record in self.index["cases"]}

    def record(self, case_id: str) -> dict[str, Any]:
        """A case's entry in the index: id, modalities, affine, scales, labels, label_maps, warnings, mask_voxels."""
        if case_id not in self._records:
            raise NotFoundError(f"There is no case {case_id} in this dataset.")
        return self._records[case_id]

    def affine(self, case_id: str) -> Affine:
        return np.asarray(self.record(case_id)["affine"], float)

    def unit(self, modality: str) -> str:
        return str(self.index["units"][modality])

    def unit_scale(self, modality: str, case_id: str) -> float:
        """What one step of the 0-1 scale is in the modality's physical unit; 1 for arbitrary units."""
        if self.unit(modality) not in PHYSICAL_UNITS:
            return 1.0
        return float(self.record(case_id)["scales"][modality][0])

    def slices(self, case_id: str) -> NDArray[np.float32]:
        """(K, M, I, J), memory-mapped; M in the order of the record's modalities."""
        self.record(case_id)
        mapped: NDArray[np.float32] = np.load(self.folder / case_id / "images.npy", mmap_mode="r", allow_pickle=False)
        return mapped

    @property
    def workspace(self) -> Workspace:
        """The one that it lies in."""
        return Workspace(self.folder.parent.parent)

    def volume(self, case_id: str, modality: str) -> Array:
        """(I, J, K), memory-mapped, on the 0-1 scale.

        Raises:
            NotFoundError: The case has no such modality.
        """
        present = self.record(case_id)["modalities"]
        if modality not in present:
            raise NotFoundError(f"Case {case_id} has no {modality}.")
        return self.slices(case_id)[:, present.index(modality)].transpose(1, 2, 0)

    def mask(self, case_id: str) -> NDArray[np.bool_]:
        """(I, J, K), the voxels that are judged."""
        self.record(case_id)
        mapped: NDArray[np.bool_] = np.load(self.folder / case_id / "mask.npy", mmap_mode="r", allow_pickle=False)
        return mapped

    def label_map(self, case_id: str, name: str) -> NDArray[np.uint8]:
        """(I, J, K), whole-number classes."""
        if name not in self.record(case_id)["label_maps"]:
            raise NotFoundError(f"Case {case_id} has no label map {name}.")
        mapped: NDArray[np.uint8] = np.load(self.folder / case_id / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return mapped

    def split(self, seed: int, fold: int | None = None, n_folds: int | None = None) -> Split:
        """See `split_cases`."""
        return split_cases(self.case_ids, seed, fold, n_folds)

    def split_of(self, config: RunConfig) -> Split:
        """How a run divides the cases."""
        if config.hold_out is not None:
            return split_by_name(self.case_ids, config.seed, config.hold_out)
        return self.split(config.seed, config.fold, config.n_folds)

    @property
    def excluded(self) -> dict[str, str]:
        """Case -> why a person left it out; their arrays are kept."""
        return {record["id"]: str(record["excluded"]) for record in self.index.get("excluded", [])}

    def exclude(self, case_id: str, reason: str) -> None:
        """Leave a case out of the dataset, which then has another fingerprint; `include` brings it back.

        Raises:
            NotFoundError: It is not in the dataset.
            InvalidConfigError: No reason is given, or it is the last case.
        """
        record = self.record(case_id)
        if not reason.strip():
            raise InvalidConfigError("Say why the case is left out, in a few words.", "REASON")
        if len(self.case_ids) < 2:
            raise InvalidConfigError("The last case of a dataset cannot be left out; delete the dataset.", "LAST-CASE")
        cases = [other for other in self.index["cases"] if other["id"] != case_id]
        self._write_index(cases, [*self.index.get("excluded", []), {**record, "excluded": reason.strip()[:200]}])

    def include(self, case_id: str) -> None:
        """Take a case back that was left out; the fingerprint is again what it was."""
        kept = [record for record in self.index.get("excluded", []) if record["id"] != case_id]
        back = [record for record in self.index.get("excluded", []) if record["id"] == case_id]
        if not back:
            raise NotFoundError(f"Case {case_id} was not left out of this dataset.")
        again = {key: value for key, value in back[0].items() if key != "excluded"}
        self._write_index(sorted([*self.index["cases"], again], key=lambda record: str(record["id"])), kept)

    def set_labels(self, labels: Mapping[str, Mapping[str, Label]]) -> None:
        """Give cases other labels, also those that were left out. Arrays and fingerprint stay what they are.

        Args:
            labels: case -> all of its labels; cases that are not in the dataset are passed over.
        """

        def relabelled(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
            return [{**record, "labels": dict(labels.get(record["id"], record["labels"]))} for record in records]

        self._write_index(relabelled(self.index["cases"]), relabelled(self.index.get("excluded", [])))

    def _write_index(self, cases: list[dict[str, Any]], excluded: list[dict[str, Any]]) -> None:
        if self.is_whole:
            raise TypeError("The whole of a dataset is for looking only.")
        index = {**self.index, "cases": cases, "excluded": excluded, "fingerprint": fingerprint_of(cases)}
        write_json(self.folder / "index.json", index)
        for name in ("index", "case_ids", "numbers", "_records"):
            self.__dict__.pop(name, None)

    def delete(self) -> None:
        """Remove the dataset; its cohort stays."""
        shutil.rmtree(self.folder, ignore_errors=True)


def fingerprint_of(records: Sequence[Mapping[str, Any]]) -> str:
    """Hash over the hashes of the cases, in the order of their ids."""
    return hashlib.sha256("".join(str(record["sha256"]) for record in records).encode()).hexdigest()


def list_datasets(workspace: Workspace) -> list[Dataset]:
    """Every finished dataset, by name."""
    return [
        Dataset(path.parent) for path in sorted(workspace.datasets.glob("*/index.json")) if path.parent.name[0] != "."
    ]


def split_cases(case_ids: Sequence[str], seed: int, fold: int | None = None, n_folds: int | None = None) -> Split:
    """Divide whole cases: a seeded 80/20 split, or fold `fold` (from 0) of `n_folds`.

    From 10 training cases on, a tenth of them is set aside to watch the training (`val`); with fewer, none is.

    Raises:
        InvalidConfigError: Under two cases, more folds than cases, or a fold that is not there.
    """
    n = len(case_ids)
    if n < 2:
        raise InvalidConfigError(
            "A training needs at least 2 cases: one to learn from, one to be judged on.", "TOO-FEW-CASES"
        )
    if (fold is None) != (n_folds is None):
        raise InvalidConfigError("Give both the fold and the number of folds, or neither.")
    order = [sorted(case_ids)[i] for i in np.random.default_rng(seed).permutation(n)]
    if fold is None or n_folds is None:
        test = order[: max(1, round(0.2 * n))]
    else:
        if not 2 <= n_folds <= n:
            raise InvalidConfigError(f"{n_folds} folds of {n} cases: the number of folds is 2 to {n}.")
        if not 0 <= fold < n_folds:
            raise InvalidConfigError(
                f"Folds are counted from 0: fold {fold} of {n_folds} is not there; use 0 to {n_folds - 1}."
            )
        test = order[fold::n_folds]
    return _with_val([case_id for case_id in order if case_id not in test], test)


def split_by_name(case_ids: Sequence[str], seed: int, hold_out: HoldOut) -> Split:
    """Judged on these cases, learnt from all others but the unseen ones; a tenth is set aside as in `split_cases`.

    Raises:
        InvalidConfigError: A case is not there or named twice, or none is left to learn from.
    """
    apart = (*hold_out.judged, *hold_out.unseen)
    if not set(apart) <= set(case_ids) or len(set(apart)) < len(apart):
        raise InvalidConfigError("Cases that are held out must be in the dataset, each named once.", "HOLD-OUT")
    order = [sorted(case_ids)[i] for i in np.random.default_rng(seed).permutation(len(case_ids))]
    rest = [case_id for case_id in order if case_id not in apart]
    if not rest:
        raise InvalidConfigError("No case is left to learn from. Hold out fewer.", "TOO-FEW-CASES")
    return _with_val(rest, hold_out.judged)


def _with_val(rest: Sequence[str], test: Sequence[str]) -> Split:
    n_val = round(0.1 * len(rest)) if len(rest) >= 10 else 0
    return Split(tuple(sorted(rest[n_val:])), tuple(sorted(rest[:n_val])), tuple(sorted(test)))
