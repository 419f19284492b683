"""The demo cohort on disk."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from core.cohort import Cohort, list_cohorts
from core.demo import LEVELS, make_case, make_cohort
from core.errors import InvalidConfigError
from core.progress import Cancelled
from core.types import Case, Volume
from core.workspace import Workspace

NAMES = {"T1", "T2", "FLAIR", "CT", "PET", "US", "tissue", "lesion", "US_fov"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def cohort(workspace) -> Cohort:
    return make_cohort(workspace, n_cases=2, seed=4, level="easy", name="small")


def test_a_cohort_says_that_it_is_simulated_and_whence(cohort):
    assert cohort.case_ids == ["demo-01", "demo-02"]
    assert cohort.info["simulated"] is True
    assert (cohort.info["level"], cohort.info["seed"]) == ("easy", 4)
    assert "Copyright" in cohort.info["source"]
    assert set(cohort.describe("demo-02")["volumes"]) == NAMES


def test_a_case_is_the_same_whichever_process_made_it_and_however_many_there_are(cohort):
    alone = make_case(2, seed=4, level="easy")  # in the cohort it was the second process's, where there are two
    stored = cohort.read(alone.id)
    assert stored.labels == dict(alone.labels)
    for name, volume in alone.volumes.items():
        np.testing.assert_array_equal(stored.volumes[name].data, volume.data)


def test_whole_numbers_are_stored_as_such(cohort):
    kinds = {name: nib.nifti1.load(cohort.folder / "demo-01" / f"{name}.nii").get_data_dtype() for name in NAMES}
    assert {name for name, kind in kinds.items() if kind != np.int16} == {"PET"}


def test_a_cancelled_generation_leaves_nothing(workspace):
    def stop(done: float, total: float, message: str = "") -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        make_cohort(workspace, n_cases=2, name="stopped", progress=stop)
    assert not list(workspace.cohorts.glob(".*"))
    assert "stopped" not in [cohort.name for cohort in list_cohorts(workspace)]


def test_imported_images_are_never_replaced(workspace):
    own = Cohort.create(workspace, "own")
    own.write(Case("case-1", {"T1": Volume(np.ones((4, 5, 6), np.float32), np.diag([1.0, 2, 3, 1]), "T1")}))
    with pytest.raises(InvalidConfigError, match="imported"):
        make_cohort(workspace, n_cases=2, name="own")
    assert own.case_ids == ["case-1"]


@pytest.mark.parametrize("wrong", [{"level": "brutal"}, {"n_cases": 0}, {"n_cases": 10_000}, {"seed": -1}])
def test_unfit_settings_are_refused_before_any_work(workspace, wrong):
    with pytest.raises(InvalidConfigError):
        make_cohort(workspace, name="refused", **wrong)
    assert not (workspace.cohorts / "refused").exists()


def test_there_are_three_levels():
    assert LEVELS == ("easy", "medium", "hard")


def test_generating_needs_neither_torch_nor_sklearn():
    code = "import sys, core.demo; sys.exit(bool({'torch', 'sklearn', 'umap'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
