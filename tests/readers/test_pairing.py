"""Which case and modality a file is, by the names that people give to files."""

from __future__ import annotations

import pytest

from core.readers.naming import known_modality, take_apart
from core.readers.pairing import Pair, Place, pair_up


@pytest.mark.parametrize(
    ("text", "modality"),
    [
        ("T1", "T1"), ("t1w", "T1"), ("T1w", "T1"), ("T2W", "T2W"), ("t1ce", "T1POST"), ("T1_post", "T1POST"),
        ("t1gd", "T1POST"), ("FLAIR", "FLAIR"), ("T2-FLAIR", "FLAIR"), ("ct", "CT"), ("Pet", "PET"), ("pt", "PET"),
        ("lesion_mask", "lesion_mask"), ("seg", "seg"), ("Label", "Label"), ("smith", ""), ("smith_mask", ""),
    ],
)  # fmt: skip
def test_a_modality_is_known_by_its_usual_names(text, modality):
    assert known_modality(text) == modality


@pytest.mark.parametrize(
    ("stem", "case", "modality"),
    [
        ("sub-01_T1w", "sub-01", "T1"),
        ("sub-01_ses-02_FLAIR", "sub-01_ses-02", "FLAIR"),
        ("sub-01_ses-02_run-1_ce-gd_T1w", "sub-01_ses-02", "T1POST"),
        ("BraTS-GLI-00005-100-t1n", "BraTS_GLI_00005_100", "T1"),
        ("case7_lesion_mask", "case7", "lesion_mask"),
        ("T2_case7", "case7", "T2"),
        ("case7_T1_post", "case7", "T1POST"),
        ("anything", "", ""),
    ],
)
def test_a_name_is_taken_apart(stem, case, modality):
    name = take_apart(stem)
    assert (name.case, name.modality) == (case, modality)


def pairs(*paths: str) -> list[Pair]:
    return pair_up([Place(tuple(path.split("/"))) for path in paths])


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("d/P1/T1.nii.gz", "d/P1/T2.nii", "d/P2/T1.nii"), [("P1", "T1"), ("P1", "T2"), ("P2", "T1")]),
        (("d/T1/a.png", "d/T1/b.png", "d/CT/a.png"), [("a", "T1"), ("b", "T1"), ("a", "CT")]),
        (("d/a_T1.nii", "d/a_T2.nii", "d/b_T1.nii"), [("a", "T1"), ("a", "T2"), ("b", "T1")]),
        (("d/T1.nii.gz", "d/FLAIR.nii.gz"), [("d", "T1"), ("d", "FLAIR")]),
        (("s/anat/sub-1_T1w.nii", "s/pet/sub-1_pet.nii"), [("sub-1", "T1"), ("sub-1", "PET")]),
        (("a/scan_T1.nii", "b/scan_T1.nii"), [("a/scan", "T1"), ("b/scan", "T1")]),
        (("d/001.png", "d/002.png"), [("001", "image"), ("002", "image")]),
        (("photo/001.png", "sketch/001.png"), [("001", "photo"), ("001", "sketch")]),
        (("a/pre.nii", "a/post.nii"), [("a", "pre"), ("a", "post")]),
        (("a/foo.nii",), [("a", "foo")]),
        (("d/A/1/T1.nii", "d/B/1/T1.nii", "d/B/1/T2.nii"), [("A/1", "T1"), ("B/1", "T1"), ("B/1", "T2")]),
        (("d/A/1/kspace.npy", "d/B/1/kspace.npy"), [("A/1", "kspace"), ("B/1", "kspace")]),
        (("A/T1/1.png", "A/CT/1.png", "B/T1/1.png"), [("A/1", "T1"), ("A/1", "CT"), ("B/1", "T1")]),
        (
            ("d/s/anat/s_T1.nii", "d/s/pet/s_pet.nii", "d/reg/s/anat/s_T1.nii"),
            [("s", "T1"), ("s", "PET"), ("reg/s", "T1")],
        ),
    ],
)
def test_the_usual_layouts_are_understood(paths, expected):
    assert pairs(*paths) == [Pair(*pair) for pair in expected]


def test_a_name_that_may_be_a_persons_is_not_kept_unless_cases_share_it():
    assert pairs("d/john_smith.nii", "d/mary.nii") == [Pair("d", "image"), Pair("d", "image-2")]
    assert pairs("a/kspace.nii", "b/kspace.nii") == [Pair("a", "kspace"), Pair("b", "kspace")]


def test_arrays_of_a_file_are_modalities_of_one_case():
    places = [Place(("d", "p7.npz"), "T1"), Place(("d", "p7.npz"), "flair")]
    assert pair_up(places) == [Pair("p7", "T1"), Pair("p7", "FLAIR")]
