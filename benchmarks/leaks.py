"""Does the leakage guard find what leaked, and accuse nobody else? Twenty planted leaks, twenty clean splits.

Generated people in T1, T2 and CT at 2 mm, all of one template. Planted, one at a time, among twelve: copies of a
training case as a held-out one (exact, noisy, mirrored, shifted, windowed anew, resampled; T1 alone or CT alone), a
second scan of the same head under another name (turned, brighter, noisier), one person in another modality, scales
computed over all cases. Clean: other people, splits and seeds, cases without a common modality, scales computed over
the training alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import Figures, Targets
from core.cohort import Cohort
from core.config import Task
from core.dataset import Dataset, Split
from core.dataset_writer import DatasetWriter, PreparedCase
from core.demo import make_case
from core.leaks import LeakReport, find_leaks
from core.prepare import prepare
from core.recipes import make_recipe
from core.types import Array, Case, Volume
from core.workspace import Workspace

N_PEOPLE, N_SMALL = 18, 12
MODALITIES = ("T1", "T2", "CT")
COARSER_MM = 3.1
N_CLEAN = 20
TARGETS: Targets = {"found": (">=", 19), "planted": (">=", 20), "accused": ("<=", 0), "clean": (">=", N_CLEAN)}
Change = Callable[[Volume, np.random.Generator], Volume]


def measure_leaks() -> Figures:
    """Planted, found (by its own kind), clean splits, and those of them in which somebody was accused."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        bench = Bench(workspace)
        found = {name: kind in _kinds(report) for name, kind, report in bench.planted()}
        accused = {name: bool(report.leaks) for name, report in bench.clean()}
    for name in [name for name, is_found in found.items() if not is_found]:
        sys.stderr.write(f"not found: {name}\n")
    for name in [name for name, is_accused in accused.items() if is_accused]:
        sys.stderr.write(f"accused: {name}\n")
    return {
        "planted": float(len(found)),
        "found": float(sum(found.values())),
        "clean": float(len(accused)),
        "accused": float(sum(accused.values())),
    }


def _kinds(report: LeakReport) -> set[str]:
    return {leak.kind for leak in report.leaks}


def noisy(volume: Volume, rng: np.random.Generator) -> Volume:
    sd = 40.0 if volume.unit == "HU" else 0.06 * float(np.ptp(np.percentile(volume.data, [1, 99.5])))
    return _with(volume, volume.data + rng.normal(0, sd, volume.data.shape))


def mirrored(volume: Volume, rng: np.random.Generator) -> Volume:
    return _with(volume, volume.data[::-1])


def shifted(volume: Volume, rng: np.random.Generator) -> Volume:
    by = np.array([5.3, -4.1, 3.7]) / volume.spacing_mm
    return _with(volume, ndimage.shift(volume.data, by, order=1, mode="nearest"))


def windowed(volume: Volume, rng: np.random.Generator) -> Volume:
    if volume.unit == "HU":
        return _with(volume, np.clip(volume.data, -160, 240))
    low, high = np.percentile(volume.data[volume.data > 0.1 * volume.data.max()], [8, 85])
    return _with(volume, 255 * np.clip((volume.data - low) / (high - low), 0, 1) ** 0.6)


def resampled(volume: Volume, rng: np.random.Generator) -> Volume:
    factor = np.asarray(volume.spacing_mm) / COARSER_MM
    coarse = ndimage.zoom(ndimage.gaussian_filter(volume.data, 0.5 / factor - 0.3), factor, order=1)
    step = np.asarray(volume.data.shape) / coarse.shape
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, :3] * step
    affine[:3, 3] += volume.affine[:3, :3] @ ((step - 1) / 2)
    return Volume(coarse.astype(np.float32), affine, volume.modality, volume.unit)


def scanned_again(volume: Volume, rng: np.random.Generator) -> Volume:
    """Another day: the head lies a little otherwise, the gain is another, the noise is new."""
    low = float(volume.data.min())
    turned = ndimage.rotate(volume.data, 2.0, axes=(0, 1), reshape=False, order=1, cval=low)
    gain = 1.0 if volume.unit == "HU" else 1.3
    return noisy(_with(volume, gain * ndimage.shift(turned, (1.4, 0.7, -1.1), order=1, cval=low)), rng)


def _with(volume: Volume, data: NDArray[np.floating]) -> Volume:
    return volume.with_data(np.ascontiguousarray(data, np.float32))


def exact(volume: Volume, rng: np.random.Generator) -> Volume:
    return volume


COPIES: dict[str, Change] = {
    "exact": exact,
    "noisy": noisy,
    "mirrored": mirrored,
    "shifted": shifted,
    "windowed": windowed,
    "resampled": resampled,
    "scanned again": scanned_again,
}


class Bench:
    """The people, their prepared images, and datasets made of some of these."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        cohort = Cohort.create(workspace, "leaks")
        number = 0
        while len(cohort.case_ids) < N_PEOPLE:  # some people lack a modality
            number += 1
            case = make_case(number, level="medium")
            if set(MODALITIES) <= set(case.volumes):
                cohort.write(Case(case.id, {m: case.volumes[m] for m in MODALITIES}, case.labels))
        origins = cohort.case_ids
        self.copies: list[tuple[str, str, str]] = []
        self.origins: dict[str, str] = {}  # a case of another name -> whose mask it has
        for n, (kind, change) in enumerate(COPIES.items()):
            for modality in ("T1", "CT"):
                origin = cohort.read(origins[n])
                copy = f"copy-{n}-{modality.lower()}"
                volume = change(origin.volumes[modality], np.random.default_rng(n))
                cohort.write(Case(copy, {modality: volume}))
                self.copies.append((f"{kind} {modality}", origin.id, copy))
        self.dataset = prepare(workspace, cohort, "leaks", make_recipe("brain-mr-ct"))
        self.people = tuple(case for case in self.dataset.case_ids if not case.startswith("copy-"))

    def planted(self) -> list[tuple[str, str, LeakReport]]:
        """Name, the kind of leak that it is, what the guard says."""
        found = []
        for name, origin, copy in self.copies:
            people = self.people[:N_SMALL]
            held_out = (copy, next(case for case in reversed(people) if case != origin))
            found.append((name, "same image", self._report({c: MODALITIES for c in people} | {copy: ()}, held_out)))
        for m, n in (("T1", "T2"), ("T1", "CT"), ("T2", "CT")):
            found.append((f"{m} and {n} of one person", "same person", self._two_modalities(m, n, is_one=True)))
        for way in ("percentiles", "z-score"):
            found.append((f"{way} over all", "normaliser", self._scaled(way, over_all=True)))
        return [*found, ("task number over all", "normaliser", self._task(over_all=True))]

    def clean(self) -> list[tuple[str, LeakReport]]:
        """Name, what the guard says."""
        found = [(f"{m} and {n} of two people", self._two_modalities(m, n, is_one=False))
                 for m, n in (("T1", "T2"), ("T1", "CT"), ("T2", "CT"))]  # fmt: skip
        found += [(f"{way} over the training", self._scaled(way, over_all=False)) for way in ("percentiles", "z-score")]
        found.append(("task number over the training", self._task(over_all=False)))
        for seed in range(N_CLEAN - len(found)):
            some = np.random.default_rng(seed).permutation(self.people)[: 8 + seed % 9]
            found.append((f"split {seed}", self._report({str(c): MODALITIES for c in some}, tuple(map(str, some[:2])))))
        return found

    def _report(self, cases: Mapping[str, Sequence[str]], held_out: Sequence[str]) -> LeakReport:
        dataset = self._made_of({case: self._images(case, modalities) for case, modalities in cases.items()})
        return find_leaks(dataset, _split(dataset, held_out))

    def _images(self, case: str, modalities: Sequence[str] = ()) -> dict[str, Array]:
        has = self.dataset.record(case)["modalities"]
        return {m: np.array(self.dataset.volume(case, m)) for m in modalities or has}

    def _two_modalities(self, first: str, second: str, is_one: bool) -> LeakReport:
        """One case of the training has one modality alone, a held-out one the other: of this person, or of another."""
        images = {case: self._images(case, MODALITIES) for case in self.people[1:N_SMALL]}
        whose = self.people[0] if is_one else self.people[N_SMALL]
        self.origins = {"alone-1": self.people[0], "alone-2": whose}
        images["alone-1"] = self._images(self.people[0], (first,))
        images["alone-2"] = self._images(whose, (second,))
        dataset = self._made_of(images)
        return find_leaks(dataset, _split(dataset, ("alone-2", self.people[1])))

    def _scaled(self, way: str, over_all: bool) -> LeakReport:
        """T1 on one scale for all cases, computed from some of them."""
        cases = self.people[:N_SMALL]
        held_out = cases[-3:]
        raw = {case: self._images(case, ("T1",))["T1"] * (1 + 0.2 * n) for n, case in enumerate(cases)}
        fitted = cases if over_all else cases[:-3]
        pooled = np.concatenate([raw[case][np.asarray(self.dataset.mask(case))] for case in fitted])
        low, high = np.percentile(pooled, [0.5, 99.5])
        if way == "z-score":
            low, high = pooled.mean() - 3 * pooled.std(), pooled.mean() + 3 * pooled.std()
        images = {c: {"T1": np.asarray((x - low) / (high - low), np.float32)} for c, x in raw.items()}
        dataset = self._made_of(images, (float(high - low), float(low)))
        return find_leaks(dataset, _split(dataset, held_out))

    def _task(self, over_all: bool) -> LeakReport:
        """A number to learn, standardised by some of the cases."""
        cases = self.people[:N_SMALL]
        dataset = self._made_of({case: self._images(case, ("T1",)) for case in cases})
        values = [float(dataset.record(case)["labels"]["size"]) for case in (cases if over_all else cases[:-3])]
        task = Task(name="size", kind="number", mean=float(np.mean(values)), sd=float(np.std(values)))
        return find_leaks(dataset, _split(dataset, cases[-3:]), tasks=[task])

    def _made_of(self, cases: Mapping[str, Mapping[str, Array]], scale: tuple[float, float] | None = None) -> Dataset:
        writer = DatasetWriter(self.workspace, "some")
        for n, (case, images) in enumerate(cases.items()):
            origin = self.origins.get(case, case)
            record = self.dataset.record(origin)
            writer.add(
                PreparedCase(
                    id=case,
                    images=images,
                    scales={m: scale or tuple(record["scales"][m]) for m in images},
                    units={m: self.dataset.unit(m) for m in images},
                    mask=np.array(self.dataset.mask(origin)),
                    affine=self.dataset.affine(origin),
                    labels={"size": float(n * n)},
                )
            )
        return writer.finish("leaks", {}, simulated=True)


def _split(dataset: Dataset, held_out: Sequence[str]) -> Split:
    return Split(tuple(case for case in dataset.case_ids if case not in held_out), (), tuple(held_out))
