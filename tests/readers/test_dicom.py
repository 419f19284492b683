"""DICOM: right place and values, whatever the order and encoding; refused by name what cannot be right."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image, ImageDraw
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from core.cohort import Cohort
from core.ingest import ingest, scan
from core.readers import dicom
from core.readers.dicom_file import open_dicom
from core.readers.dicom_header import WHITELIST
from core.readers.registry import scan_file
from core.types import Volume
from core.workspace import Workspace
from tests.in_process import InProcess
from tests.readers.dicom_files import AXIAL, CANARY, phantom, series, slice_dataset, tracer, write

EXPECTED = phantom("f8")


@pytest.fixture(autouse=True)
def _decode_in_this_process(request, monkeypatch):
    """A child process for each test would take a second each; those marked `data` have one."""
    if "data" not in request.keywords:
        monkeypatch.setattr("core.ingest.Decoder", InProcess)


def imported(workspace: Workspace, path: Path) -> dict[str, Volume]:
    """The volumes of the one case that the import makes."""
    report = ingest(workspace, [path], "c")
    assert [case["id"] for case in report["cases"]], report["files"]
    (case,) = report["cases"]
    return dict(Cohort.open(workspace, "c").read(case["id"]).volumes)


def codes(workspace: Workspace, path: Path) -> set[tuple[str, str]]:
    report = ingest(workspace, [path], "c")
    return {(row["fate"], row["code"]) for row in report["files"]}


def value_at(volume: Volume, lps: Any) -> float:
    """The value of the voxel whose centre is at an LPS position."""
    ras = np.array([-lps[0], -lps[1], lps[2], 1.0])
    voxel = np.linalg.inv(volume.affine) @ ras
    np.testing.assert_allclose(voxel, np.rint(voxel), atol=1e-3)
    i, j, k = np.rint(voxel[:3]).astype(int)
    return float(volume.data[i, j, k])


def turned(angle: float) -> tuple[float, ...]:
    c, s = np.cos(angle), np.sin(angle)
    return (c, s, 0.0, -s * c, c * c, s)


@pytest.mark.parametrize("axes", [AXIAL, (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 0, -1), turned(0.3)])
@pytest.mark.parametrize("direction", [1, -1])
def test_every_voxel_keeps_its_place_whatever_the_order_of_the_files(axes, direction, workspace, tmp_path):
    axes = np.asarray(axes, float)
    axes[3:] /= np.linalg.norm(axes[3:])
    step = direction * 3.0 * np.cross(axes[:3], axes[3:])
    series(tmp_path / "s", step=step, ImageOrientationPatient=axes.tolist())
    volume = imported(workspace, tmp_path / "s")["CT"]
    assert volume.unit == "HU"
    for row, column, k in [(0, 0, 0), (4, 3, 5), (1, 2, 4), (3, 0, 2)]:
        place = np.array([-11.0, 24.0, 39.0]) + column * axes[:3] + row * 2.0 * axes[3:] + k * step
        assert value_at(volume, place) == EXPECTED[row, column, k] - 1000


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless]
)
def test_all_encodings_give_the_same_values(syntax, workspace, tmp_path):
    for n, path in enumerate(series(tmp_path / "s")):
        ds = pydicom.dcmread(path)
        if syntax == uid.RLELossless:
            ds.compress(syntax)
        else:
            order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
            ds.PixelData = ds.pixel_array.astype(f"{order}u2").tobytes()
        fresh = Dataset()  # without the memory of how it was encoded
        fresh.update({element.tag: element for element in ds})
        fresh.file_meta = ds.file_meta
        fresh.file_meta.TransferSyntaxUID = syntax
        write(fresh, tmp_path / "t" / f"{n}")
    volume = imported(workspace, tmp_path / "t")["CT"]
    assert value_at(volume, (-11 + 2, 24 + 2 * 1, 39 + 3 * 4)) == EXPECTED[1, 2, 4] - 1000


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_a_header_says_what_pydicom_alone_says(syntax, tmp_path):
    """Elements are converted once for all slices that share them: also those whose kind depends on others."""
    for n, sign in enumerate((0, 1)):
        ds = slice_dataset(phantom("ui"[sign] + "2")[:, :, n], (0, 0, 3.0 * n), "1.2.826.0.1.9", "MR")
        ds.SpecificCharacterSet, ds.ContrastBolusAgent = ("ISO_IR 100", "ISO_IR 192")[n], "Gadolin\xf6l"
        ds.add_new("PixelPaddingValue", "SS" if sign else "US", -2 if sign else 65534)
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "500")
        ds.EchoTime, ds.ModalityLUTSequence = None, tracer()
        fresh = Dataset()
        fresh.update({element.tag: element for element in ds})
        fresh.file_meta = ds.file_meta
        fresh.file_meta.TransferSyntaxUID = syntax
        path = write(fresh, tmp_path / f"{n}.dcm")
        theirs = pydicom.dcmread(path, specific_tags=[*WHITELIST, 0x7FE00010])
        for pixels in (False, True):
            ours = open_dicom(path, pixels)
            wanted = {tag for tag in WHITELIST if tag in theirs}
            assert len(wanted) > 20 and all(ours[tag] == theirs[tag] for tag in wanted)
            assert len(ours) == len(wanted) + 1 + pixels  # with the character set
    assert ours.PixelData == theirs.PixelData and ours.PixelPaddingValue == -2


def test_a_file_that_changed_after_it_was_looked_at_is_read_as_it_is_now(workspace, tmp_path):
    (path,) = series(tmp_path / "s", order=(0,))
    (item,) = scan_file(path, workspace.pseudonym)
    other = slice_dataset(phantom()[:, :, 1], (0, 0, 0), "1.2.826.0.1.5", RescaleIntercept=-500, PatientComments="x")
    write(other, path)
    volume = dicom.read([(path, item)], "CT")
    assert sorted(volume.data.ravel()) == sorted(EXPECTED[:, :, 1].ravel() - 500)


def test_a_deflated_file_that_swells_is_refused(workspace, tmp_path):
    (path,) = series(tmp_path / "s", order=(0,))
    content = path.read_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    swollen = packer.compress(content[content.index(b"\x08\x00\x08\x00CS") :] + bytes(140 * 2**20)) + packer.flush()
    syntax = b"\x02\x00\x10\x00UI\x16\x001.2.840.10008.1.2.1.99"
    path.write_bytes(bytes(128) + b"DICM" + syntax + swollen)
    assert codes(workspace, path) == {("rejected", "DICOM-BOMB")}


def test_endless_elements_are_refused(workspace, tmp_path):
    (path,) = series(tmp_path / "s", order=(0,))
    content = path.read_bytes()
    place = content.index(b"\x08\x00\x08\x00CS")
    path.write_bytes(content[:place] + b"\x08\x00\x00\x00UL\x00\x00" * 30_000 + content[place:])
    assert codes(workspace, path) == {("rejected", "DICOM-DAMAGED")}


def test_twelve_bits_keep_their_sign_and_drop_what_lies_above(workspace, tmp_path):
    values = np.array([[-5, 100], [7, -2000]], "i2")
    stored = (values.astype("u2") & 0x0FFF | 0x6000).view("i2")
    pixels = np.stack([stored, stored], axis=2)
    series(tmp_path / "s", pixels, order=(0, 1), BitsStored=12, HighBit=11, RescaleIntercept=0)
    volume = imported(workspace, tmp_path / "s")["CT"]
    assert sorted(volume.data[:, :, 0].ravel()) == sorted(values.ravel())


def test_each_slice_is_rescaled_by_its_own_slope(workspace, tmp_path):
    folder, name = tmp_path / "s", uid.generate_uid()
    for k, slope in enumerate([1.0, 2.0, 0.5]):
        ds = slice_dataset(phantom()[:, :, 0], (0, 0, 3.0 * k), name, RescaleSlope=slope, RescaleIntercept=-10)
        write(ds, folder / f"{k}")
    volume = imported(workspace, folder)["CT"]
    for k, slope in enumerate([1.0, 2.0, 0.5]):
        assert value_at(volume, (1, 2, 3 * k)) == EXPECTED[1, 1, 0] * slope - 10


def test_a_modality_lut_is_applied(workspace, tmp_path):
    lut = Dataset()
    lut.LUTDescriptor, lut.ModalityLUTType = [64, 0, 16], "HU"
    lut.add_new(0x00283006, "US", [3 * n + 1 for n in range(64)])
    pixels = np.arange(2 * 3 * 2, dtype="u2").reshape(2, 3, 2)
    removed = {"RescaleSlope": None, "RescaleIntercept": None}
    series(tmp_path / "s", pixels, order=(1, 0), ModalityLUTSequence=DicomSequence([lut]), **removed)
    volume = imported(workspace, tmp_path / "s")["CT"]
    assert sorted(volume.data.ravel()) == [3 * n + 1 for n in range(12)]


def test_padding_becomes_air_and_not_an_intensity(workspace, tmp_path):
    pixels = phantom("i2") + 900
    pixels[0, 0, :] = -2000
    series(tmp_path / "s", pixels, PixelPaddingValue=-2000, RescaleIntercept=-1024)
    assert imported(workspace, tmp_path / "s")["CT"].data.min() >= -1024


def test_monochrome1_is_turned(workspace, tmp_path):
    series(tmp_path / "s", modality="MR", PhotometricInterpretation="MONOCHROME1")
    volume = imported(workspace, tmp_path / "s")["T2W"]
    assert value_at(volume, (-11, 24, 39)) == 65535 - EXPECTED[0, 0, 0]
    assert "INVERTED" in volume.warnings


def test_a_tilted_gantry_is_straightened_in_place(workspace, tmp_path):
    series(tmp_path / "s", step=(0.0, 2.0, 3.0))  # each slice one voxel further down
    volume = imported(workspace, tmp_path / "s")["CT"]
    assert "GANTRY-TILT" in volume.warnings
    for row, column, k in [(0, 0, 0), (4, 3, 5), (1, 2, 4)]:
        place = np.array([-11.0, 24.0, 39.0]) + [column, 2.0 * row, 0] + k * np.array([0.0, 2.0, 3.0])
        assert value_at(volume, place) == EXPECTED[row, column, k] - 1000


@pytest.mark.parametrize(("order", "code"), [((0, 1, 2, 4, 5), "DICOM-GAP"), ((0, 1, 2, 2, 3), "DICOM-DUPLICATES")])
def test_gaps_and_double_slices_are_refused(order, code, workspace, tmp_path):
    series(tmp_path / "s", order=order)
    assert codes(workspace, tmp_path / "s") == {("rejected", code)}


def test_uneven_spacing_is_refused(workspace, tmp_path):
    name = uid.generate_uid()
    for k, z in enumerate([0.0, 3.0, 6.1, 9.1]):
        write(slice_dataset(phantom()[:, :, k], (0, 0, z), name), tmp_path / "s" / f"{k}")
    assert codes(workspace, tmp_path / "s") == {("rejected", "DICOM-SPACING")}


def test_mixed_orientations_are_refused(workspace, tmp_path):
    name = uid.generate_uid()
    series(tmp_path / "s", series_uid=name)
    series(
        tmp_path / "s" / "x",
        series_uid=name,
        order=(0,),
        origin=(0, 0, 99),
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
    )
    assert codes(workspace, tmp_path / "s") == {("rejected", "DICOM-MIXED")}


def test_two_patients_with_one_series_uid_are_never_stacked(workspace, tmp_path):
    name = uid.generate_uid()
    series(tmp_path / "s" / "a", series_uid=name, order=(0, 1, 2))
    series(tmp_path / "s" / "b", series_uid=name, order=(3, 4, 5), PatientID="another")
    report = ingest(workspace, [tmp_path / "s"], "c")
    assert len(report["cases"]) == 2
    assert all(case["volumes"]["CT"]["shape"] == [4, 5, 3] for case in report["cases"])


def test_slices_without_patient_and_study_are_never_taken_for_one_person(workspace, tmp_path):
    for name in ("a", "b"):
        series(tmp_path / "s" / name, PatientID="", StudyInstanceUID=None, modality="MR" if name == "a" else "CT")
    assert len(ingest(workspace, [tmp_path / "s"], "c")["cases"]) == 2


@pytest.mark.parametrize("tags", [{"PatientName": "CANARYxOTHER^ANNE"}, {"PatientBirthDate": "19700101"}])
def test_one_series_and_patient_id_with_two_people_is_refused(tags, workspace, tmp_path):
    name = uid.generate_uid()
    series(tmp_path / "s" / "a", series_uid=name, order=(0, 1, 2))
    series(tmp_path / "s" / "b", series_uid=name, order=(3, 4, 5), **tags)
    assert codes(workspace, tmp_path / "s") == {("rejected", "DICOM-PATIENTS")}


def test_a_name_written_in_another_way_is_the_same_person(workspace, tmp_path):
    name = uid.generate_uid()
    series(tmp_path / "s" / "a", series_uid=name, order=(0, 1, 2))
    series(tmp_path / "s" / "b", series_uid=name, order=(3, 4, 5), PatientName=f"{CANARY.lower()}^john^^")
    assert imported(workspace, tmp_path / "s")["CT"].data.shape == (4, 5, 6)


def test_a_slice_that_could_not_be_read_is_remembered_by_its_volume(workspace, tmp_path):
    name = uid.generate_uid()
    series(tmp_path / "s" / "a", series_uid=name, order=(0, 1, 2, 3, 4))
    series(tmp_path / "s" / "b", series_uid=name, order=(5,), BitsStored=12, HighBit=15)
    volume = imported(workspace, tmp_path / "s")["CT"]
    assert volume.data.shape == (4, 5, 5) and "INCOMPLETE" in volume.warnings


def test_a_slice_that_claims_to_be_another_is_no_copy(workspace, tmp_path):
    paths = series(tmp_path / "s")
    ds = pydicom.dcmread(paths[2])
    changed = bytearray(ds.PixelData)
    changed[3] ^= 1
    ds.PixelData = bytes(changed)
    write(ds, tmp_path / "s" / "changed.dcm")
    assert codes(workspace, tmp_path / "s") == {("rejected", "DICOM-DUPLICATES")}


def test_a_copy_with_another_header_is_a_copy(workspace, tmp_path):
    paths = series(tmp_path / "s")
    ds = pydicom.dcmread(paths[2])
    ds.StationName = "another way through the hospital"
    write(ds, tmp_path / "s" / "again.dcm")
    assert imported(workspace, tmp_path / "s")["CT"].data.shape == (4, 5, 6)


def test_the_same_file_twice_is_used_once(workspace, tmp_path):
    paths = series(tmp_path / "s")
    (tmp_path / "s" / "copy.dcm").write_bytes(paths[2].read_bytes())
    report = ingest(workspace, [tmp_path / "s"], "c")
    assert sorted(row["code"] for row in report["files"]) == [""] * 6 + ["DUPLICATE-FILE"]
    assert report["cases"][0]["volumes"]["CT"]["shape"] == [4, 5, 6]


def test_a_second_series_of_the_same_kind_gets_a_number_and_a_warning(workspace, tmp_path):
    series(tmp_path / "s" / "a", modality="MR")
    series(tmp_path / "s" / "b", modality="MR", pixels=phantom() + 1)
    volumes = imported(workspace, tmp_path / "s")
    assert sorted(volumes) == ["T2W", "T2W-2"]
    assert "SAME-NAME" in volumes["T2W-2"].warnings


@pytest.mark.parametrize(
    ("modality", "tags", "expected"),
    [
        ("US", {"BurnedInAnnotation": "NO"}, "quarantined"),
        ("OT", {"BurnedInAnnotation": "NO"}, "quarantined"),
        ("CT", {"BurnedInAnnotation": "YES"}, "quarantined"),
        ("CT", {"ImageType": ["DERIVED", "PRIMARY"]}, "quarantined"),
        ("CT", {"ImageType": ["DERIVED", "PRIMARY"], "BurnedInAnnotation": "NO"}, "accepted"),
        ("CT", {"ImageType": None}, "quarantined"),
        ("MR", {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "warned"),
        ("MR", {"ImageType": ["DERIVED", "SECONDARY", "ADC"]}, "quarantined"),
        ("CT", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "ignored"),
    ],
)
def test_what_may_carry_burned_in_text_waits(modality, tags, expected, workspace, tmp_path):
    series(tmp_path / "s", modality=modality, **tags)
    report = ingest(workspace, [tmp_path / "s"], "c")
    assert {row["fate"] for row in report["files"]} == {expected}
    assert bool(report["cases"]) == (expected in ("accepted", "warned"))


def test_a_derived_map_with_text_in_it_waits(workspace, tmp_path):
    noise = np.random.default_rng(0).integers(20, 900, (96, 128, 3)).astype("u2")
    picture = Image.new("L", (128, 96))
    ImageDraw.Draw(picture).text((6, 8), "SMITH JOHN 1961", fill=255)
    noise[np.asarray(picture) > 128] = 4095
    series(tmp_path / "s", noise, order=(0, 1, 2), modality="MR", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"])
    assert codes(workspace, tmp_path / "s") == {("quarantined", "BURNED-IN-TEXT")}


def pet(**tags: Any) -> dict[str, Any]:
    return {
        "modality": "PT", "Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["DECY", "ATTN"],
        "PatientWeight": 70.0, "SeriesDate": "20240102", "SeriesTime": "100000", "AcquisitionDate": "20240102",
        "AcquisitionTime": "100000", "RescaleSlope": 10.0, "RescaleIntercept": 0.0,
        "RadiopharmaceuticalInformationSequence": tracer(), **tags,
    }  # fmt: skip


def test_pet_is_stored_as_suv(workspace, tmp_path):
    series(tmp_path / "s", **pet())
    volume = imported(workspace, tmp_path / "s")["PET"]
    left = 3.7e8 * 0.5 ** (3600 / 6586.2)
    assert volume.unit == "SUV"
    assert value_at(volume, (-11, 24, 39)) == pytest.approx(EXPECTED[0, 0, 0] * 10 * 70_000 / left, rel=1e-5)


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientWeight": 0.0},
        {"PatientWeight": 900.0},
        {"DecayCorrection": "NONE"},
        {"Units": "CNTS"},
        {"CorrectedImage": ["DECY"]},
        {"RadiopharmaceuticalInformationSequence": tracer(dose=370.0)},
    ],
)
def test_pet_without_what_suv_needs_has_no_unit(tags, workspace, tmp_path):
    series(tmp_path / "s", **pet(**tags))
    volume = imported(workspace, tmp_path / "s")["PET"]
    assert volume.unit == "a.u."
    assert "SUV-NOT-POSSIBLE" in volume.warnings


@pytest.mark.parametrize(
    ("group", "creator", "element", "value", "tags", "factor"),
    [
        (0x7053, "Philips PET Private Group", 0x00, ("DS", "0.00125"), {"Units": "CNTS"}, 0.00125),
        (0x7053, "Philips PET Private Group", 0x09, ("DS", "2.5"), {"Units": "CNTS"}, 2.5 * 70_000 / 3.7e8 * 2**0.5),
        (
            0x0009,
            "GEMS_PETD_01",
            0x0D,
            ("DT", "20240102094953.1"),
            {"SeriesTime": "113000"},
            70_000 / 3.7e8 * 2**0.4546,
        ),
    ],
)
def test_the_private_values_of_vendors_are_used_and_dropped(
    group, creator, element, value, tags, factor, workspace, tmp_path
):
    half_life = 2 * 3600.0 if "Units" in tags else 6586.2
    values = pet(RadiopharmaceuticalInformationSequence=tracer(half_life=half_life), **tags)
    pixels = phantom()
    for k in range(3):
        ds = slice_dataset(
            pixels[:, :, k], (0, 0, 3.0 * k), "1.2.3.4", values["modality"], **dict(list(values.items())[1:])
        )
        ds.private_block(group, creator, create=True).add_new(element, *value)
        write(ds, tmp_path / "s" / f"{k}.dcm")
    volume = imported(workspace, tmp_path / "s")["PET"]
    assert volume.unit == "SUV"
    assert volume.data.max() == pytest.approx(pixels[:, :, :3].max() * 10 * factor, rel=2e-4)


def enhanced(n: int = 4) -> Dataset:
    """Enhanced MR, its frames in reverse order along z."""
    pixels = phantom()[:, :, :n]
    ds = slice_dataset(pixels[:, :, 0], (0, 0, 0), uid.generate_uid(), "MR", BurnedInAnnotation="NO")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.EnhancedMRImageStorage
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(ds, tag)
    ds.NumberOfFrames = n
    ds.PixelData = np.moveaxis(pixels, 2, 0).astype("<u2").tobytes()
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [2.0, 1.0], 3.0
    plane.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = DicomSequence([measures]), DicomSequence([plane])
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    frames = []
    for k in range(n):
        frame, place, value = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, -3.0 * k]
        value.RescaleSlope, value.RescaleIntercept = k + 1, 5
        frame.PlanePositionSequence = DicomSequence([place])
        frame.PixelValueTransformationSequence = DicomSequence([value])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    return ds


def test_enhanced_frames_lie_where_their_groups_say(workspace, tmp_path):
    volume = imported(workspace, write(enhanced(), tmp_path / "e.dcm"))["T2W"]
    for k in range(4):
        assert value_at(volume, (2, 2, -3 * k)) == EXPECTED[1, 2, k] * (k + 1) + 5


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(share, workspace, tmp_path):
    (path,) = series(tmp_path / "s", np.ones((64, 64, 1), "u2"), order=(0,))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert {fate for fate, _ in codes(workspace, path)} == {"rejected"}


def test_reports_and_directories_are_ignored_and_other_pictures_refused(workspace, tmp_path):
    ds = slice_dataset(phantom()[:, :, 0], (0, 0, 0), uid.generate_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    write(ds, tmp_path / "a.dcm")
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(ds, tag)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.BasicTextSRStorage
    write(ds, tmp_path / "b.dcm")
    assert codes(workspace, tmp_path / "a.dcm") == {("rejected", "DICOM-KIND")}
    assert codes(workspace, tmp_path / "b.dcm") == {("ignored", "DICOM-NO-IMAGE")}


@pytest.mark.parametrize(
    ("description", "tags", "modality"),
    [
        ("Ax T2 FLAIR", {}, "FLAIR"),
        ("t1_mprage_sag", {}, "T1"),
        ("AX T1 POST GD", {}, "T1POST"),
        ("t1_tse", {"ContrastBolusAgent": CANARY}, "T1POST"),
        ("T2W_TSE", {}, "T2W"),
        ("ep2d_diff_b1000", {}, "DWI"),
        (f"{CANARY} special", {}, "MR"),
    ],
)
def test_an_mr_series_is_named_by_words_of_the_vocabulary_only(description, tags, modality, workspace, tmp_path):
    series(tmp_path / "s", modality="MR", SeriesDescription=description, **tags)
    assert list(imported(workspace, tmp_path / "s")) == [modality]


def test_nothing_of_the_identity_is_stored_or_told(workspace, tmp_path):
    series(tmp_path / "s", modality="MR", ImageComments=CANARY, AccessionNumber=CANARY)
    report = ingest(workspace, [tmp_path / "s"], "c")
    proposals = scan(workspace, [tmp_path / "s"])
    stored = b"".join(path.read_bytes() + path.name.encode() for path in workspace.root.rglob("*") if path.is_file())
    for secret in (CANARY.encode(), b"19610203", b"20240102", b"1.2.826"):
        assert secret not in stored
        assert secret.decode() not in repr(report) + repr(proposals)


def test_the_same_person_joins_the_same_case_later(workspace, tmp_path):
    series(tmp_path / "a", modality="MR")
    series(tmp_path / "b", modality="CT")
    first = ingest(workspace, [tmp_path / "a"], "c")["cases"][0]["id"]
    assert ingest(workspace, [tmp_path / "b"], "c")["cases"][0]["id"] == first
    assert sorted(Cohort.open(workspace, "c").read(first).volumes) == ["CT", "T2W"]


@pytest.mark.data
def test_real_series_lie_where_simpleitk_reads_them(workspace, real_data):
    import SimpleITK as sitk

    root = real_data / "dicom" / "prostate_mpmri"
    report = ingest(workspace, [root], "c")
    assert len(report["cases"]) == 3
    assert {row["fate"] for row in report["files"]} == {"accepted", "warned"}
    cohort = Cohort.open(workspace, "c")
    for patient in sorted(root.iterdir()):
        row = next(r for r in report["files"] if r["label"].startswith(patient.name))
        case = cohort.read(row["case"])
        assert sorted(case.volumes) == ["ADC", "HBV", "T2W"]
        for modality, volume in case.volumes.items():
            names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(patient / modality))
            image = sitk.ReadImage(names)
            values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
            for index in [(0, 0, 0), tuple(n - 1 for n in image.GetSize()), (5, 11, 3), (40, 20, 9)]:
                lps = np.array(image.TransformIndexToPhysicalPoint(index))
                voxel = np.linalg.inv(volume.affine) @ [-lps[0], -lps[1], lps[2], 1]
                i, j, k = np.rint(voxel[:3]).astype(int)
                back = volume.affine @ [i, j, k, 1]
                np.testing.assert_allclose(back[:3], [-lps[0], -lps[1], lps[2]], atol=0.01)
                assert volume.data[i, j, k] == values[index]


REAL_FILES = {  # what becomes of each of the public files, and the frames that are read when somebody has looked
    "deflated.dcm": "quarantined", "explicit_big.dcm": "accepted", "implicit_little.dcm": "accepted",
    "jpeg_2000.dcm": "quarantined", "jpeg_baseline_8bit.dcm": "quarantined", "jpeg_lossless_sel1.dcm": "ignored",
    "jpeg_ls.dcm": "quarantined", "rle.dcm": "quarantined", "693_J2KR.dcm": "accepted", "JPEG-LL.dcm": "quarantined",
    "JPGLosslessP14SV1_1s_1f_8b.dcm": "quarantined", "OBXXXX1A.dcm": "quarantined",
    "OBXXXX1A_rle_2frame.dcm": "quarantined", "US1_J2KI.dcm": "quarantined", "US1_J2KR.dcm": "quarantined",
    "bad_sequence.dcm": "accepted", "color-pl.dcm": "quarantined", "emri_small_RLE.dcm": "rejected",
    "emri_small_jpeg_2k_lossless.dcm": "rejected", "emri_small_jpeg_ls_lossless.dcm": "rejected",
    "explicit_VR-UN.dcm": "accepted", "gdcm-US-ALOKA-16.dcm": "quarantined",
}  # fmt: skip
GREY_LEVELS = {"gdcm-US-ALOKA-16.dcm": 256}  # SimpleITK keeps a palette's 16 bits


@pytest.mark.data
@pytest.mark.parametrize("name", REAL_FILES)
def test_every_transfer_syntax_is_read_as_another_library_does(name: str, real_data: Path) -> None:
    (path,) = (real_data / "dicom" / "transfer_syntaxes").rglob(name)
    item = scan_file(path, lambda text: text)[0]
    assert item.fate == REAL_FILES[name]
    if item.fate not in ("accepted", "quarantined"):
        assert item.code and item.message
        return
    flat = replace(item, position=(), axes=(), reviewed=True, frame_index=0 if item.frames > 1 else -1)
    found = dicom.read([(path, flat)], "image").data[::-1, ::-1, 0].T
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(float)
    expected = expected.reshape(-1, *found.shape, 3 if expected.shape[-1] == 3 else 1)[0]
    expected = expected @ [0.299, 0.587, 0.114] if expected.shape[2] == 3 else expected[:, :, 0]
    told = expected >= -1024 if item.modality == "CT" else np.ones_like(expected, bool)  # padding becomes air
    np.testing.assert_allclose(found[told], (expected / GREY_LEVELS.get(name, 1))[told], atol=1, rtol=1e-6)
    assert told.mean() > 0.5


def test_the_table_names_every_real_file(real_data: Path) -> None:
    folder = real_data / "dicom" / "transfer_syntaxes"
    assert {path.name for path in folder.rglob("*.dcm")} == set(REAL_FILES)
