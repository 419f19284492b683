"""A generated cohort as one file: what a run makes of many cases, none of it a copy of what the run was shown.

A ZIP with CASE/TARGET.nii.gz in HU or SUV where the modality has them, about.json and README.txt. It needs the run's
check for copies (`core.memorisation`), and every single image is then checked in the same way before it is written. One
case's images are in memory at a time; of each training case some kB a slice, to compare with. Equal requests give equal
files.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from core.archive.pack import undated
from core.cohort_plan import GenerateConfig, LeftOut, Plan, copy_check, limits_for, plan
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.export import synthesis_bytes
from core.frozen import Coder, coder
from core.memorisation import Points, is_suspect, nearest, points_of, points_of_real
from core.models import MODELS
from core.progress import Progress, part, silent
from core.protocol import protocol_of
from core.synthesis import LoadedRun, check_request, synthesise_case, to_unit
from core.types import Array
from core.versions import versions
from core.workspace import plain

ABOUT, README = "about.json", "README.txt"
COPY = "lies as near to a training image as a copy would"
NO_NUMBERS = "holds values that are no numbers"
COMPARING = 0.2  # of the time, until there is what syntheses are held against


@dataclass(frozen=True, eq=False)
class Guard:
    """Tells of a synthesis whether it may leave.

    Attributes:
        known: target -> points of the training cases that have it.
        limits: target -> how near real cases lie to each other, as the run's check found.
    """

    dataset: Dataset
    judge: Coder
    known: Mapping[str, Mapping[str, Mapping[str, Points]]]
    limits: Mapping[str, Mapping[str, float]]

    @staticmethod
    def of(loaded: LoadedRun, config: GenerateConfig, progress: Progress) -> Guard:
        """Raises InvalidConfigError where the run was not checked, or a copy could not be told."""
        dataset, train = loaded.dataset, loaded.split.train
        found = copy_check(loaded.run, dataset, loaded.split)
        limits = {target: limits_for(found, target) for target in config.targets}
        judge = coder(dataset, train, progress)
        known = {target: points_of_real(dataset, judge, train, target) for target in limits}
        return Guard(dataset, judge, known, limits)

    def objection(self, case_id: str, image: Array, target: str) -> str:
        """Why it has to stay; "" where it may leave."""
        if not np.isfinite(image).all():
            return NO_NUMBERS
        points = points_of(self.dataset, self.judge, case_id, image, target)
        row = {"target": target, **nearest(points, self.known[target], case_id)}
        return COPY if is_suspect(row, self.limits) else ""


def generate(
    loaded: LoadedRun, config: GenerateConfig, stream: BinaryIO, progress: Progress = silent
) -> dict[str, Any]:
    """Write the ZIP.

    Returns:
        images, cases: how many; left_out: case, target and why of each image that was wanted and is not in it.

    Raises:
        InvalidConfigError: The run was not checked for copies (AUDIT-NEEDED), does not make this (UNSUPPORTED), or
            nothing is left (NO-CASES, ALL-LEFT-OUT).
    """
    wanted = plan(loaded.dataset, loaded.split, config)
    check_request(loaded, next(iter(wanted.wanted)), config.given, config.targets)
    guard = Guard.of(loaded, config, part(progress, 0, COMPARING))
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        images, left_out = _add_images(archive, loaded, guard, wanted, config.given, part(progress, COMPARING, 1))
        if not images:
            reasons = ", or ".join(sorted({row["why"] for row in left_out}))
            raise InvalidConfigError(f"No image may leave: each {reasons}.", "ALL-LEFT-OUT")
        about = about_of(loaded, config, images, left_out)
        _add(archive, ABOUT, json.dumps(plain(about), indent=1, allow_nan=False).encode())
        _add(archive, README, readme_of(about).encode())
    return {"images": len(images), "cases": about["n_cases"], "left_out": left_out}


def _add_images(
    archive: zipfile.ZipFile, loaded: LoadedRun, guard: Guard, wanted: Plan, given: Sequence[str], progress: Progress
) -> tuple[list[dict[str, Any]], list[LeftOut]]:
    """What was written, and all that was left out."""
    written, left_out = [], list(wanted.left_out)
    for n, (case_id, targets) in enumerate(wanted.wanted.items(), 1):
        progress(n - 1, len(wanted.wanted), f"Case {n} of {len(wanted.wanted)}")
        for target, image in synthesise_case(loaded, case_id, given, targets).items():
            if why := guard.objection(case_id, image, target):
                left_out.append({"case": case_id, "target": target, "why": why})
                continue
            volume = to_unit(loaded.dataset, case_id, target, image)
            content = synthesis_bytes(volume)
            row = {"file": f"{case_id}/{target}.nii.gz", "case": case_id, "target": target, "unit": volume.unit}
            row |= {"case_was": _part_of(loaded, case_id), "sha256": hashlib.sha256(content).hexdigest()}
            _add(archive, row["file"], content)
            written.append(row)
    progress(1, 1)
    return written, left_out


def _part_of(loaded: LoadedRun, case_id: str) -> str:
    """Which part the case had in the training: its other images may have been learnt from."""
    parts = {"training": loaded.split.train, "validation": loaded.split.val, "held out": loaded.split.test}
    return next((words for words, cases in parts.items() if case_id in cases), "not used")


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    is_packed = name.endswith(".gz")
    archive.writestr(undated(name, zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED), content)


def about_of(
    loaded: LoadedRun, config: GenerateConfig, images: Sequence[Mapping[str, Any]], left_out: Sequence[LeftOut]
) -> dict[str, Any]:
    """All that a reader must know of these images: by what they were made, from what, under which conditions."""
    run, dataset = loaded.run, loaded.dataset
    cases = sorted({row["case"] for row in images})
    return {
        "notice": "Every image in this file was made by a model; none was acquired. Not for clinical use.",
        "given": list(config.given),
        "targets": list(config.targets),
        "cases": config.cases,
        "n_cases": len(cases),
        "n_images": len(images),
        "n_left_out": len(left_out),
        "run": run.id,
        "model": run.config.model,
        "model_title": MODELS[run.config.model].title,
        "config": run.config.model_dump(),
        "weights_sha256": run.weights_sum,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "simulated": dataset.is_simulated,
        "protocol": protocol_of(dataset, loaded.split, cases),
        "copy_check": {"compared_with": len(loaded.split.train), "left_out": sum(r["why"] == COPY for r in left_out)},
        "versions": versions(),
        "images": list(images),
        "left_out": list(left_out),
    }


def readme_of(about: Mapping[str, Any]) -> str:
    """The same in a few lines, for whoever opens the file."""
    known = {"held-out": "cases that the model has not learnt from", "lacking": "cases that lack what was made"}
    source = " The cases themselves are simulated." if about["simulated"] else ""
    lines = [
        "SYNTHETIC IMAGES, NOT FOR CLINICAL USE",
        "",
        f"{about['notice']}{source}",
        "",
        f"What: {', '.join(about['targets'])} made from {' + '.join(about['given'])}: {about['n_images']} images of "
        f"{about['n_cases']} cases ({known[about['cases']]}).",
        f"By: {about['model_title']}, run {about['run']} on the dataset {about['dataset']} "
        f"(fingerprint {about['dataset_fingerprint'][:16]}, protocol {about['protocol']['fingerprint']}).",
        "Where: each image lies in the world as the images it was made from. CT in HU and PET in SUV where these are "
        "known, all else from 0 to 1; the unit of each stands in about.json.",
        f"Copies: each image was compared with the training images. Left out: {about['n_left_out'] or 'none'}"
        + (", with the reasons in about.json." if about["n_left_out"] else "."),
        "A synthesis can show what is not there and hide what is. Nothing in it is evidence about a patient.",
    ]
    return "\n".join(lines) + "\n"
