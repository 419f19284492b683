from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from core.batches import Slices, make_batch, shapes_of
from core.cohort import Cohort
from core.common_grid import common_spacing, grid_of, reference_of
from core.dataset import Dataset
from core.errors import InvalidConfigError
from core.prepare import Work, prepare, preview, start, walk
from core.preprocess.steps import STEPS
from core.progress import Cancelled
from core.recipes import RECIPE_SUMMARIES, RECIPES, PrepareConfig, make_recipe, recipe_from_text, recipe_to_text
from core.types import Case, Volume
from core.workspace import Workspace
from tests.conftest import phantom_case


def test_every_recipe_has_a_sentence_for_people() -> None:
    assert set(RECIPES) == set(RECIPE_SUMMARIES)


def test_a_setting_can_be_named_in_full_or_in_short() -> None:
    short = make_recipe("generic", {"spacing_mm": "3"})
    assert short == make_recipe("generic", {"resample": {"spacing_mm": "3"}})
    assert short.resample.spacing_mm == (3,)
    with pytest.raises(InvalidConfigError, match="no such setting"):
        make_recipe("generic", {"spacing": "3"})
    with pytest.raises(InvalidConfigError):
        make_recipe("brain")


def test_the_scale_leads_back_to_the_source(dataset: Dataset, cohort: Cohort) -> None:
    for case_id in dataset.case_ids:
        for modality in dataset.record(case_id)["modalities"]:
            scale, offset = dataset.record(case_id)["scales"][modality]
            source = cohort.read_volume(case_id, modality).data
            np.testing.assert_allclose(dataset.volume(case_id, modality) * scale + offset, source, atol=0.02)


def test_a_marked_voxel_keeps_its_millimetres_into_the_dataset(workspace: Workspace) -> None:
    """Two cases of different size and one oblique, so that padding and rotation are both met."""
    cohort = Cohort.create(workspace, "marks")
    places = {}
    for n, angle in enumerate((0.0, 20.0)):
        data = np.random.default_rng(n).uniform(10, 20, (7 - n, 8 + n, 9)).astype(np.float32)
        data[2, 5, 4] = 400
        turn = np.deg2rad(angle)
        affine = np.eye(4)
        affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        affine = affine @ np.diag([1.0, 2, 3, 1])
        affine[:3, 3] = (-9, 14, 25)
        cohort.write(Case(f"case-{n}", {"T1": Volume(data, affine, "T1")}, {}))
        places[f"case-{n}"] = (affine @ [2, 5, 4, 1])[:3]
    dataset = prepare(workspace, cohort, "marks", make_recipe("generic"))
    for case_id, place in places.items():
        voxel = np.unravel_index(np.argmax(dataset.volume(case_id, "T1")), dataset.shape)
        np.testing.assert_allclose((dataset.affine(case_id) @ [*voxel, 1])[:3], place, atol=1e-4)


def test_padding_a_smaller_case_does_not_widen_its_mask(workspace: Workspace) -> None:
    cohort = Cohort.create(workspace, "sizes")
    affine = np.diag([1.0, 2, 3, 1])
    affine[:3, 3] = (-9.1, 14.3, 25.7)
    for n in range(2):
        data = np.zeros((15 - n, 16 + n, 17 - 2 * n), np.float32)
        data[4:11, 4:12, 4:13] = np.random.default_rng(n).uniform(100, 130, (7, 8, 9))
        cohort.write(Case(f"case-{n}", {"T1": Volume(data, affine, "T1")}, {}))
    dataset = prepare(workspace, cohort, "sizes", make_recipe("generic"))
    for case_id in dataset.case_ids:
        assert dataset.mask(case_id).sum() == 7 * 8 * 9


def test_modalities_on_other_grids_land_on_the_reference_s(workspace: Workspace) -> None:
    """A ramp in millimetres, stored twice as coarse, comes back as the same ramp wherever it has data."""
    t1 = phantom_case("case-1", 5, ("T1",)).volumes["T1"]
    coarse = t1.affine @ np.diag([2.0, 2, 1, 1])
    indices = np.indices((10, 12, 6)).reshape(3, -1)
    ramp = (coarse[:3, :3] @ indices + coarse[:3, 3:]).T @ [3.0, -2.0, 5.0]
    t2 = Volume(ramp.reshape(10, 12, 6).astype(np.float32), coarse, "T2")
    cohort = Cohort.create(workspace, "grids")
    cohort.write(Case("case-1", {"T1": t1, "T2": t2}, {}))
    dataset = prepare(workspace, cohort, "grids", make_recipe("generic"))
    np.testing.assert_allclose(dataset.affine("case-1"), t1.affine)
    scale, offset = dataset.record("case-1")["scales"]["T2"]
    recovered = (dataset.volume("case-1", "T2") * scale + offset)[1:18, 1:21]
    wanted = (t1.affine[:3, :3] @ np.indices(dataset.shape).reshape(3, -1) + t1.affine[:3, 3:]).T @ [3.0, -2.0, 5.0]
    np.testing.assert_allclose(recovered, wanted.reshape(dataset.shape)[1:18, 1:21], atol=0.01)


def test_a_picture_without_a_place_does_not_lead_the_volumes(workspace: Workspace) -> None:
    """An ultrasound picture of 1 mm is finer than the volumes, which keep their grid all the same."""
    case = phantom_case("case-a", 0)
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[:3, 3] = (-11.0, -24.0, -1.0)
    picture = Volume(np.arange(30 * 60, dtype=np.float32).reshape(30, 60, 1), affine, "US")
    cohort = Cohort.create(workspace, "mixed")
    cohort.write(Case("case-a", {**case.volumes, "US": picture}))
    prepared = prepare(workspace, cohort, "d", make_recipe("generic"))
    assert prepared.shape == case.volumes["T1"].data.shape
    cohort.write(Case("case-b", {"US": picture}))
    assert reference_of(cohort.describe("case-b"), make_recipe("generic")) == "US"


@pytest.mark.parametrize(("shift_mm", "is_kept"), [(0.0, True), (400.0, False)])
def test_an_image_of_little_or_nothing_does_not_cut_down_what_is_judged(
    workspace: Workspace, shift_mm: float, is_kept: bool
) -> None:
    """A narrow image is judged where it shows something; one that lies elsewhere is left out, and that is said."""
    case = phantom_case("case-a", 0, ("T1", "T2"))
    t1 = case.volumes["T1"]
    affine = t1.affine.copy()
    affine[0, 3] += shift_mm
    rng = np.random.default_rng(0)
    narrow = Volume(rng.uniform(10, 90, (*t1.data.shape[:2], 2)).astype(np.float32), affine, "US")
    recipe = make_recipe("generic", {"reference": "T1"})
    cohort = Cohort.create(workspace, "without")
    cohort.write(case)
    wanted = prepare(workspace, cohort, "without", recipe).mask("case-a")
    cohort.write(replace(case, volumes={**case.volumes, "US": narrow}))
    dataset = prepare(workspace, cohort, "with", recipe)
    record = dataset.record("case-a")
    np.testing.assert_array_equal(dataset.mask("case-a"), wanted)
    assert ("US" in record["modalities"]) is is_kept
    assert ("NO-OVERLAP" in record["warnings"]["T1"]) is not is_kept
    if is_kept:
        assert "LITTLE-OVERLAP" in record["warnings"]["US"]
        seen = dataset.label_map("case-a", "US_fov")
        assert seen[..., :2].all()
        assert not seen[..., 2:].any()
    assert [stage.step for stage in preview(cohort, "case-a", "US", recipe)][:2] == ["", "canonical"]


def test_nobody_learns_to_make_blanks_where_an_image_shows_nothing(workspace: Workspace) -> None:
    """Of a narrow image: absent from windows beside its field, scaled by what it shows, nothing else is."""
    case = phantom_case("case-a", 0, ("T1", "CT"))
    t1, whole = case.volumes["T1"], case.volumes["CT"]
    narrow = Volume(whole.data[..., :2], whole.affine, "CT", "HU")
    cohort = Cohort.create(workspace, "narrow")
    cohort.write(replace(case, volumes={"T1": t1, "CT": narrow}))
    config = {"reference": "T1", "ct": "z-score", "tissue": {"enabled": True}}
    dataset = prepare(workspace, cohort, "d", make_recipe("generic", config))
    shapes = shapes_of(dataset, ("T1", "CT"))
    rows = [("case-a", k) for k in range(dataset.shape[2])]
    for to_learn, seen in ((True, 2), (False, len(rows))):
        batch = make_batch(dataset, rows, shapes, to_learn)
        assert batch.present["CT"].tolist() == [k < seen for k in range(len(rows))]
        assert batch.present["T1"].all()
    assert len(Slices(dataset, rows, shapes.only(["CT"]))) == 2
    inside = dataset.mask("case-a")
    values = narrow.data[inside[..., :2]]
    scale, offset = dataset.record("case-a")["scales"]["CT"]
    assert offset + scale / 2 == pytest.approx(values.mean(), rel=1e-3)
    assert set(np.unique(dataset.label_map("case-a", "tissue_ct")[..., 2:])) == {0}


def test_one_bad_case_does_not_stop_the_others(workspace: Workspace, cohort: Cohort) -> None:
    bad = phantom_case("case-bad", 1, ("T1",))
    cohort.write(replace(bad, volumes={"T1": bad.volumes["T1"].with_data(np.full_like(bad.volumes["T1"].data, 5))}))
    dataset = prepare(workspace, cohort, "d", make_recipe("generic"))
    assert len(dataset.case_ids) == 4
    assert list(dataset.index["recipe"]["left_out"]) == ["case-bad"]


def test_label_maps_come_along_and_are_no_modality(dataset: Dataset, cohort: Cohort) -> None:
    assert dataset.modalities == ("CT", "T1", "T2")
    truth = cohort.read_volume("case-01", "lesion").data
    np.testing.assert_array_equal(dataset.label_map("case-01", "lesion"), truth)


def test_an_empty_cohort_is_an_error_that_says_what_to_do(workspace: Workspace) -> None:
    with pytest.raises(InvalidConfigError, match="Import"):
        prepare(workspace, Cohort.create(workspace, "none"), "d", make_recipe("generic"))


def test_a_grid_or_a_reference_that_cannot_be_is_said_to_be_so(workspace: Workspace, cohort: Cohort) -> None:
    with pytest.raises(InvalidConfigError, match="too many voxels"):
        prepare(workspace, cohort, "fine", make_recipe("generic", {"spacing_mm": 0.01}))
    with pytest.raises(InvalidConfigError, match="No case of this cohort has T9"):
        prepare(workspace, cohort, "typo", make_recipe("generic", {"reference": "T9"}))


def test_the_seconds_of_the_steps_add_up_to_the_whole(workspace: Workspace) -> None:
    cohort = Cohort.create(workspace, "heads")
    cohort.write(phantom_case("case-1", 1))
    config = make_recipe("brain-mr-ct", {"align": {"mode": "check"}})
    piece = start(cohort, "case-1", config, grid_of(cohort, "case-1", config, common_spacing(cohort, config)))
    began = time.perf_counter()
    stages = list(walk(piece, config))
    took = time.perf_counter() - began
    assert [stage.step for stage in stages] == ["canonical", "align", "resample", "mask", "normalise"]
    assert 0.9 * took < sum(stage.seconds for stage in stages) <= took


def test_the_preview_shows_every_step_and_ends_as_the_dataset_does(cohort: Cohort, dataset: Dataset) -> None:
    views = preview(cohort, "case-00", "T1", make_recipe("generic"))
    assert [view.step for view in views] == ["", "canonical", "resample", "mask", "normalise"]
    assert list(PrepareConfig.model_fields) == list(STEPS)
    np.testing.assert_allclose(views[-1].piece.volumes["T1"].data, dataset.volume("case-00", "T1"), atol=1e-6)


def test_zero_outside_the_mask_is_what_the_recipe_says(workspace: Workspace, cohort: Cohort) -> None:
    dataset = prepare(workspace, cohort, "d", make_recipe("brain-mr-ct", {"spacing_mm": 0}))
    outside = ~dataset.mask("case-00")
    assert np.all(dataset.volume("case-00", "T1")[outside] == 0)
    assert np.all(dataset.volume("case-00", "CT")[outside] == 0)


def test_cases_of_different_spacing_come_onto_one_spacing(workspace: Workspace) -> None:
    """Three references of other voxel sizes: one dataset has one, and a marked voxel stays within half of it."""
    cohort = Cohort.create(workspace, "mixed")
    places = {}
    for n, spacing in enumerate([(1.0, 2.0, 3.0), (1.0, 2.0, 3.0), (1.5, 2.0, 2.5)]):
        data = np.random.default_rng(n).uniform(10, 20, (12, 13, 9)).astype(np.float32)
        data[5:7, 6:8, 4:6] = 400
        affine = np.diag([*spacing, 1.0])
        cohort.write(Case(f"case-{n}", {"T1": Volume(data, affine, "T1")}, {}))
        places[f"case-{n}"] = (affine @ [5.5, 6.5, 4.5, 1])[:3]
    dataset = prepare(workspace, cohort, "mixed", make_recipe("generic"))
    assert dataset.spacing_mm == (1.0, 2.0, 3.0)
    for case_id, place in places.items():
        np.testing.assert_allclose(np.linalg.norm(dataset.affine(case_id)[:3, :3], axis=0), dataset.spacing_mm)
        weight = np.clip(dataset.volume(case_id, "T1") - 0.5, 0, None)
        centre = [np.average(axis, weights=weight) for axis in np.indices(weight.shape)]
        off_mm = np.abs((dataset.affine(case_id) @ [*centre, 1])[:3] - place)
        assert np.all(off_mm <= np.array(dataset.spacing_mm) / 2)


def test_the_same_dataset_comes_from_one_process_and_from_two(workspace: Workspace, cohort: Cohort) -> None:
    one = prepare(workspace, cohort, "one", make_recipe("generic"), processes=1)
    two = prepare(workspace, cohort, "two", make_recipe("generic"), processes=2)
    assert one.fingerprint == two.fingerprint and one.case_ids == two.case_ids


def test_what_was_finished_before_a_stop_is_not_done_again(
    workspace: Workspace, cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_after_two(done: float, total: float, message: str = "") -> None:
        if done >= 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        prepare(workspace, cohort, "d", make_recipe("generic"), stop_after_two)
    said: list[str] = []
    worked: list[str] = []
    own = Work.do
    monkeypatch.setattr(Work, "do", lambda self, case_id: worked.append(case_id) or own(self, case_id))
    resumed = prepare(
        workspace, cohort, "d", make_recipe("generic"), lambda done, total, message="": said.append(message)
    )
    assert said[0] == "2 of 4 cases were ready" and len(worked) == 2
    assert resumed.fingerprint == prepare(workspace, cohort, "e", make_recipe("generic")).fingerprint
    assert not list(workspace.datasets.glob(".*"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_back_from_its_file(name: str) -> None:
    assert recipe_from_text(recipe_to_text(name, RECIPES[name])) == (name, RECIPES[name])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"crossmodal_recipe": 1, "name": "x", "steps": {"magic": 1}}'])
def test_what_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfigError):
        recipe_from_text(text)


def test_a_short_name_that_several_steps_have_is_asked_for_in_full() -> None:
    with pytest.raises(InvalidConfigError, match=r"bias\.enabled"):
        make_recipe("generic", {"enabled": True})
