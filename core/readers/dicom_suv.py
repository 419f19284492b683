"""PET's standardised uptake value by body weight, computed before the header is dropped."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from core.readers.dicom_header import number, text
from core.readers.dicom_private import GE_SCAN_START, PHILIPS_ACTIVITY, PHILIPS_SUV, private_number, private_text

WEIGHT_KG = (1.0, 500.0)
DOSE_BQ = (1e6, 1e10)
DECAY_S = (0.0, 24 * 3600.0)


def suv_factor(dataset: Dataset) -> float | None:
    """g/ml per stored unit after rescaling, or None where the header does not allow it.

    Source:
        QIBA, SUV computation (https://qibawiki.rsna.org/index.php/Standardized_Uptake_Value_(SUV)), with the private
        tags of Philips and GE: SUV = activity * weight / dose at the time that the decay was corrected to.
    """
    units = text(dataset, "Units")
    if units == "GML":
        return 1.0 if text(dataset, "SUVType") in ("", "BW") else None
    corrections = text(dataset, "CorrectedImage").upper()
    if units not in ("BQML", "CNTS") or "DECY" not in corrections or "ATTN" not in corrections:
        return None
    becquerels = 1.0
    if units == "CNTS":  # Philips counts; its own factors say what a count is
        factor, activity = (private_number(dataset, tag) for tag in (PHILIPS_SUV, PHILIPS_ACTIVITY))
        if factor:
            return factor if factor > 0 else None
        if not activity or activity < 0:
            return None
        becquerels = activity
    weight = number(dataset, "PatientWeight")
    injected = _dose_at_scan(dataset)
    if weight is None or injected is None or not WEIGHT_KG[0] <= weight <= WEIGHT_KG[1]:
        return None
    return becquerels * weight * 1000.0 / injected


def _dose_at_scan(dataset: Dataset) -> float | None:
    tracers = dataset.get("RadiopharmaceuticalInformationSequence") or []
    if len(tracers) != 1:
        return None
    dose, half_life = number(tracers[0], "RadionuclideTotalDose"), number(tracers[0], "RadionuclideHalfLife")
    if dose is None or not DOSE_BQ[0] <= dose <= DOSE_BQ[1]:
        return None
    correction = text(dataset, "DecayCorrection")
    if correction == "ADMIN":
        return dose
    elapsed = _elapsed_s(dataset, tracers[0])
    if correction != "START" or half_life is None or half_life <= 0 or elapsed is None:
        return None
    return dose * 2.0 ** (-elapsed / half_life) if DECAY_S[0] <= elapsed <= DECAY_S[1] else None


def _elapsed_s(dataset: Dataset, tracer: Dataset) -> float | None:
    """From injection to the time that the decay was corrected to: the series', unless a later step rewrote that."""
    series = _moment(text(dataset, "SeriesDate"), text(dataset, "SeriesTime"))
    acquired = _moment(text(dataset, "AcquisitionDate"), text(dataset, "AcquisitionTime"))
    start = acquired if series is None or (acquired is not None and acquired < series) else series
    stamp = private_text(dataset, GE_SCAN_START)
    scanned = _moment(stamp[:8], stamp[8:]) if stamp else None
    if scanned is not None and acquired is not None and series is not None and acquired < series:
        start = scanned  # GE keeps the true start where a later step rewrote the series' time
    if start is None:
        return None
    stamp = text(tracer, "RadiopharmaceuticalStartDateTime")
    injected = _moment(stamp[:8], stamp[8:])
    if injected is None:
        injected = _moment(start.strftime("%Y%m%d"), text(tracer, "RadiopharmaceuticalStartTime"))
        if injected is not None and injected > start:
            injected -= timedelta(days=1)  # injected before midnight
    return None if injected is None else (start - injected).total_seconds()


def _moment(date: str, time: str) -> datetime | None:
    try:
        return datetime.strptime(
            date[:8] + time.split("+")[0].split("-")[0].split(".")[0][:6].ljust(6, "0"), "%Y%m%d%H%M%S"
        )
    except ValueError:
        return None
