"""Writes what people bring beside plain NIfTI and DICOM: pictures in pairs, BIDS, odd NIfTI; lopsided, with a truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

AFFINE = np.diag([-1.0, 2.0, 3.0, 1.0])  # LAS
SHAPE = (14, 15, 16)


def values(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(5, 999, shape).astype("i2")


def nifti(path: Path, data: NDArray[Any]) -> None:
    image = nib.Nifti1Image(data, AFFINE)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def picture(path: Path, seed: int, colour: bool = False, text: str = "") -> None:
    """(40 rows, 90 columns) of noise; in colour, or with a text burned in."""
    rng = np.random.default_rng(seed)
    shape = (40, 90, 3) if colour else (40, 90)
    image = Image.fromarray(rng.integers(0, 200, shape, dtype=np.uint8))
    if text:
        ImageDraw.Draw(image).text((2, 2), text, fill=255, font=ImageFont.load_default(14))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)


def pictures(root: Path) -> None:
    """<case>/<modality>.png, one of them in colour; and <modality>/<case>.jpg."""
    for n, case in enumerate(("alpha", "beta")):
        picture(root / "by_case" / case / "T1.png", 10 * n)
        picture(root / "by_case" / case / "US.png", 10 * n + 1, colour=case == "beta")
    for n, case in enumerate(("0001", "0002", "0003")):
        picture(root / "by_modality" / "photo" / f"{case}.jpg", 50 + n)
        picture(root / "by_modality" / "sketch" / f"{case}.png", 60 + n)
    for kind in ("png", "jpg"):
        picture(root / f"burned_in_{kind}" / "case7" / f"US.{kind}", 70, text="DOE JOHN 1961")


def bids(root: Path) -> None:
    """A subject in two sessions: anatomy, contrast, diffusion, fMRI, PET, a lesion mask, and the sidecars."""
    for n, session in enumerate(("ses-01", "ses-02")):
        anat = root / "bids" / "sub-07" / session / "anat"
        stem = f"sub-07_{session}"
        nifti(anat / f"{stem}_T1w.nii.gz", values(100 + n))
        nifti(anat / f"{stem}_ce-gadolinium_T1w.nii.gz", values(110 + n))
        nifti(anat / f"{stem}_FLAIR.nii.gz", values(120 + n))
        nifti(anat / f"{stem}_label-lesion_mask.nii.gz", (values(130 + n) > 900).astype("u1"))
        (anat / f"{stem}_T1w.json").write_text(json.dumps({"EchoTime": 0.003}))
    other = root / "bids" / "sub-07" / "ses-01"
    nifti(other / "dwi" / "sub-07_ses-01_dwi.nii.gz", values(140, (*SHAPE, 3)))
    (other / "dwi" / "sub-07_ses-01_dwi.bval").write_text("0 1000 1000\n")
    nifti(other / "func" / "sub-07_ses-01_task-rest_bold.nii.gz", values(141, (*SHAPE, 5)))
    nifti(other / "pet" / "sub-07_ses-01_trc-FDG_pet.nii.gz", values(142))
    (root / "bids" / "dataset_description.json").write_text("{}")
    (root / "bids" / "participants.tsv").write_text("participant_id\tage\nsub-07\t61\n")
    (root / "bids" / "README").write_text("A study.")


def odd_nifti(root: Path) -> None:
    """One patient each: what the header or the voxels do not hold to."""
    place = root / "odd"
    nifti(place / "flat" / "T1.nii", values(200, (40, 50)))
    nifti(place / "film" / "PET.nii", values(201, (*SHAPE, 4)))
    colours = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = values(202) % 255
    nifti(place / "colour" / "T1.nii", colours)
    for name, share, value in (("few", 0.005, np.nan), ("many", 0.2, np.nan), ("infinite", 0.005, np.inf)):
        data = values(203).astype("f4")
        data.flat[: int(share * data.size)] = value
        nifti(place / f"nan_{name}" / "T1.nii", data)
    nifti(place / "blank" / "T1.nii", np.full(SHAPE, 7, "i2"))
    scaled = nib.Nifti1Image(values(205), AFFINE)
    scaled.header.set_slope_inter(0.5, -3.0)
    (place / "scaled").mkdir(parents=True)
    nib.save(scaled, place / "scaled" / "T1.nii")
    forms = nib.Nifti1Image(values(206), AFFINE)
    forms.set_sform(AFFINE, 2)
    forms.set_qform(np.diag([1.0, 2.0, 3.0, 1.0]), 1)
    (place / "forms").mkdir()
    nib.save(forms, place / "forms" / "T1.nii")
    nowhere = nib.Nifti1Image(values(207), None)
    nowhere.header.set_zooms((1.0, 2.0, 3.0))
    (place / "nowhere").mkdir()
    nib.save(nowhere, place / "nowhere" / "T1.nii")
    cut = (place / "scaled" / "T1.nii").read_bytes()[:-100]
    (place / "cut").mkdir()
    (place / "cut" / "T1.nii").write_bytes(cut)


def odd_files(root: Path) -> Path:
    """All of them in one folder."""
    pictures(root)
    bids(root)
    odd_nifti(root)
    return root
