"""A synthesis that leaves as NIfTI lies where the case lies, and says nothing else."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from core.cohort import Cohort
from core.dataset_writer import DatasetWriter
from core.errors import InvalidConfigError
from core.export import save_synthesis
from core.models import MODELS
from core.prepare import prepare
from core.recipes import make_recipe
from core.types import Case, Volume
from core.workspace import Workspace
from tests.tiny_run import HU, OBLIQUE, SHAPE, Blend, load_tiny, make_dataset, prepared_case, tiny

__all__ = ["tiny"]
MARK = (4, 15, 2)
AXES = {
    "RAS": np.array([[1.0, 0, 0, -11], [0, 2, 0, -24], [0, 0, 3, 39], [0, 0, 0, 1]]),
    "LPS": np.array([[-1.0, 0, 0, -11], [0, -2, 0, -24], [0, 0, 3, 39], [0, 0, 0, 1]]),
    "PIR": np.array([[0, 0, 3.0, -11], [-1, 0, 0, -24], [0, -2, 0, 39], [0, 0, 0, 1]]),
    "oblique": OBLIQUE,
}


@pytest.mark.parametrize("axes", AXES)
def test_a_marked_voxel_keeps_its_place_in_the_patient(axes, workspace, monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "blend", Blend)
    writer = DatasetWriter(workspace, "marked")
    for n in range(2):
        case = prepared_case(f"case-{n}", n, affine=AXES[axes])
        case.images["T1"][MARK] = 3.0
        writer.add(case)
    loaded = load_tiny(workspace, writer.finish("marked", {}, simulated=True))
    save_synthesis(loaded, "case-1", ["T1"], "T2", tmp_path / "out.nii.gz")
    image = nib.load(tmp_path / "out.nii.gz")
    assert image.shape == SHAPE
    voxel = np.unravel_index(np.argmax(image.get_fdata()), SHAPE)
    np.testing.assert_allclose(image.affine @ [*voxel, 1], AXES[axes] @ [*MARK, 1], atol=1e-3)


@pytest.mark.parametrize("axes", AXES)
def test_a_mark_goes_through_prepare_and_synthesis_within_half_a_voxel(axes, workspace, monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "blend", Blend)
    shape = (20, 16, 12)
    place = np.array([13, 6, 7])
    distance = np.linalg.norm((np.moveaxis(np.indices(shape), 0, -1) - place) * (1, 2, 3), axis=-1)
    image = (100 + 900 * np.exp(-0.5 * (distance / 3) ** 2)).astype(np.float32)
    cohort = Cohort.create(workspace, "marked")
    for n in range(2):
        volumes = {m: Volume(image, AXES[axes], m) for m in ("T1", "T2")}
        cohort.write(Case(f"case-{n}", volumes))
    loaded = load_tiny(workspace, prepare(workspace, cohort, "marked", make_recipe("generic")))
    save_synthesis(loaded, "case-0", ["T1"], "T2", tmp_path / "out.nii")
    found = nib.load(tmp_path / "out.nii")
    weight = np.clip(found.get_fdata() - 0.5 * found.get_fdata().max(), 0, None)
    centre = (np.indices(found.shape) * weight).reshape(3, -1).sum(1) / weight.sum()
    off_mm = (found.affine @ [*centre, 1] - AXES[axes] @ [*place, 1])[:3]
    off_voxels = np.abs(np.linalg.solve(found.affine[:3, :3], off_mm))
    assert off_voxels.max() < 0.5


def test_a_ct_leaves_in_hounsfield_units(tiny, tmp_path):
    save_synthesis(tiny, "case-0", ["T1"], "CT", tmp_path / "ct.nii")
    expected = np.array(tiny.dataset.volume("case-0", "T1")) * HU[0] + HU[1]
    np.testing.assert_allclose(nib.load(tmp_path / "ct.nii").get_fdata(), expected, atol=1e-2)


def test_the_header_says_nothing_but_geometry(tiny, tmp_path):
    save_synthesis(tiny, "case-0", ["T1"], "T2", tmp_path / "out.nii")
    header = nib.load(tmp_path / "out.nii").header
    assert header["descrip"].item() == b"synthetic, not for clinical use"
    assert not any(bytes(header[name]).strip(b"\0") for name in ("aux_file", "db_name", "intent_name"))
    assert not header.extensions
    assert header.get_xyzt_units()[0] == "mm"


def test_only_nifti_is_written(tiny, tmp_path: Path):
    with pytest.raises(InvalidConfigError, match=r"\.nii"):
        save_synthesis(tiny, "case-0", ["T1"], "T2", tmp_path / "out.png")


def test_the_same_name_is_replaced_whole(workspace: Workspace, monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "blend", Blend)
    loaded = load_tiny(workspace, make_dataset(workspace))
    for target in ("T2", "CT"):
        save_synthesis(loaded, "case-0", ["T1"], target, tmp_path / "out.nii")
    assert nib.load(tmp_path / "out.nii").get_fdata().min() < -500
    assert [path.name for path in tmp_path.glob("*.nii")] == ["out.nii"]
