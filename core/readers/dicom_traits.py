"""What tells the volumes of one series apart: what kind each slice is of, and when it was taken."""

from __future__ import annotations

import math
import zlib
from datetime import datetime

from pydicom.dataset import Dataset

from core.deidentify import Pseudonym
from core.readers.dicom_header import b_value, image_type, number, numbers, text
from core.readers.dicom_private import GE_COMPONENT, SIEMENS_GRADIENT, private_number, private_numbers

GE_COMPONENTS = {1.0: "PHASE", 2.0: "REAL", 3.0: "IMAGINARY"}
COMPONENTS = {"P": "PHASE", "PHASE": "PHASE", "R": "REAL", "REAL": "REAL", "I": "IMAGINARY", "IMAGINARY": "IMAGINARY"}
COMPONENTS |= {"PHASE MAP": "PHASE"}
CLOCK_RANGE_S = 10**9


def traits(dataset: Dataset, facts: Dataset, pseudonym: Pseudonym) -> tuple[str, ...]:
    """Kind of picture, echo, diffusion weighting, inversion, flip angle, gradient: short words; "" where not said.

    Args:
        dataset: the file.
        facts: what it says of one frame; of a file of one frame, the same.
    """
    types = "/".join((*image_type(dataset), text(facts, "FrameType"), text(facts, "ComplexImageComponent")))
    component = component_of(dataset, facts)
    kind = f"{component}#{pseudonym(f'type/{types}/{component}')}"
    echo = _first(facts, "EffectiveEchoTime", "EchoTime") or _first(facts, "EchoNumbers")
    weighting = b_value(facts)
    return (
        kind,
        _word("TE", echo),
        _word("b", weighting),
        _word("TI", _first(facts, "InversionTime", "InversionTimes")),
        _word("FA", _first(facts, "FlipAngle")),
        ",".join(f"{part:.3f}" for part in _gradient(facts)) if weighting else "",
    )


def component_of(dataset: Dataset, facts: Dataset) -> str:
    """ "PHASE", "REAL", "IMAGINARY" where the picture is that part of a complex value; "" for a magnitude."""
    said = (text(facts, "ComplexImageComponent").upper(), *image_type(dataset)[2:])
    by_name = next((COMPONENTS[word] for word in said if word in COMPONENTS), "")
    return by_name or GE_COMPONENTS.get(private_number(dataset, GE_COMPONENT) or 0.0, "")


def times(facts: Dataset, series: str) -> tuple[float | None, ...]:
    """Position in time, acquisition, frame's reference time, trigger delay, time taken, time written; None if not said.

    Times of the clock are seconds since a moment that only this series' key tells: they order slices, and no more.
    """
    start = zlib.crc32(f"clock/{series}".encode()) % CLOCK_RANGE_S
    taken = _seconds(text(facts, "FrameAcquisitionDateTime") or text(facts, "AcquisitionDateTime"))
    if taken is None:
        taken = _seconds(text(facts, "AcquisitionDate") or "20000101", text(facts, "AcquisitionTime"))
    written = _seconds(text(facts, "ContentDate") or "20000101", text(facts, "ContentTime"))
    return (
        _first(facts, "TemporalPositionIndex", "TemporalPositionIdentifier"),
        _first(facts, "FrameAcquisitionNumber", "AcquisitionNumber"),
        _first(facts, "FrameReferenceTime"),
        _first(facts, "NominalCardiacTriggerDelayTime", "TriggerTime"),
        None if taken is None else taken - start,
        None if written is None else written - start,
    )


def _first(facts: Dataset, *tags: str) -> float | None:
    found = (number(facts, tag) for tag in tags)
    return next((value for value in found if value is not None), None)


def _word(name: str, value: float | None) -> str:
    return "" if value is None else f"{name}{value:.6g}"


def _gradient(facts: Dataset) -> tuple[float, ...]:
    nested = facts.get("DiffusionGradientDirectionSequence") or []
    found = numbers(nested[0] if nested else facts, "DiffusionGradientOrientation")
    return found or private_numbers(facts, SIEMENS_GRADIENT)


def _seconds(date: str, time: str = "") -> float | None:
    """A DICOM date and time (or both in one) in seconds, with its fraction."""
    stamp = (date[:8] + time if time else date).split("+")[0].split("-")[0]
    whole, _, fraction = stamp.partition(".")
    try:
        moment = datetime.strptime(whole.ljust(14, "0")[:14], "%Y%m%d%H%M%S")
        seconds = (moment - datetime(2000, 1, 1)).total_seconds() + float(f"0.{fraction or 0}")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and len(stamp) > 8 else None
