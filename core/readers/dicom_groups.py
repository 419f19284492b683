"""What an enhanced (multi-frame) file says of one of its frames, in the words of a file with a single frame."""

from __future__ import annotations

from pydicom.dataset import Dataset

from core.readers.dicom_header import number, text

UNITS = {"Bq/ml": "BQML", "Bq/mL": "BQML", "g/ml{SUVbw}": "GML", "{SUVbw}g/ml": "GML"}  # UCUM -> the PET image module


def functional_group(dataset: Dataset, frame: int) -> Dataset:
    """One frame's facts as if it were a file of its own: the shared ones, overruled by the frame's.

    A legacy converted file keeps the words of its single frames in sequences of their own, which are taken too. Values
    of PET are mapped to Bq/ml or SUV by their real world value mapping, where there is one.
    """
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        return dataset
    flat = Dataset()
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    groups = (shared[0], dataset.PerFrameFunctionalGroupsSequence[frame])
    for group in groups:
        for element in group:
            if element.VR == "SQ" and len(element.value) == 1:
                flat.update(element.value[0])
    mappings = next((list(g.RealWorldValueMappingSequence) for g in groups[::-1] if _has_mapping(g)), [])
    _map(flat, mappings)
    return flat


def _has_mapping(group: Dataset) -> bool:
    return bool(group.get("RealWorldValueMappingSequence"))


def _map(flat: Dataset, mappings: list[Dataset]) -> None:
    """Put the one mapping to SUV, else the one to Bq/ml, in the place of the rescaling."""
    by_unit: dict[str, list[Dataset]] = {}
    for mapping in mappings:
        codes = mapping.get("MeasurementUnitsCodeSequence") or [Dataset()]
        by_unit.setdefault(UNITS.get(text(codes[0], "CodeValue"), ""), []).append(mapping)
    unit = next((name for name in ("GML", "BQML") if len(by_unit.get(name, [])) == 1), "")
    if not unit:
        return
    slope, intercept = (number(by_unit[unit][0], f"RealWorldValue{name}") for name in ("Slope", "Intercept"))
    if slope is not None and intercept is not None:
        flat.add_new("RescaleSlope", "FD", slope)  # as a double: the usual text of 16 letters would round it
        flat.add_new("RescaleIntercept", "FD", intercept)
        flat.Units = unit
