"""Several volumes in one series: each is read whole, told apart by what differs, or refused; never mixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from core.cohort import Cohort
from core.errors import InvalidConfigError
from core.ingest import Proposal, ingest, scan
from core.readers.choice import Choice, with_frame
from core.readers.registry import scan_file
from core.types import Volume
from core.workspace import Workspace
from tests.in_process import InProcess
from tests.readers.dicom_files import AXIAL, phantom, slice_dataset, write

N, SLICES, STEP_MM = 3, 4, 3.0
Tags = Callable[[int, int], Mapping[str, Any]]  # frame, slice -> what the header says of it


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.ingest.Decoder", InProcess)


def values(frame: int) -> np.ndarray:
    """(rows, columns, slices), no two frames alike."""
    return phantom()[:, :, :SLICES] + 1000 * frame


def dynamic(folder: Path, tags: Tags, frames: int = N, modality: str = "MR", left_out: int = 0) -> Path:
    """Frames at the same places in one series, their files in no order; the last ones left out if asked."""
    rng, name = np.random.default_rng(0), uid.generate_uid()
    pairs = [(frame, k) for frame in range(frames) for k in range(SLICES)][: frames * SLICES - left_out]
    for n, chosen in enumerate(rng.permutation(len(pairs))):
        frame, k = pairs[chosen]
        place = (-11.0, 24.0, 39.0 + STEP_MM * k)
        ds = slice_dataset(values(frame)[:, :, k], place, name, modality, **tags(frame, k))
        write(ds, folder / f"{n:03d}.dcm")
    return folder


def rows(workspace: Workspace, path: Path) -> list[Proposal]:
    return scan(workspace, [path])


def imported(workspace: Workspace, path: Path, cohort: str = "c", **choice: Any) -> dict[str, list[Volume]]:
    """Modality -> the volumes of all cases, with one choice for every row."""
    decided = {p.key: Choice(p.case, p.modality, **choice) for p in rows(workspace, path)}
    ingest(workspace, [path], cohort, corrections=decided)
    place = Cohort.create(workspace, cohort)
    found: dict[str, list[Volume]] = {}
    for case_id in place.case_ids:
        for modality, volume in place.read(case_id).volumes.items():
            found.setdefault(modality, []).append(volume)
    return found


def as_stored(pixels: np.ndarray) -> np.ndarray:
    """Axial slices from the feet up, as RAS has them."""
    return pixels.transpose(1, 0, 2)[::-1, ::-1].astype(np.float32)


def clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{10 + whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{round(seconds % 1 * 1e6):06d}"


TIMES: dict[str, Tags] = {
    "position in time": lambda frame, k: {"TemporalPositionIdentifier": 5 + frame, "AcquisitionTime": clock(k)},
    "acquisition": lambda frame, k: {"AcquisitionNumber": 9 + frame, "AcquisitionTime": "100000"},
    "trigger of each slice": lambda frame, k: {"TriggerTime": 40.0 * frame + 7 * k, "AcquisitionTime": clock(90 * k)},
    "time of each slice": lambda frame, k: {"AcquisitionTime": clock(2.5 * frame + 0.5 * (k * 2 % SLICES + k // 2))},
    "time of each volume": lambda frame, k: {"AcquisitionTime": clock(frame), "AcquisitionNumber": 1},
    "time and date": lambda frame, k: {"AcquisitionDateTime": f"2024010{frame + 1}0000{k:02d}"},
    "time written": lambda frame, k: {"ContentTime": clock(SLICES * frame + k), "AcquisitionTime": "100000"},
}


@pytest.mark.parametrize("name", TIMES)
def test_time_points_are_volumes_of_their_own_in_order(name: str, workspace: Workspace, tmp_path: Path) -> None:
    path = dynamic(tmp_path / "s", TIMES[name])
    (row,) = rows(workspace, path)
    assert (row.fate, row.code, row.frames, row.shape, row.n_files) == ("warned", "TIME-POINTS", N, (4, 5, SLICES), 12)
    (first,) = imported(workspace, path)["T2W"]
    np.testing.assert_array_equal(first.data, as_stored(values(0)))
    assert "TIME-POINTS" in first.warnings
    (last,) = imported(workspace, path, "last", frame=N - 1)["T2W"]
    np.testing.assert_array_equal(last.data, as_stored(values(N - 1)))
    assert "TIME-POINTS" not in last.warnings
    np.testing.assert_allclose(last.affine[:3, 3], [-11 * -1 - 3, -24 - 8, 39])


def test_each_time_point_can_become_a_case(workspace: Workspace, tmp_path: Path) -> None:
    path = dynamic(tmp_path / "s", TIMES["acquisition"])
    each = imported(workspace, path, each_frame=True)["T2W"]
    assert sorted(v.data.sum() for v in each) == sorted(values(n).sum() for n in range(N))


@pytest.mark.parametrize(("frame", "cases"), [("2", 1), ("each", N)])
def test_the_command_line_chooses_frames_for_all_that_hold_several(
    frame: str, cases: int, workspace: Workspace, tmp_path: Path
) -> None:
    dynamic(tmp_path / "s" / "time", TIMES["acquisition"])
    dynamic(tmp_path / "s" / "plain", lambda n, k: {}, frames=1, modality="CT")
    chosen = with_frame(rows(workspace, tmp_path / "s"), {}, frame)
    assert len(chosen) == 1
    report = ingest(workspace, [tmp_path / "s"], "c", corrections=chosen)
    assert sum("T2W" in case["volumes"] for case in report["cases"]) == cases
    with pytest.raises(InvalidConfigError):
        with_frame([], {}, "first")


def test_a_frame_that_is_not_there_is_refused_by_name(workspace: Workspace, tmp_path: Path) -> None:
    path = dynamic(tmp_path / "s", TIMES["acquisition"])
    (row,) = rows(workspace, path)
    report = ingest(workspace, [path], "c", corrections={row.key: Choice(row.case, row.modality, frame=N)})
    assert {row["code"] for row in report["files"]} == {"FRAME"}


def test_the_frames_of_a_dynamic_pet_go_by_their_reference_time(workspace: Workspace, tmp_path: Path) -> None:
    def tags(frame: int, k: int) -> dict[str, Any]:
        return {"FrameReferenceTime": [500.0, 30_000.0, 4_000.0][frame], "RescaleSlope": 1, "RescaleIntercept": 0}

    path = dynamic(tmp_path / "s", tags, modality="PT")
    for frame, expected in enumerate([0, 2, 1]):
        (volume,) = imported(workspace, path, f"c{frame}", frame=frame)["PET"]
        np.testing.assert_array_equal(volume.data, as_stored(values(expected)))


KINDS: dict[str, tuple[Tags, list[str]]] = {
    "echoes": (lambda n, k: {"EchoTime": [9.5, 80, 120][n]}, ["T2W-TE9-5", "T2W-TE80", "T2W-TE120"]),
    "weightings": (lambda n, k: {"DiffusionBValue": [50.0, 400.0, 800.0][n]}, ["T2W-b50", "T2W-b400", "T2W-b800"]),
    "inversions": (lambda n, k: {"InversionTime": [100, 400, 900][n]}, ["T2W-TI100", "T2W-TI400", "T2W-TI900"]),
    "parts of a complex value": (
        lambda n, k: {"ImageType": ["ORIGINAL", "PRIMARY", "MPR"[n]]}, ["T2W", "T2W-PHASE", "T2W-REAL"]
    ),
    "the same at other times": (
        lambda n, k: {"EchoTime": [10, 80, 120][n], "AcquisitionTime": clock(n + k)},
        ["T2W-TE10", "T2W-TE80", "T2W-TE120"],
    ),
    "with a jitter that tells nothing": (
        lambda n, k: {"EchoTime": 10 + k / 100, "DiffusionBValue": [0, 400, 800][n]}, ["T2W-b0", "T2W-b400", "T2W-b800"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_image_become_images_with_telling_names(name: str, workspace: Workspace, tmp_path: Path) -> None:
    tags, names = KINDS[name]
    found = imported(workspace, dynamic(tmp_path / "s", tags))
    assert set(found) == set(names)
    for n, modality in enumerate(names):
        (volume,) = found[modality]
        np.testing.assert_array_equal(volume.data, as_stored(values(n)))
        assert "SPLIT-SERIES" in volume.warnings


def test_weightings_are_images_and_their_directions_frames(workspace: Workspace, tmp_path: Path) -> None:
    def tags(n: int, k: int) -> dict[str, Any]:
        directions = [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]
        return {"DiffusionBValue": 1000.0 * (n > 0)} | (
            {"DiffusionGradientOrientation": directions[n - 1]} if n else {}
        )

    path = dynamic(tmp_path / "s", tags, frames=4)
    assert [(row.modality, row.frames) for row in rows(workspace, path)] == [("T2W-b0", 1), ("T2W-b1000", 3)]
    found = {float(imported(workspace, path, f"c{n}", frame=n)["T2W-b1000"][0].data.sum()) for n in range(3)}
    assert found == {float(values(n).sum()) for n in (1, 2, 3)}


def test_many_echoes_are_frames_in_their_order(workspace: Workspace, tmp_path: Path) -> None:
    path = dynamic(tmp_path / "s", lambda n, k: {"EchoTime": 9.5 * (n + 1)}, frames=12)
    (row,) = rows(workspace, path)
    assert (row.modality, row.frames) == ("T2W", 12)
    (volume,) = imported(workspace, path, frame=10)["T2W"]
    np.testing.assert_array_equal(volume.data, as_stored(values(10)))


REFUSED: dict[str, Tags] = {
    "nothing": lambda frame, k: {},
    "an instance number": lambda frame, k: {"InstanceNumber": SLICES * frame + k},
    "times that overlap": lambda frame, k: {"AcquisitionTime": clock(frame + 7 * k)},
    "a time that is missing somewhere": lambda frame, k: {"AcquisitionTime": clock(frame) if k else ""},
    "a number of its own": lambda frame, k: {"AcquisitionNumber": SLICES * frame + k},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_tell_volumes_apart_for_sure_is_refused(name: str, workspace: Workspace, tmp_path: Path) -> None:
    path = dynamic(tmp_path / "s", REFUSED[name])
    assert {(row.fate, row.code) for row in rows(workspace, path)} == {("rejected", "DICOM-DUPLICATES")}


@pytest.mark.parametrize("name", TIMES)
def test_a_series_with_a_slice_missing_in_one_volume_is_refused(
    name: str, workspace: Workspace, tmp_path: Path
) -> None:
    path = dynamic(tmp_path / "s", TIMES[name], left_out=1)
    assert {(row.fate, row.code) for row in rows(workspace, path)} == {("rejected", "DICOM-DUPLICATES")}


@pytest.mark.parametrize("slices", [(2, 2), (3, 1)])
def test_parts_of_another_orientation_are_volumes_unless_one_is_a_single_slice(
    slices: tuple[int, int], workspace: Workspace, tmp_path: Path
) -> None:
    name = uid.generate_uid()
    for part, axes in enumerate([AXIAL, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)]):
        step = 3.0 * np.cross(axes[:3], axes[3:])
        for k in range(slices[part]):
            ds = slice_dataset(
                values(part)[:, :, k], (k * step).tolist(), name, "MR", ImageOrientationPatient=list(axes)
            )
            write(ds, tmp_path / "s" / f"{part}{k}.dcm")
    found = rows(workspace, tmp_path / "s")
    if 1 in slices:
        assert [(row.fate, row.code) for row in found] == [("rejected", "DICOM-MIXED")]
        return
    assert [row.orientation for row in found] == ["LPS", "PIR"]
    assert all("several kinds of image or orientations" in row.message for row in found)


def test_one_stack_of_two_weightings_says_so(workspace: Workspace, tmp_path: Path) -> None:
    name = uid.generate_uid()
    for k in range(4):
        tags = {"DiffusionBValue": 1000.0 * (k % 2), "EchoTime": 80 + k}
        write(slice_dataset(values(0)[:, :, k], (0, 0, 3.0 * k), name, "MR", **tags), tmp_path / "s" / f"{k}.dcm")
    (volume,) = imported(workspace, tmp_path / "s")["T2W"]
    assert "MIXED-KINDS" in volume.warnings


def enhanced(content: Callable[[int], Mapping[str, Any]]) -> Dataset:
    """Enhanced MR of N volumes of SLICES frames each; `content` tells their FrameContentSequence."""
    frames = [(n, k) for n in range(N) for k in range(SLICES)]
    ds = slice_dataset(values(0)[:, :, 0], (0, 0, 0), uid.generate_uid(), "MR", BurnedInAnnotation="NO")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.EnhancedMRImageStorage
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(ds, tag)
    ds.NumberOfFrames = len(frames)
    ds.PixelData = np.stack([values(n)[:, :, k] for n, k in frames]).astype("<u2").tobytes()
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [2.0, 1.0], 3.0
    plane.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = DicomSequence([measures]), DicomSequence([plane])
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    groups = []
    for n, k in frames:
        group, place, told = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [-11.0, 24.0, 39.0 + STEP_MM * k]
        for keyword, value in content(n).items():
            setattr(told, keyword, value)
        group.PlanePositionSequence, group.FrameContentSequence = DicomSequence([place]), DicomSequence([told])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(groups)
    return ds


@pytest.mark.parametrize(
    "content",
    [
        lambda n: {"TemporalPositionIndex": n + 1},
        lambda n: {"FrameAcquisitionNumber": n + 4},
        lambda n: {"FrameAcquisitionDateTime": f"2024010212000{n}.5"},
    ],
)
def test_the_time_points_of_one_enhanced_file_are_told_apart(
    content: Callable[[int], Mapping[str, Any]], workspace: Workspace, tmp_path: Path
) -> None:
    path = write(enhanced(content), tmp_path / "e.dcm")
    (row,) = rows(workspace, path)
    assert (row.frames, row.code) == (N, "TIME-POINTS")
    (volume,) = imported(workspace, path, frame=1)["T2W"]
    np.testing.assert_array_equal(volume.data, as_stored(values(1)))


def test_no_time_of_the_clock_leaves_the_reader(workspace: Workspace, tmp_path: Path) -> None:
    path = dynamic(tmp_path / "s", TIMES["time and date"])
    first, second = (scan_file(file, workspace.pseudonym)[0] for file in sorted(path.iterdir())[:2])
    assert first.times[4] is not None and second.times[4] is not None
    assert abs(first.times[4]) > 2 * 10**7 and abs(first.times[4] - second.times[4]) < 3 * 86_400
