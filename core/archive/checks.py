"""What stands in an archive's files, looked at before one is let in: sizes by arithmetic, numbers only, no code."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from core.archive.records import CaseRecord, CohortInfo, Ended, Index
from core.config import RunConfig
from core.dataset import fingerprint_of
from core.errors import RefusedError
from core.unpack import DAMAGE, check_entries, check_swelling

MAX_JSON_BYTES = 64 * 1024**2
MAX_HEADER_BYTES = 10_000
MAX_TEXT = 128  # characters of a name in an array
NIFTI_BYTES = 352  # header and the mark that nothing more follows


def refused(what: str = "") -> RefusedError:
    """The one answer to whatever is not as this program writes it; says which kind of file, never what stands in it."""
    named = f" ({what})" if what else ""
    return RefusedError(
        f"A file in this export is not as it should be{named}. Export again; nothing was taken in.", "ARCHIVE-CONTENT"
    )


def read_json(path: Path) -> Any:
    """Strict JSON of a limited size.

    Raises:
        RefusedError: It is not.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise refused("a text of more than 64 MB")
    try:
        return json.loads(path.read_bytes(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise refused("no JSON") from error


def _no_constant(text: str) -> None:
    raise ValueError(text)


def _record(kind: type[BaseModel], values: Any) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise refused("a record with unknown or unfit entries") from error


def cohort_info(path: Path) -> None:
    _record(CohortInfo, read_json(path))


def case_record(path: Path) -> CaseRecord:
    record: CaseRecord = _record(CaseRecord, read_json(path))
    if record.id != path.parent.name:
        raise refused("a case under another's name")
    for modality, facts in record.volumes.items():
        image = path.with_name(f"{modality}.nii")
        if not image.exists() or _shape(image) != facts.shape:
            raise refused("a case without one of its images")
    return record


def index(path: Path) -> Index:
    found: Index = _record(Index, read_json(path))
    cases = (*found.cases, *found.excluded)
    is_one = len({case.id for case in cases}) == len(cases)
    is_summed = found.fingerprint == fingerprint_of([case.model_dump() for case in found.cases])
    if found.name != path.parent.name or not is_one or not is_summed:
        raise refused("a dataset that contradicts itself")
    i, j, k = found.shape
    for case in cases:
        wanted = {"images": ((k, len(case.modalities), i, j), "float32"), "mask": (found.shape, "bool")}
        wanted |= {name: (found.shape, "uint8") for name in case.label_maps}
        for name, (shape, dtype) in wanted.items():
            array = path.parent / case.id / f"{name}.npy"
            if not array.exists() or npy_header(array) != (tuple(shape), np.dtype(dtype)):
                raise refused("a prepared case without one of its arrays")
    return found


def config(path: Path) -> None:
    _record(RunConfig, read_json(path))


def state(path: Path) -> Ended:
    values = read_json(path)
    if not isinstance(values, dict):
        raise refused("a run's state")
    ended: Ended = _record(Ended, {name: values[name] for name in Ended.model_fields if name in values})
    return ended


def history(path: Path) -> None:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise refused("curves of more than 64 MB")
    for line in path.read_bytes().splitlines():
        try:
            values = json.loads(line, parse_constant=_nan_is_fine)
        except (ValueError, RecursionError) as error:
            raise refused("curves") from error
        if not isinstance(values, dict) or not all(
            isinstance(value, int | float) or (isinstance(value, str) and value in ("train", "val"))
            for value in values.values()
        ):
            raise refused("curves")


def _nan_is_fine(text: str) -> float:
    return float(text)


def results(path: Path) -> None:
    if not isinstance(read_json(path), dict):
        raise refused("results")


def doubt(path: Path) -> None:
    found = read_json(path)
    parts = {"run": str, "protocol": dict, "pairs": list}
    if not isinstance(found, dict) or not all(isinstance(found.get(name), kind) for name, kind in parts.items()):
        raise refused("error bars")


def regions(path: Path) -> None:
    """Scores of regions: numbers under short names, a line for each row of the results."""
    lines = read_json(path)
    if not isinstance(lines, list) or len(lines) != _n_rows(path.with_name("results.json")):
        raise refused("scores of regions")
    for line in lines:
        if not isinstance(line, dict) or not all(
            len(name) <= MAX_TEXT and (value is None or isinstance(value, int | float)) for name, value in line.items()
        ):
            raise refused("scores of regions")


def _n_rows(path: Path) -> int:
    """Of a run's results; -1 where it has none."""
    found = read_json(path) if path.exists() else None
    rows = found.get("rows") if isinstance(found, dict) else None
    return len(rows) if isinstance(rows, list) else -1


def weights_sum(path: Path) -> None:
    text = path.read_bytes()[:200].split()
    if not text or len(text[0]) != 64 or path.stat().st_size > 200:
        raise refused("a checksum")


def weights(path: Path) -> None:
    """The header is read, the numbers are not; safetensors holds nothing else."""
    try:
        with safe_open(path, framework="np") as found:
            found.keys()
    except (SafetensorError, OSError, ValueError) as error:
        raise refused("weights") from error


def image(path: Path) -> None:
    """A NIfTI as `save_nifti` writes it: exactly as long as its header says, and not a word in it."""
    header = _nifti(path)
    sizes = [int(n) for n in header["dim"][1:4]]
    n_bytes = math.prod(sizes) * header.get_data_dtype().itemsize
    is_plain = int(header["dim"][0]) == 3 and min(sizes) > 0 and header.get_data_dtype() in (np.int16, np.float32)
    if not is_plain or path.stat().st_size != NIFTI_BYTES + n_bytes or float(header["vox_offset"]) != NIFTI_BYTES:
        raise refused("an image whose size is not what it says")
    words = (header[name].tobytes() for name in ("descrip", "aux_file", "intent_name", "db_name", "data_type"))
    if any(word.strip(b"\0") for word in words):
        raise refused("an image with text in its header")


def _nifti(path: Path) -> Any:
    with path.open("rb") as stream:
        content = stream.read(NIFTI_BYTES)
    try:
        if len(content) < NIFTI_BYTES or content[348:] != bytes(4):
            raise refused("an image")
        return nib.nifti1.Nifti1Header(content[:348], check=True)
    except (nib.spatialimages.HeaderDataError, ValueError, struct.error) as error:
        raise refused("an image") from error


def _shape(path: Path) -> tuple[int, ...]:
    return tuple(int(n) for n in _nifti(path)["dim"][1:4])


def npy_header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and kind of an array that is exactly as long as it says."""
    with path.open("rb") as stream:
        return _array(stream, path.stat().st_size, "biuf")


def array(path: Path) -> None:
    npy_header(path)


def arrays(path: Path) -> None:
    """An `.npz`: every array plain numbers or short names, of the size that the archive's table says."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            entries = archive.infolist()
            check_entries(entries, raw, archive.start_dir)
            check_swelling(sum(entry.file_size for entry in entries), path.stat().st_size)
            for entry in entries:
                if not entry.filename.endswith(".npy") or "/" in entry.filename:
                    raise refused("arrays")
                with archive.open(entry) as stream:
                    _array(stream, entry.file_size, "biufU")
    except DAMAGE as error:
        raise refused("arrays") from error


def _array(stream: IO[bytes], size: int, kinds: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, _, dtype = read(stream, max_header_size=MAX_HEADER_BYTES)
    except (ValueError, KeyError, SyntaxError, TypeError, RecursionError) as error:
        raise refused("an array's header") from error
    is_short = dtype.itemsize <= (4 * MAX_TEXT if dtype.kind == "U" else 8)
    if dtype.kind not in kinds or not is_short or any(not isinstance(n, int) or n < 0 for n in shape):
        raise refused("an array of something else than numbers")
    if stream.tell() + math.prod(shape) * dtype.itemsize != size:
        raise refused("an array whose size is not what it says")
    return shape, dtype


CHECKS: dict[str, Callable[[Path], Any]] = {  # kind of file (layout.PATTERNS) -> what looks at it
    "image": image,
    "array": array,
    "cohort": cohort_info,
    "case": case_record,
    "index": index,
    "config": config,
    "state": state,
    "history": history,
    "weights": weights,
    "sum": weights_sum,
    "results": results,
    "regions": regions,
    "uncertainty": doubt,
    "arrays": arrays,
}
