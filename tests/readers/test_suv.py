"""PET in SUV: every rule of the decay and of the units by hand, in single frames and in enhanced files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from core.cohort import Cohort
from core.ingest import ingest
from core.types import Volume
from core.workspace import Workspace
from tests.in_process import InProcess
from tests.readers.dicom_files import AXIAL, phantom, slice_dataset, tracer, write

GRAMS, DOSE_BQ, HALF_LIFE_S = 80_000.0, 4e8, 6000.0
N = 4


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.ingest.Decoder", InProcess)


def imported(workspace: Workspace, path: Path) -> Volume:
    report = ingest(workspace, [path], "c")
    assert report["cases"], report["files"]
    return Cohort.open(workspace, "c").read_volume(report["cases"][0]["id"], "PET")


def isotope(**tags: Any) -> DicomSequence:
    found = tracer(DOSE_BQ, HALF_LIFE_S, "090000")
    for name, value in tags.items():
        setattr(found[0], name, value)
    return found


def series(folder: Path, changes: Sequence[Mapping[str, Any]] = ({},), **tags: Any) -> Path:
    """Slices of Bq/ml at 10 a stored unit, injected at 9, scanned at 10; `changes` go round from slice to slice."""
    usual = {
        "Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["DECY", "ATTN"], "PatientWeight": 80.0,
        "SeriesDate": "20240102", "SeriesTime": "100000", "AcquisitionDate": "20240102", "AcquisitionTime": "100000",
        "RescaleSlope": 10.0, "RescaleIntercept": 0.0, "RadiopharmaceuticalInformationSequence": isotope(),
    }  # fmt: skip
    name = uid.generate_uid()
    for k in range(N):
        given = {**usual, **tags, **changes[k % len(changes)]}
        present = {tag: value for tag, value in given.items() if value is not None}
        ds = slice_dataset(phantom()[:, :, k], (0, 0, 3.0 * k), name, "PT", **present)
        write(ds, folder / f"{k}.dcm")
    return folder


def decayed(seconds: float) -> float:
    """g/ml a Bq/ml, when the decay was corrected to so long after the injection."""
    return float(GRAMS / (DOSE_BQ * np.exp(-np.log(2) * seconds / HALF_LIFE_S)))


def test_one_value_worked_out_on_paper(workspace: Workspace, tmp_path: Path) -> None:
    """Injected 400 MBq at 9:00, half-life 6000 s, start at 10:40: one half-life, 200 MBq left. 80 kg.

    The first voxel is stored as 30, 300 Bq/ml: 300 / (2e8 / 80000) = 0.12.
    """
    volume = imported(workspace, series(tmp_path / "s", SeriesTime="104000", AcquisitionTime="104000"))
    assert volume.unit == "SUV"
    assert volume.data.min() == pytest.approx(0.12, rel=1e-6)


RULES: dict[str, tuple[dict[str, Any], float]] = {
    "series and scan at once": ({}, decayed(3600)),
    "a later bed goes by the series": ({"AcquisitionTime": "101500"}, decayed(3600)),
    "a series rewritten later goes by the scan": ({"SeriesTime": "150000"}, decayed(3600)),
    "to the injection": ({"DecayCorrection": "ADMIN"}, decayed(0)),
    "to the injection, whatever the times": ({"DecayCorrection": "ADMIN", "SeriesDate": "20300101"}, decayed(0)),
    "over midnight": (
        {
            "SeriesTime": "003000", "AcquisitionTime": "003000",
            "RadiopharmaceuticalInformationSequence": isotope(RadiopharmaceuticalStartTime="233000"),
        },
        decayed(3600),
    ),
    "a full date of the injection": (
        {
            "RadiopharmaceuticalInformationSequence": isotope(
                RadiopharmaceuticalStartTime="", RadiopharmaceuticalStartDateTime="20240102083000.00"
            )
        },
        decayed(5400),
    ),
    "an offset that the file shares": (
        {
            "TimezoneOffsetFromUTC": "+0100",
            "RadiopharmaceuticalInformationSequence": isotope(
                RadiopharmaceuticalStartTime="", RadiopharmaceuticalStartDateTime="20240102083000.00+0100"
            ),
        },
        decayed(5400),
    ),
    "SUV by body weight already": ({"Units": "GML", "SUVType": "BW", "RescaleSlope": 0.01}, 1.0),
    "SUV without its kind": ({"Units": "GML", "PatientWeight": 0.0, "RescaleSlope": 0.01}, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_the_decay_is_counted_from_the_right_moment(name: str, workspace: Workspace, tmp_path: Path) -> None:
    tags, factor = RULES[name]
    volume = imported(workspace, series(tmp_path / "s", **tags))
    slope = tags.get("RescaleSlope", 10.0)
    assert volume.unit == "SUV" and "SUV-NOT-POSSIBLE" not in volume.warnings
    np.testing.assert_allclose(volume.data.max(), phantom()[:, :, :N].max() * slope * factor, rtol=1e-5)


def test_of_beds_of_a_rewritten_series_the_earliest_scan_counts_for_all(workspace: Workspace, tmp_path: Path) -> None:
    beds = [{"AcquisitionTime": time} for time in ("101000", "100000", "102000", "103000")]
    volume = imported(workspace, series(tmp_path / "s", beds, SeriesTime="160000"))
    np.testing.assert_allclose(volume.data.max(), phantom()[:, :, :N].max() * 10 * decayed(3600), rtol=1e-5)


def test_each_slice_keeps_its_own_slope(workspace: Workspace, tmp_path: Path) -> None:
    slopes = [1.0, 2.0, 0.5, 7.0]
    volume = imported(workspace, series(tmp_path / "s", [{"RescaleSlope": slope} for slope in slopes]))
    expected = phantom()[:, :, :N] * np.array(slopes) * decayed(3600)
    np.testing.assert_allclose(volume.data, expected.transpose(1, 0, 2)[::-1, ::-1], rtol=1e-5)


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "not corrected for decay": {"DecayCorrection": "NONE"},
    "corrected to nobody knows what": {"DecayCorrection": ""},
    "counts without a vendor's factor": {"Units": "CNTS"},
    "lean body mass": {"Units": "GML", "SUVType": "LBM"},
    "body surface": {"Units": "CM2ML"},
    "no attenuation correction": {"CorrectedImage": ["DECY"]},
    "scanned before the injection": {"SeriesTime": "080000", "AcquisitionTime": "080000", "SeriesDate": "20240102"}
    | {"RadiopharmaceuticalInformationSequence": isotope(RadiopharmaceuticalStartDateTime="20240102090000")},
    "more than a day": {
        "RadiopharmaceuticalInformationSequence": isotope(
            RadiopharmaceuticalStartTime="", RadiopharmaceuticalStartDateTime="20240101090000"
        )
    },
    "two times that disagree": {
        "RadiopharmaceuticalInformationSequence": isotope(RadiopharmaceuticalStartDateTime="20240102080000")
    },
    "an offset of another zone": {
        "RadiopharmaceuticalInformationSequence": isotope(
            RadiopharmaceuticalStartTime="", RadiopharmaceuticalStartDateTime="20240102090000+0500"
        )
    },
    "two tracers": {"RadiopharmaceuticalInformationSequence": DicomSequence([*isotope(), *isotope()])},
    "no half-life": {"RadiopharmaceuticalInformationSequence": isotope(RadionuclideHalfLife=0)},
    "a dose in MBq": {"RadiopharmaceuticalInformationSequence": isotope(RadionuclideTotalDose=400)},
    "a weight in grams": {"PatientWeight": 80_000.0},
    "no slope": {"RescaleSlope": None},
    "no times": {"SeriesTime": "", "AcquisitionTime": ""},
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_in_doubt_there_is_no_unit(name: str, workspace: Workspace, tmp_path: Path) -> None:
    volume = imported(workspace, series(tmp_path / "s", **IMPOSSIBLE[name]))
    assert volume.unit == "a.u." and "SUV-NOT-POSSIBLE" in volume.warnings


def mapping(unit: str, slope: float, intercept: float = 0.0) -> Dataset:
    found, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
    found.MeasurementUnitsCodeSequence = DicomSequence([code])
    found.RealWorldValueSlope, found.RealWorldValueIntercept = slope, intercept
    found.RealWorldValueFirstValueMapped, found.RealWorldValueLastValueMapped = 0, 65535
    return found


def enhanced(mappings: Sequence[Sequence[Dataset]], legacy: Mapping[str, Any] | None = None, **tags: Any) -> Dataset:
    """Enhanced PET of N frames, their mappings in turn; `legacy` are the converted attributes of single frames."""
    pixels = phantom()[:, :, :N]
    ds = slice_dataset(pixels[:, :, 0], (0, 0, 0), uid.generate_uid(), "PT", BurnedInAnnotation="NO")
    kind = uid.EnhancedPETImageStorage if legacy is None else uid.LegacyConvertedEnhancedPETImageStorage
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = kind
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(ds, tag)
    ds.NumberOfFrames, ds.PatientWeight = N, 80.0
    ds.PixelData = np.moveaxis(pixels, 2, 0).astype("<u2").tobytes()
    ds.RadiopharmaceuticalInformationSequence = isotope(
        RadionuclideTotalDose=400.0, RadiopharmaceuticalStartTime="", RadiopharmaceuticalStartDateTime="20240102090000"
    )
    ds.DecayCorrected = ds.AttenuationCorrected = "YES"
    ds.DecayCorrectionDateTime = "20240102100000.0"
    shared, measures, plane, value = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [2.0, 1.0], 3.0
    plane.ImageOrientationPatient = list(AXIAL)
    value.RescaleSlope, value.RescaleIntercept, value.RescaleType = 99.0, 0.0, "US"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = DicomSequence([measures]), DicomSequence([plane])
    shared.PixelValueTransformationSequence = DicomSequence([value])
    if legacy is not None:
        converted = Dataset()
        for name, given in legacy.items():
            setattr(converted, name, given)
        shared.UnassignedSharedConvertedAttributesSequence = DicomSequence([converted])
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    frames = []
    for k in range(N):
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, 3.0 * k]
        frame.PlanePositionSequence = DicomSequence([place])
        if mappings:
            frame.RealWorldValueMappingSequence = DicomSequence(mappings[k % len(mappings)])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    for name, given in tags.items():
        setattr(ds, name, given)
    return ds


SLOPES = [2.5, 1.0 / 3.0, 1.234567890123e-5, 7.0]
BECQUERELS = [[mapping("Bq/ml", slope)] for slope in SLOPES]


@pytest.mark.parametrize(
    ("mappings", "tags", "factors"),
    [
        (BECQUERELS, {}, np.array(SLOPES) * decayed(3600)),
        (BECQUERELS, {"DecayCorrectionDateTime": "20240102090000"}, np.array(SLOPES) * decayed(0)),
        ([[mapping("Bq/ml", 9.0), mapping("g/ml{SUVbw}", 0.002)]], {"PatientWeight": 0.0}, np.full(N, 0.002)),
        ([[mapping("{SUVbw}g/ml", 0.002)]], {"DecayCorrected": "NO"}, np.full(N, 0.002)),
        (
            BECQUERELS,
            {
                "RadiopharmaceuticalInformationSequence": isotope(
                    RadiopharmaceuticalStartTime="", RadiopharmaceuticalStartDateTime="20240102090000"
                )
            },
            np.array(SLOPES) * decayed(3600),
        ),
    ],
)
def test_enhanced_frames_are_mapped_to_suv(
    mappings: Sequence[Sequence[Dataset]],
    tags: dict[str, Any],
    factors: np.ndarray,
    workspace: Workspace,
    tmp_path: Path,
) -> None:
    volume = imported(workspace, write(enhanced(mappings, **tags), tmp_path / "e.dcm"))
    assert volume.unit == "SUV"
    expected = phantom()[:, :, :N] * factors
    np.testing.assert_allclose(volume.data, expected.transpose(1, 0, 2)[::-1, ::-1], rtol=1e-5)


@pytest.mark.parametrize(
    ("mappings", "tags"),
    [
        ([], {}),
        ([[mapping("Bq/ml", 2.0), mapping("Bq/ml", 3.0)]], {}),
        ([[mapping("{counts}/s", 2.0)]], {}),
        (BECQUERELS, {"DecayCorrected": "NO"}),
        (BECQUERELS, {"AttenuationCorrected": "NO"}),
        (BECQUERELS, {"DecayCorrectionDateTime": "20240103110000"}),
        (BECQUERELS, {"DecayCorrectionDateTime": "20240102080000"}),
        (BECQUERELS, {"PatientWeight": 0.0}),
        (BECQUERELS, {"RadiopharmaceuticalInformationSequence": isotope(RadionuclideTotalDose=0)}),
    ],
)
def test_enhanced_frames_in_doubt_have_no_unit(
    mappings: Sequence[Sequence[Dataset]], tags: dict[str, Any], workspace: Workspace, tmp_path: Path
) -> None:
    volume = imported(workspace, write(enhanced(mappings, **tags), tmp_path / "e.dcm"))
    assert volume.unit == "a.u." and "SUV-NOT-POSSIBLE" in volume.warnings


def test_a_legacy_converted_file_is_read_as_the_files_that_it_was_made_of(workspace: Workspace, tmp_path: Path) -> None:
    legacy = {"Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["DECY", "ATTN"]}
    ds = enhanced([], legacy, SeriesDate="20240102", SeriesTime="100000", DecayCorrected="")
    del ds.DecayCorrected, ds.AttenuationCorrected, ds.DecayCorrectionDateTime
    ds.RadiopharmaceuticalInformationSequence = isotope()
    volume = imported(workspace, write(ds, tmp_path / "e.dcm"))
    assert volume.unit == "SUV"
    np.testing.assert_allclose(volume.data.max(), float(phantom()[:, :, :N].max()) * 99 * decayed(3600), rtol=1e-5)
