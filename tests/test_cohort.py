from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from core.cohort import Cohort, list_cohorts, save_nifti
from core.errors import NotFoundError
from core.types import Case, Volume
from core.workspace import Workspace
from tests.conftest import phantom_case


def test_a_case_comes_back_as_it_went_in(workspace: Workspace) -> None:
    case = phantom_case("case-1", 3)
    cohort = Cohort.create(workspace, "c")
    cohort.write(case)
    again = cohort.read("case-1")
    assert again.labels == case.labels
    for modality, volume in case.volumes.items():
        np.testing.assert_array_equal(again.volumes[modality].data, volume.data)
        np.testing.assert_array_equal(again.volumes[modality].affine, volume.affine)
        assert again.volumes[modality].unit == volume.unit


def test_another_tool_finds_a_marked_voxel_at_its_millimetres(workspace: Workspace) -> None:
    data = np.full((4, 5, 6), 7, dtype=np.float32)
    data[1, 3, 4] = 900
    affine = np.array([[1.0, 0.2, 0, -5], [-0.1, 2, 0.3, 8], [0, -0.2, 3, 11], [0, 0, 0, 1]])
    path = workspace.root / "x.nii.gz"
    save_nifti(Volume(data, affine, "T1"), path)
    image = nib.nifti1.load(path)
    index = np.argwhere(np.asarray(image.dataobj) == 900)[0]
    np.testing.assert_allclose((image.affine @ [*index, 1])[:3], (affine @ [1, 3, 4, 1])[:3], atol=1e-4)
    assert image.get_data_dtype() == np.int16


def test_fractions_are_kept_and_not_rounded(workspace: Workspace) -> None:
    data = np.random.default_rng(0).normal(5, 2, (4, 5, 6)).astype(np.float32)
    save_nifti(Volume(data, np.diag([1.0, 2, 3, 1]), "PET", "SUV"), workspace.root / "x.nii")
    np.testing.assert_array_equal(np.asarray(nib.nifti1.load(workspace.root / "x.nii").dataobj), data)


def test_a_second_modality_joins_the_case(workspace: Workspace) -> None:
    cohort = Cohort.create(workspace, "c")
    whole = phantom_case("case-1", 3)
    cohort.write(Case("case-1", {"T1": whole.volumes["T1"]}, {"site": "a"}))
    cohort.write(Case("case-1", {"CT": whole.volumes["CT"]}, {"age": 60.0}))
    record = cohort.describe("case-1")
    assert set(record["volumes"]) == {"T1", "CT"}
    assert record["labels"] == {"site": "a", "age": 60.0}


def test_what_is_absent_is_said_so(cohort: Cohort, workspace: Workspace) -> None:
    with pytest.raises(NotFoundError):
        cohort.read_volume("case-02", "T2")
    with pytest.raises(NotFoundError):
        Cohort.open(workspace, "nothing")
    assert [c.name for c in list_cohorts(workspace)] == ["phantoms"]
