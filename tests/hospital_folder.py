"""Writes a hospital's export: two patients with CT and MR, an ultrasound with a name in it, a broken file, a PDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import uid

from tests.readers.dicom_files import slice_dataset, write

ROWS, COLUMNS, SLICES = 72, 64, 20
SPACING_MM = [2.5, 2.75]  # between rows, between columns
STEP_MM = 7.0
NAME = "CANARYxWARD"  # of both patients, in headers and in the ultrasound's picture
BANNER = (0, 0, 200, 26)  # column, row, width, height of the ultrasound's text


def tissue(seed: int) -> NDArray[np.int64]:
    """(rows, columns, slices): 0 air, 1 soft, 2 bone, 3 core; no side is like another."""
    shift = np.random.default_rng(seed).uniform(-0.1, 0.1, 2)
    y, x, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in (ROWS, COLUMNS, SLICES)], indexing="ij")
    radius = np.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 1.2) ** 2)
    core = (np.hypot(x - 0.25 - shift[0], y + 0.2) < 0.25) | (np.hypot(x + 0.3, y - 0.35 - shift[1]) < 0.12)
    return np.select([radius > 1, radius > 0.88, core], [0, 2, 3], 1)


def series(folder: Path, patient: str, modality: str, values: NDArray[np.int64], seed: int) -> None:
    """One series; file names say nothing."""
    name, frame = uid.generate_uid(), uid.generate_uid(entropy_srcs=[patient])
    noise = np.random.default_rng(seed).normal(0, 6, values.shape)
    for k in range(SLICES):
        pixels = np.clip(values[:, :, k] + noise[:, :, k], 0, 4000).astype("u2")
        tags: dict[str, Any] = {
            "PatientID": patient, "PatientName": f"{NAME}^{patient}", "PixelSpacing": SPACING_MM,
            "SliceThickness": STEP_MM, "FrameOfReferenceUID": frame, "SeriesDescription": f"{modality} t1_mprage",
        }  # fmt: skip
        write(slice_dataset(pixels, (-88.0, -90.0, STEP_MM * k), name, modality, **tags), folder / f"IM{k:04d}")


def ultrasound(path: Path, patient: str) -> None:
    """A picture whose upper edge names the patient."""
    image = Image.fromarray(np.random.default_rng(9).integers(0, 160, (150, 200), dtype=np.uint8))
    column, row, width, height = BANNER
    ImageDraw.Draw(image).rectangle((column, row, column + width, row + height - 1), fill=0)
    ImageDraw.Draw(image).text((4, 4), f"{NAME} 03.02.1961", fill=255, font=ImageFont.load_default(14))
    pixels = np.asarray(image).astype("u2")
    tags = {"PatientID": patient, "PatientName": f"{NAME}^{patient}", "ImagePositionPatient": None}
    write(slice_dataset(pixels, (0, 0, 0), uid.generate_uid(), "US", ImageOrientationPatient=None, **tags), path)


def hospital_folder(root: Path) -> Path:
    """The folder, as a person would drop it."""
    for n, patient in enumerate(("A-0001", "B-0002")):
        kinds = tissue(n)
        series(root / patient / "CT", patient, "CT", np.choose(kinds, [24, 1040, 1700, 1090]), 2 * n)
        series(root / patient / "MR", patient, "MR", np.choose(kinds, [20, 700, 90, 1300]), 2 * n + 1)
    ultrasound(root / "A-0001" / "US" / "IM0000", "A-0001")
    lone = slice_dataset(np.ones((ROWS, COLUMNS), "u2"), (0, 0, 0), uid.generate_uid(), "MR", PatientID="B-0002")
    whole = write(lone, root / "B-0002" / "broken" / "IM0000").read_bytes()
    (root / "B-0002" / "broken" / "IM0000").write_bytes(whole[: len(whole) // 3])
    (root / "report.pdf").write_bytes(b"%PDF-1.7 of the patient")
    return root
