"""Our short way through a usual header gives what pydicom gives, on good files and on damaged ones."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from core.errors import UserError
from core.readers.dicom_raw import Header, _by_pydicom, _plain, read_header
from core.readers.dicom_walk import walk
from tests.hostile.test_mutations import GOOD, mutated
from tests.readers.dicom_files import phantom, slice_dataset, write


@pytest.fixture(autouse=True)
def _quiet():
    """pydicom warns of every oddity of the test files."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def rich(undefined: bool = False) -> Dataset:
    """A header with sequences in sequences, empty values, private blocks, long values and another character set."""
    ds = slice_dataset(phantom()[:, :, 0], (0, 0, 0), "1.2.826.0.1.8")
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", "Müller^Jörg"
    inner, outer = Dataset(), Dataset()
    inner.CodeValue, inner.CodeMeaning = "1", "Schädel"
    outer.PurposeOfReferenceCodeSequence = DicomSequence([inner, Dataset(), inner])
    outer.ReferencedSOPInstanceUID = "1.2.3"
    ds.ReferencedImageSequence = DicomSequence([outer, outer])
    ds.RequestAttributesSequence = DicomSequence([])
    for element in (ds["ReferencedImageSequence"], outer["PurposeOfReferenceCodeSequence"]):
        element.is_undefined_length = undefined
    inner.is_undefined_length_sequence_item = undefined
    ds.PatientComments, ds.PatientAge, ds.PatientWeight = "", None, None
    block = ds.private_block(0x0029, "SOMEBODY", create=True)
    block.add_new(1, "OB", bytes(range(256)) * 300)
    block.add_new(2, "UN", b"\x01\x02\x03\x04")
    block.add_new(3, "UT", "a long text " * 9000)
    ds.add_new(0x00189810, "SS", -5)
    return ds


def pairs(path: Path, wanted: frozenset[int] | None = None) -> tuple[Header, Header]:
    with path.open("rb") as stream:
        ours = read_header(stream, wanted)
    with path.open("rb") as stream:
        return ours, _by_pydicom(_plain(stream), wanted)


def outcome(dataset: Dataset, tag: Any) -> tuple[str, str]:
    try:
        return str(dataset[tag].VR), repr(dataset[tag].value)
    except Exception as error:  # noqa: BLE001  whatever it is, both should meet it
        return "", type(error).__name__


def check_alike(ours: Header, theirs: Header) -> None:
    assert (ours.encoding, ours.ends) == (theirs.encoding, theirs.ends)
    assert (ours.is_implicit, ours.is_little) == (theirs.is_implicit, theirs.is_little)
    first, second = ours.dataset(ours.elements), theirs.dataset(theirs.elements)
    for ours_, theirs_ in ((first, second), (first.file_meta, second.file_meta)):
        tags = list(theirs_.keys())
        assert sorted(ours_.keys()) == sorted(tags)
        assert [outcome(ours_, tag) for tag in tags] == [outcome(theirs_, tag) for tag in tags]


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("wanted", [None, frozenset({0x00080005, 0x00081140, 0x00280010, 0x00291002})])
def test_a_rich_header_is_as_pydicom_has_it(undefined, wanted, tmp_path):
    path = write(rich(undefined), tmp_path / "x.dcm")
    assert (b"\xfe\xff\xdd\xe0" in path.read_bytes()) == undefined
    walked = walk(path.read_bytes(), wanted)
    assert walked is not None and (wanted is None or set(walked.data) <= wanted)
    check_alike(*pairs(path, wanted))


def test_what_is_unusual_is_left_to_pydicom(tmp_path):
    ds = slice_dataset(phantom()[:, :, 0], (0, 0, 0), "1.2.826.0.1.8")
    content = write(ds, tmp_path / "x.dcm").read_bytes()
    kind = content.index(b"\x10\x00\x20\x00LO")  # the patient's id
    assert walk(content) is not None
    assert walk(content[:140]) is None and walk(content[: kind + 9]) is None
    assert walk(bytes(132) + content[132:]) is None
    assert walk(content[:kind] + b"\x10\x00\x20\x00ZZ" + content[kind + 6 :]) is None
    assert walk(content[: kind + 6] + b"\xff\xff" + content[kind + 8 :]) is None
    assert walk(content[:kind] + b"\0\0\0\0UL\x04\0\x01\0\0\0" + content[kind:]) is None


def test_endless_depth_and_endless_elements_are_not_followed(tmp_path):
    content = write(slice_dataset(phantom()[:, :, 0], (0, 0, 0), "1.2.826.0.1.8"), tmp_path / "x.dcm").read_bytes()
    place = content.index(b"\x10\x00\x20\x00LO")
    deep = (b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 5000
    assert walk(content[:place] + deep + content[place:]) is None
    assert walk(content[:place] + b"\x08\x00\x08\x00CS\x00\x00" * 30_000 + content[place:]) is None


def test_damaged_headers_are_as_pydicom_has_them(tmp_path):
    walked = 0
    for number in range(300):
        name = ("dcm", "rle.dcm", "j2k.dcm")[number % 3]
        path = tmp_path / "mutation.dcm"
        path.write_bytes(mutated(GOOD[name], np.random.default_rng(number)))
        try:
            if len(path.read_bytes()) < 200 or walk(path.read_bytes()) is None:
                continue
            ours, theirs = pairs(path)
        except UserError:
            continue
        check_alike(ours, theirs)
        walked += 1
    assert walked > 150


@pytest.mark.data
def test_real_headers_are_as_pydicom_has_them(real_data):
    walked = []
    for path in sorted((real_data / "dicom").rglob("*.dcm")):
        check_alike(*pairs(path))
        walked.append(walk(path.read_bytes()) is not None)
    assert sum(walked) > 0.9 * len(walked) > 50


def test_other_encodings_take_pydicoms_way(tmp_path):
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian):
        fresh = Dataset()
        fresh.update({element.tag: element for element in rich()})
        fresh.file_meta = rich().file_meta
        fresh.file_meta.TransferSyntaxUID = syntax
        ours, theirs = pairs(write(fresh, tmp_path / "x.dcm"))
        assert ours.is_implicit == (syntax == uid.ImplicitVRLittleEndian)
        assert ours.is_little == (syntax != uid.ExplicitVRBigEndian)
        check_alike(ours, theirs)
