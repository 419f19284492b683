"""PET's standardised uptake value by body weight, computed before the header is dropped."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from core.readers.dicom_checks import is_rescaled
from core.readers.dicom_header import number, text
from core.readers.dicom_private import GE_SCAN_START, PHILIPS_ACTIVITY, PHILIPS_SUV, private_number, private_text

WEIGHT_KG = (1.0, 500.0)
DOSE_BQ = (1e6, 1e10)
DOSE_MBQ = (1.0, 1e4)  # what enhanced files say; the two ranges have no value in common
DECAY_S = (0.0, 24 * 3600.0)
SAME_S = 60.0


def suv_factor(dataset: Dataset, facts: Dataset) -> float | None:
    """g/ml per unit of the rescaled values of a frame, or None where the header does not allow it.

    Args:
        facts: what the file says of the frame; of a file of one frame, the same.

    Source:
        QIBA, SUV computation (https://qibawiki.rsna.org/index.php/Standardized_Uptake_Value_(SUV)), with the private
        tags of Philips and GE: SUV = activity * weight / dose at the time that the decay was corrected to. Enhanced
        files: DICOM PS3.3 C.8.22 (isotope and corrections modules).
    """
    if not is_rescaled(facts):
        return None
    units = text(facts, "Units") or text(dataset, "Units")
    if units == "GML":
        return 1.0 if text(facts, "SUVType") in ("", "BW") else None
    if units not in ("BQML", "CNTS") or not _is_corrected(dataset, facts):
        return None
    becquerels = 1.0
    if units == "CNTS":  # Philips counts; its own factors say what a count is
        factor, activity = (private_number(facts, tag) for tag in (PHILIPS_SUV, PHILIPS_ACTIVITY))
        if factor:
            return factor if factor > 0 else None
        if not activity or activity < 0:
            return None
        becquerels = activity
    weight = number(dataset, "PatientWeight")
    injected = _dose_at_scan(dataset, facts)
    if weight is None or injected is None or not WEIGHT_KG[0] <= weight <= WEIGHT_KG[1]:
        return None
    return becquerels * weight * 1000.0 / injected


def _is_corrected(dataset: Dataset, facts: Dataset) -> bool:
    """For decay and attenuation."""
    said = text(facts, "CorrectedImage").upper()
    enhanced = [text(dataset, f"{name}Corrected").upper() == "YES" for name in ("Decay", "Attenuation")]
    return ("DECY" in said and "ATTN" in said) or all(enhanced)


def _dose_at_scan(dataset: Dataset, facts: Dataset) -> float | None:
    """What is left of the dose at the time that the decay was corrected to, in Bq."""
    tracers = dataset.get("RadiopharmaceuticalInformationSequence") or []
    if len(tracers) != 1:
        return None
    is_enhanced = facts is not dataset
    dose, half_life = number(tracers[0], "RadionuclideTotalDose"), number(tracers[0], "RadionuclideHalfLife")
    if dose is not None and is_enhanced and DOSE_MBQ[0] <= dose <= DOSE_MBQ[1]:
        dose *= 1e6
    if dose is None or not DOSE_BQ[0] <= dose <= DOSE_BQ[1]:
        return None
    corrected_to = text(dataset, "DecayCorrectionDateTime")
    correction = text(facts, "DecayCorrection")
    if correction == "ADMIN" and not corrected_to:
        return dose
    start = _moment(corrected_to[:8], corrected_to[8:]) if corrected_to else None
    if start is None and correction == "START":
        start = _start(dataset, facts)
    elapsed = None if start is None else _elapsed_s(dataset, tracers[0], start)
    if half_life is None or half_life <= 0 or elapsed is None:
        return None
    return dose * 2.0 ** (-elapsed / half_life) if DECAY_S[0] <= elapsed <= DECAY_S[1] else None


def _start(dataset: Dataset, facts: Dataset) -> datetime | None:
    """The time that the decay was corrected to: the series', unless a later step rewrote that."""
    series = _moment(text(dataset, "SeriesDate"), text(dataset, "SeriesTime"))
    stamp = text(facts, "FrameAcquisitionDateTime") or text(facts, "AcquisitionDateTime")
    acquired = _moment(text(facts, "AcquisitionDate"), text(facts, "AcquisitionTime")) or _moment(stamp[:8], stamp[8:])
    stamp = private_text(facts, GE_SCAN_START)
    scanned = _moment(stamp[:8], stamp[8:]) if stamp else None
    if series is None or acquired is None or acquired >= series:
        return series or acquired
    return scanned or acquired  # GE keeps the true start where a later step rewrote the series' time


def _elapsed_s(dataset: Dataset, tracer: Dataset, start: datetime) -> float | None:
    """From the injection to the start; None where it is not said, or said in two ways that disagree."""
    stamp, time = text(tracer, "RadiopharmaceuticalStartDateTime"), text(tracer, "RadiopharmaceuticalStartTime")
    injected = _moment(stamp[:8], stamp[8:])
    by_time = _moment(start.strftime("%Y%m%d"), time) if time else None
    if by_time is not None and by_time > start:
        by_time -= timedelta(days=1)  # injected before midnight
    if injected is None:
        return None if by_time is None else (start - by_time).total_seconds()
    if _is_elsewhere(stamp, text(dataset, "TimezoneOffsetFromUTC")) and by_time is None:
        return None
    elapsed = (start - injected).total_seconds()
    if by_time is not None and abs((start - by_time).total_seconds() - elapsed) > SAME_S:
        return None
    return elapsed


def _is_elsewhere(stamp: str, here: str) -> bool:
    """Whether the stamp's offset from UTC is said, and not known to be that of the file's other times."""
    offset = stamp[14:].lstrip(".0123456789")
    return bool(offset) and offset != here


def _moment(date: str, time: str) -> datetime | None:
    """A day and a time of it, to the second; None where either is missing."""
    clock = time.split("+")[0].split("-")[0].split(".")[0][:6]
    if len(date) < 8 or len(clock) < 2:
        return None
    try:
        return datetime.strptime(date[:8] + clock.ljust(6, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
