"""What a person decides about an image: looked at, blackened, which frame, how an array lies."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from core.cohort import Cohort
from core.errors import InvalidConfigError
from core.ingest import Proposal, ingest, scan
from core.quarantine import read_list, released
from core.readers.choice import Choice
from core.survey import load_proposals, look, save_proposals
from core.types import Volume
from core.workspace import Workspace
from tests.in_process import InProcess
from tests.readers.dicom_files import phantom, slice_dataset, write


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child process: each costs a second to start."""
    monkeypatch.setattr("core.ingest.Decoder", InProcess)


def only(workspace: Workspace, path: Path) -> Proposal:
    (proposal,) = scan(workspace, [path])
    return proposal


def imported(workspace: Workspace, path: Path, cohort: str = "c", **choice: object) -> list[Volume]:
    """The volumes of an import with the same choice for the only row."""
    found = only(workspace, path)
    decided = Choice.from_json({"case": found.case, "modality": found.modality, **choice})
    ingest(workspace, [path], cohort, corrections={found.key: decided})
    place = Cohort.create(workspace, cohort)
    cases = [place.read(case_id) for case_id in place.case_ids]
    return [volume for case in cases for volume in case.volumes.values()]


def ultrasound(path: Path, **tags: object) -> Path:
    """A picture of 5 rows and 4 columns with a calibrated region: 0.2 mm between rows, 0.3 mm between columns."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType = 1, 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.03, 0.02
    bare = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    regions = DicomSequence([region])
    ds = slice_dataset(
        phantom()[:, :, 0], (0, 0, 0), "1.2.3", "US", **bare, SequenceOfUltrasoundRegions=regions, **tags
    )
    return write(ds, path)


def in_colour(ds_path: Path, pixels: np.ndarray) -> Path:
    ds = slice_dataset(phantom()[:, :, 0], (0, 0, 0), "1.2.3", "US")
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.PixelData = pixels.astype(np.uint8).tobytes()
    return write(ds, ds_path)


def test_a_picture_waits_until_somebody_has_looked(workspace: Workspace, tmp_path: Path) -> None:
    path = ultrasound(tmp_path / "us.dcm")
    found = only(workspace, path)
    assert (found.fate, found.code, found.modality) == ("quarantined", "BURNED-IN-UNCHECKED", "US")
    report = ingest(workspace, [path], "c")
    assert report["cases"] == [] and report["files"][0]["fate"] == "quarantined"
    (volume,) = imported(workspace, path, reviewed=True)
    assert "REVIEWED" in volume.warnings
    np.testing.assert_allclose(volume.spacing_mm[:2], (0.3, 0.2))
    np.testing.assert_array_equal(volume.data[:, :, 0], phantom()[::-1, ::-1, 0].T)


def test_what_is_blackened_never_reaches_the_cohort(workspace: Workspace, tmp_path: Path) -> None:
    path = ultrasound(tmp_path / "us.dcm")
    (volume,) = imported(workspace, path, reviewed=True, blank=[[1, 0, 3, 2]])
    expected = phantom()[:, :, 0].copy()
    expected[0:2, 1:4] = expected.min()
    np.testing.assert_array_equal(volume.data[:, :, 0], expected[::-1, ::-1].T)


def test_colour_becomes_brightness_and_says_so(workspace: Workspace, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (5, 4, 3))
    (volume,) = imported(workspace, in_colour(tmp_path / "us.dcm", pixels), reviewed=True)
    assert "PSEUDO-COLOUR" in volume.warnings
    brightness = np.rint(pixels @ [0.299, 0.587, 0.114])
    np.testing.assert_allclose(volume.data[:, :, 0], brightness[::-1, ::-1].T, rtol=1e-6)
    grey = np.repeat(pixels[:, :, :1], 3, axis=2)
    (volume,) = imported(workspace, in_colour(tmp_path / "grey.dcm", grey), "d", reviewed=True)
    assert "PSEUDO-COLOUR" not in volume.warnings


def test_a_film_gives_the_frame_that_was_chosen(workspace: Workspace, tmp_path: Path) -> None:
    frames = np.arange(3 * 20).reshape(3, 5, 4).astype("<u2")
    path = ultrasound(tmp_path / "film.dcm", NumberOfFrames=3, PixelData=frames.tobytes())
    assert only(workspace, path).frames == 3
    (volume,) = imported(workspace, path, reviewed=True, frame=2)
    np.testing.assert_array_equal(volume.data[:, :, 0], frames[2][::-1, ::-1].T)
    assert "FRAME-CHOSEN" not in volume.warnings
    (volume,) = imported(workspace, path, "middle", reviewed=True)
    np.testing.assert_array_equal(volume.data[:, :, 0], frames[1][::-1, ::-1].T)
    assert "FRAME-CHOSEN" in volume.warnings


def nifti(path: Path, data: np.ndarray, kind: type = nib.Nifti1Image) -> Path:
    nib.save(kind(data, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path


@pytest.mark.parametrize("name", ["x_T1.nii", "x_T1.nii.gz"])
def test_of_several_nifti_frames_one_or_each_is_taken(name: str, workspace: Workspace, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 999, (4, 5, 6, 3)).astype("i2")
    path = nifti(tmp_path / name, data)
    (first,) = imported(workspace, path)
    np.testing.assert_array_equal(first.data, data[..., 0])
    assert "FRAME-CHOSEN" in first.warnings
    (second,) = imported(workspace, path, "second", frame=1)
    np.testing.assert_array_equal(second.data, data[..., 1])
    assert "FRAME-CHOSEN" not in second.warnings
    each = imported(workspace, path, "each", each_frame=True)
    assert sorted(float(volume.data.sum()) for volume in each) == sorted(float(data[..., n].sum()) for n in range(3))


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_a_pair_is_one_image_and_half_of_one_is_refused(kind: type, workspace: Workspace, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 999, (4, 5, 6)).astype("i2")
    (tmp_path / "in").mkdir()
    nifti(tmp_path / "in" / "x_T1.hdr", data, kind)
    (volume,) = imported(workspace, tmp_path / "in")
    np.testing.assert_array_equal(volume.data, data)
    (tmp_path / "in" / "x_T1.img").unlink()
    assert only(workspace, tmp_path / "in").code == "NII-PAIR"


def test_an_array_lies_as_a_person_says(workspace: Workspace, tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(1, 9, (4, 5, 6)).astype(np.float32)
    np.save(tmp_path / "x_CT.npy", values)
    said = {"axes": "PIL", "spacing_mm": [1.0, 2.0, 3.0], "slope": 10.0, "intercept": -1000.0}
    (volume,) = imported(workspace, tmp_path / "x_CT.npy", **said)
    assert volume.spacing_mm == (3.0, 1.0, 2.0) and not {"NO-SPACING", "NO-AXES"} & {*volume.warnings}
    np.testing.assert_allclose(volume.data, (values * 10 - 1000).transpose(2, 0, 1)[::-1, ::-1, ::-1], rtol=1e-6)


def test_axes_that_are_none_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    np.save(tmp_path / "x_T1.npy", np.random.default_rng(0).uniform(1, 9, (4, 5, 6)))
    found = only(workspace, tmp_path / "x_T1.npy")
    report = ingest(workspace, [tmp_path / "x_T1.npy"], "c", corrections={found.key: Choice("x", "T1", axes="RLS")})
    assert report["files"][0]["code"] == "AXES"


def test_a_held_back_picture_is_drawn_as_it_is_stored(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.survey.Decoder", InProcess)
    path = ultrasound(tmp_path / "in" / "us.dcm")
    (found,) = look(workspace, [path], "auto", tmp_path / "out")
    save_proposals([found], tmp_path / "out")
    assert load_proposals(tmp_path / "out") == [found] and found.slices == 1
    drawn = np.asarray(Image.open(tmp_path / "out" / "0000-0000.png"))
    stored = phantom()[:, :, 0].astype(float)
    np.testing.assert_array_equal(drawn, np.rint((stored - stored.min()) * 255 / np.ptp(stored)))


def test_a_list_of_what_was_looked_at_releases_just_that(workspace: Workspace, tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        ultrasound(tmp_path / "in" / name)
    proposals = scan(workspace, [tmp_path / "in"])
    choices = released(proposals, read_list("# looked at\n\na.dcm  1,0,3,2; 0,4,1,1\n"))
    assert choices == {"0000": Choice(proposals[0].case, "US", reviewed=True, blank=((1, 0, 3, 2), (0, 4, 1, 1)))}
    report = ingest(workspace, [tmp_path / "in"], "c", corrections=choices)
    assert [row["fate"] for row in report["files"]] == ["warned", "quarantined"]
    with pytest.raises(InvalidConfigError, match="Entry 1"):
        released(proposals, read_list("c.dcm"))
    with pytest.raises(InvalidConfigError, match="Line 2"):
        read_list("a.dcm\nb.dcm\t1,2,3")
