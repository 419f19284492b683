"""The face goes and the brain stays: on generated heads whose eyes and brain are known, and on a real head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from benchmarks.masks import eyes_of
from core.errors import RefusedError
from core.phantom import Head, build_head, draw_person, volumes_of
from core.preprocess.brain import brain_of_ct, extract_brain, find_brain
from core.preprocess.deface import DefaceConfig, deface_case, face_of
from core.preprocess.faces import FACE_VISIBLE, shows_face
from core.preprocess.grids import Grid, Mask, canonical, mask_on, resample, resample_covered
from core.preprocess.piece import Piece
from core.types import Volume

ON = DefaceConfig(enabled=True)


def piece_of(*volumes: Volume) -> Piece:
    first = volumes[0]
    grid = Grid((first.data.shape[0], first.data.shape[1], first.data.shape[2]), first.affine)
    found = {volume.modality: resample_covered(volume, grid) for volume in volumes}
    moved = {name: volume for name, (volume, _) in found.items()}
    return Piece(first.modality, moved, grid, {name: mask for name, (_, mask) in found.items()})


def removed(before: Piece, after: Piece, modality: str) -> Mask:
    return before.volumes[modality].data != after.volumes[modality].data


@pytest.fixture(scope="module")
def head() -> Head:
    return build_head(draw_person(0, 0, "medium"))


@pytest.fixture(scope="module")
def images(head: Head) -> dict[str, Volume]:
    return volumes_of(head)


@pytest.mark.parametrize(("modality", "least"), [("T1", 0.99), ("T2", 0.9), ("FLAIR", 0.99), ("CT", 0.99)])
def test_eyes_go_and_no_brain_does_whatever_the_only_image(
    head: Head, images: dict[str, Volume], modality: str, least: float
) -> None:
    piece = piece_of(images[modality])
    done = deface_case(piece, ON)
    gone = removed(piece, done, modality)
    brain = (images["tissue"].data == 2) | (images["tissue"].data == 3)
    seen = eyes_of(head) & (piece.volumes[modality].data > piece.volumes[modality].data.min())
    assert gone[seen].mean() > least
    assert (gone & brain).sum() <= 2  # of 200,000
    assert done.findings["deface"]["by"] == modality


def test_a_head_in_which_no_brain_can_be_told_is_refused(images: dict[str, Volume]) -> None:
    with pytest.raises(RefusedError, match="Deface it elsewhere") as caught:
        deface_case(piece_of(images["PET"]), ON)
    assert caught.value.code == "DEFACE-NO-BRAIN"


def test_a_whole_head_beside_an_extracted_brain_loses_its_face_too(head: Head, images: dict[str, Volume]) -> None:
    inside = head.envelope_mm < 0
    brain = replace(images["T1"], data=np.where(inside, images["T1"].data, np.float32(0)))
    piece = piece_of(brain, images["FLAIR"])
    done = deface_case(piece, ON)
    gone = removed(piece, done, "FLAIR")
    assert gone[eyes_of(head)].mean() > 0.9 and not (gone & inside).any()
    assert not removed(piece, done, "T1").any()


def test_the_brain_in_ct_is_what_bone_surrounds(head: Head, images: dict[str, Volume]) -> None:
    found = brain_of_ct(images["CT"])
    truth = head.envelope_mm < 0
    assert found is not None
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.96
    assert brain_of_ct(replace(images["CT"], unit="a.u.")) is None
    bare = np.where(images["CT"].data > 150, np.float32(40), images["CT"].data)  # a head without bone
    assert brain_of_ct(replace(images["CT"], data=bare)) is None


def test_a_child_s_head_loses_its_face_though_it_is_no_larger_than_a_brain(images: dict[str, Volume]) -> None:
    child = replace(images["CT"], affine=images["CT"].affine @ np.diag([0.8, 0.8, 0.8, 1]))
    piece = piece_of(child).warned("CT", FACE_VISIBLE)
    assert shows_face(child)
    done = deface_case(piece, ON)
    assert removed(piece, done, "CT").any() and not shows_face(done.volumes["CT"])
    assert done.warnings["CT"] == ()


@pytest.mark.parametrize("n_slices", [50, 44, 40])
@pytest.mark.parametrize("air", ["noisy", "blackened"])
def test_a_slab_from_the_chin_to_above_the_eyes_is_not_let_through(
    images: dict[str, Volume], n_slices: int, air: str
) -> None:
    """No larger than a brain, and open at both ends: as in scans of the orbits or the sinuses."""
    ct = images["CT"]
    data = np.ascontiguousarray(ct.data[:, :, :n_slices])
    slab = replace(ct, data=np.where(data < -400, np.float32(-1024), data) if air == "blackened" else data)
    with pytest.raises(RefusedError):
        deface_case(piece_of(slab), ON)


def test_a_slab_of_the_eyes_loses_them_where_another_image_shows_the_brain(
    head: Head, images: dict[str, Volume]
) -> None:
    brain = replace(images["T1"], data=np.where(head.envelope_mm < 0, images["T1"].data, np.float32(0)))
    slab = images["FLAIR"].with_data(np.ascontiguousarray(images["FLAIR"].data[:, :, :40]))
    piece = piece_of(brain, slab)
    done = deface_case(piece, ON)
    assert removed(piece, done, "FLAIR")[eyes_of(head)].mean() > 0.9 and not removed(piece, done, "T1").any()


def test_a_warning_of_a_face_counts_as_a_head(head: Head, images: dict[str, Volume]) -> None:
    brain = replace(images["T1"], data=np.where(head.envelope_mm < 0, images["T1"].data, np.float32(0)))
    assert deface_case(piece_of(brain), ON).findings == {}
    assert "deface" in deface_case(piece_of(brain).warned("T1", FACE_VISIBLE), ON).findings


@pytest.mark.parametrize("degrees", [-40, -25, 20, 40])
def test_eyes_go_and_no_brain_does_on_a_tilted_grid(head: Head, images: dict[str, Volume], degrees: float) -> None:
    own, turn = images["T1"].affine, np.radians(degrees)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine = affine @ np.diag([2.0, 2.5, 2.0, 1.0])
    middle = (own @ [*(np.array(images["T1"].data.shape) - 1) / 2, 1])[:3]
    affine[:3, 3] = middle - affine[:3, :3] @ [49.5, 54.5, 64.5]
    grid = Grid((100, 110, 130), affine)
    face = face_of(mask_on(head.envelope_mm < 0, own, grid), affine, 4.0)
    assert face[mask_on(eyes_of(head), own, grid)].mean() > 0.97
    assert not (face & mask_on(np.isin(images["tissue"].data, (2, 3)), own, grid)).any()


def test_a_face_that_is_still_seen_is_still_warned_of(images: dict[str, Volume]) -> None:
    piece = piece_of(images["CT"]).warned("CT", FACE_VISIBLE)
    done = deface_case(piece, DefaceConfig(enabled=True, margin_mm=40))
    assert done.warnings["CT"] == (FACE_VISIBLE,)


def test_a_face_that_is_still_seen_on_a_padded_grid_is_still_warned_of(head: Head, images: dict[str, Volume]) -> None:
    brain = replace(images["T1"], data=np.where(head.envelope_mm < 0, images["T1"].data, np.float32(0)))
    affine = images["T1"].affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [-12, -8, -10]
    i, j, k = np.add(images["T1"].data.shape, (20, 18, 22))
    grid = Grid((int(i), int(j), int(k)), affine)
    found = {volume.modality: resample_covered(volume, grid) for volume in (brain, images["FLAIR"])}
    covered = {name: mask for name, (_, mask) in found.items()}
    moved = {name: volume for name, (volume, _) in found.items()}
    piece = Piece("T1", moved, grid, covered).warned("FLAIR", FACE_VISIBLE)
    for margin_mm, left in ((40, (FACE_VISIBLE,)), (4, ())):
        assert deface_case(piece, DefaceConfig(enabled=True, margin_mm=margin_mm)).warnings["FLAIR"] == left


def read(path: Path, modality: str) -> Volume:
    image = nib.nifti1.load(path)
    return canonical(Volume(np.asarray(image.dataobj, np.float32), np.asarray(image.affine, float), modality))


@pytest.mark.parametrize("reference", ["T1", pytest.param("FLAIR", marks=pytest.mark.slow)])
def test_every_image_of_a_real_head_loses_the_same_face(real_data: Path, reference: str) -> None:
    """T1, T2 and FLAIR come from three grids; where the face was there is nothing in any."""
    names = [reference, *(name for name in ("T1", "T2", "FLAIR") if name != reference)]
    folder = real_data / "brain_ms_native" / "MSL04"
    piece = piece_of(*(read(folder / f"{name}.nii.gz", name) for name in names))
    done = deface_case(piece, ON)
    assert done.findings["deface"]["by"] == "T1"
    brain = extract_brain(piece.volumes["T1"])
    assert brain is not None
    _, j, k = np.indices(brain.shape)  # the axes run to the right, to the front, up
    length = np.flatnonzero(brain.any(axis=(0, 2)))
    far = ndimage.distance_transform_edt(~brain, sampling=piece.volumes[reference].spacing_mm) > 6
    under = far & brain.any(axis=2)[:, :, None] & (k < brain.argmax(axis=2)[:, :, None])
    under &= j > (length[0] + length[-1]) / 2 + 4
    assert under.sum() > 20_000
    for name in names:
        data = done.volumes[name].data
        assert (data[under] > data.min()).mean() < 1e-4 and not shows_face(done.volumes[name])
        assert not (removed(piece, done, name) & brain).any()


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["T2", "FLAIR"])
def test_the_brain_of_a_real_head_is_found_without_t1_too(real_data: Path, modality: str) -> None:
    folder = real_data / "brain_ms_native" / "MSL04"
    t1, other = read(folder / "T1.nii.gz", "T1"), read(folder / f"{modality}.nii.gz", modality)
    truth, found = extract_brain(t1), find_brain({modality: other})
    assert truth is not None and found is not None and found[0] == modality
    shape = t1.data.shape
    mask = Volume(found[1].astype(np.float32), other.affine, "brain", "label")
    there = resample(mask, Grid((shape[0], shape[1], shape[2]), t1.affine)).data > 0
    assert 2 * (there & truth).sum() / (there.sum() + truth.sum()) > 0.96
