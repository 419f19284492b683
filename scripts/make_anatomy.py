"""Reduce the ICBM152 2009a template that nilearn's wheel carries to the demo's small anatomy asset.

Run once, with nilearn installed (it is no dependency of the project): `python scripts/make_anatomy.py`.
The same nilearn release gives the same bytes.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import nibabel as nib
import nilearn
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Map = NDArray[np.float64]

SPACING_MM = 1.5
FIRST_MM = (-76.5, -111.0, -72.0)
SHAPE = (103, 127, 105)
TARGET = Path(__file__).resolve().parents[1] / "assets" / "anatomy" / "icbm152.npz"
SOURCE = Path(nilearn.__file__).parent / "datasets" / "data"
FRONTAL_HORNS_MM = ((-9.0, 16.0, 14.0), (9.0, 16.0, 14.0))


def template(kind: str) -> Map:
    """The 1 mm map resampled to the asset's grid, 0 to 255."""
    image = nib.nifti1.load(SOURCE / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz")
    voxels = np.indices(SHAPE).reshape(3, -1)
    points = voxels * SPACING_MM + np.asarray(FIRST_MM)[:, None]
    inverse = np.linalg.inv(image.affine)
    at = inverse[:3, :3] @ points + inverse[:3, 3:]
    data = np.asarray(image.dataobj, dtype=np.float64)
    return ndimage.map_coordinates(data, at, order=3, mode="nearest").reshape(SHAPE).clip(0, 255)


def lateral_ventricles(
    t1: NDArray[np.float64], grey: NDArray[np.float64], white: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The fluid that hangs together with the two frontal horns, deep inside the brain."""
    depth = ndimage.distance_transform_edt(ndimage.binary_fill_holes(t1 > 8)) * SPACING_MM
    points = np.indices(SHAPE) * SPACING_MM + np.asarray(FIRST_MM)[:, None, None, None]
    x, y, z = points
    near = (abs(x) < 42) & (y > -58) & (y < 42) & (z > -22) & (z < 32) & (depth > 14)
    fluid = near & (grey + white < 140) & (t1 < 150)
    parts, _ = ndimage.label(fluid)
    seeds = [tuple(np.rint((np.asarray(seed) - FIRST_MM) / SPACING_MM).astype(int)) for seed in FRONTAL_HORNS_MM]
    found = {int(parts[seed]) for seed in seeds} - {0}
    if not found:
        raise SystemExit("The frontal horns are not where they were; has the template changed?")
    return np.isin(parts, list(found))


def save(arrays: dict[str, NDArray[np.generic]]) -> None:
    """An .npz whose bytes depend on its content only: no clock in the zip."""
    with zipfile.ZipFile(TARGET, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)


def main() -> None:
    t1, grey, white = (template(kind) for kind in ("t1", "gm", "wm"))
    brain = ndimage.binary_fill_holes(t1 > 8)
    arrays: dict[str, NDArray[np.generic]] = {
        "t1": np.rint(t1).astype(np.uint8),
        "grey": np.rint(grey).astype(np.uint8),
        "white": np.rint(white).astype(np.uint8),
        "brain": brain.astype(np.uint8),
        "ventricles": lateral_ventricles(t1, grey, white).astype(np.uint8),
        "first_mm": np.asarray(FIRST_MM),
        "spacing_mm": np.asarray(SPACING_MM),
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    save(arrays)


if __name__ == "__main__":
    main()
