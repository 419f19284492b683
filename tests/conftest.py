"""Fixtures that tests share: a workspace, lopsided phantoms, a small cohort and dataset, the real images."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors on shared cores: two threads are many times slower

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.cohort import Cohort
from core.dataset import Dataset
from core.prepare import prepare
from core.recipes import make_recipe
from core.types import Case, Volume
from core.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("CROSSMODAL_DATA", REPOSITORY.parent / "shared" / "data"))
SHAPE = (20, 24, 6)
SPACING_MM = (1.0, 2.0, 3.0)


@pytest.fixture(autouse=True)
def _pages_declared_by_app_only() -> Iterator[None]:
    """With a folder named pages, AppTest would skip app.py on every run but the first; see tests/pages/test_app.py."""
    from streamlit.runtime.pages_manager import PagesManager

    PagesManager.uses_pages_directory = False
    original = PagesManager.__init__

    def patched(self: PagesManager, *arguments: object, **named: object) -> None:
        original(self, *arguments, **named)  # type: ignore[arg-type]
        PagesManager.uses_pages_directory = False

    PagesManager.__init__ = patched  # type: ignore[method-assign]
    yield
    PagesManager.__init__ = original  # type: ignore[method-assign]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An empty workspace, which the app under test uses too."""
    root = tmp_path / "workspace"
    monkeypatch.setenv("CROSSMODAL_WORKSPACE", str(root))
    return Workspace(root)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; a test that needs it skips, saying so, where it is absent."""
    if not DATA.is_dir():
        pytest.skip("The folder of real images is not here; set CROSSMODAL_DATA to it.")
    return DATA


def phantom_case(case_id: str, seed: int, modalities: tuple[str, ...] = ("T1", "T2", "CT")) -> Case:
    """A lopsided head of three tissues: an ellipsoid with an off-centre core, other contrast in every modality."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt((i / rng.uniform(0.8, 0.9)) ** 2 + (j / rng.uniform(0.8, 0.95)) ** 2 + (k / 1.4) ** 2)
    shift = rng.uniform(-0.2, 0.2, 2)
    core = np.sqrt((i - 0.2 - shift[0]) ** 2 + (j + 0.1 - shift[1]) ** 2) < 0.4
    tissue = np.where(radius < 1, np.where(core, 2, 1), 0)
    values = {"T1": (10.0, 300.0, 600.0), "T2": (12.0, 700.0, 350.0), "CT": (-1000.0, 40.0, 400.0)}
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = (-11.0, -24.0, -7.0)
    volumes = {}
    for modality in modalities:
        image = np.choose(tissue, values[modality]) + rng.normal(0, 4, SHAPE)
        volumes[modality] = Volume(image.astype(np.float32), affine, modality, "HU" if modality == "CT" else "a.u.")
    lesion = (core & (radius < 0.5)).astype(np.float32)
    volumes["lesion"] = Volume(lesion, affine, "lesion", "label")
    return Case(case_id, volumes, {"group": "a" if seed % 2 else "b", "core_x": float(shift[0])})


def make_cohort(workspace: Workspace, name: str = "phantoms", n_cases: int = 4) -> Cohort:
    """Cases whose modalities differ: every third lacks T2."""
    cohort = Cohort.create(workspace, name)
    for n in range(n_cases):
        modalities = ("T1", "CT") if n % 3 == 2 else ("T1", "T2", "CT")
        cohort.write(phantom_case(f"case-{n:02d}", n, modalities))
    return cohort


@pytest.fixture
def cohort(workspace: Workspace) -> Cohort:
    """Four lopsided cases; one lacks T2."""
    return make_cohort(workspace)


@pytest.fixture
def dataset(workspace: Workspace, cohort: Cohort) -> Dataset:
    """The same, prepared with the generic recipe."""
    return prepare(workspace, cohort, "phantoms", make_recipe("generic"))
