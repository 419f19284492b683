"""NIfTI: the right place, the right values, and refusal of every kind of damage."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.readers import nifti
from core.readers.item import Item
from core.readers.registry import scan_file

MARK_MM = np.array([-11.0, -24.0, 39.0])
SHAPE, SPACING = (4, 5, 6), (1.0, 2.0, 3.0)


def pseudonym(text: str) -> str:
    return text


def affine_for(axes: str, mark: tuple[int, int, int], tilt: float = 0.0) -> np.ndarray:
    """Axes as named, `mark` at MARK_MM, turned by `tilt` radians about the patient's long axis."""
    matrix = np.zeros((3, 3))
    for column, letter in enumerate(axes):
        row = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[letter]
        matrix[row, column] = SPACING[column] * (1 if letter in "RAS" else -1)
    c, s = np.cos(tilt), np.sin(tilt)
    matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ matrix
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = MARK_MM - matrix @ mark
    return affine


def values(dtype: str = "i2") -> np.ndarray:
    return (np.arange(120).reshape(SHAPE) + 30).astype(dtype)


def save(path: Path, data: np.ndarray | None = None, affine: np.ndarray | None = None, kind: type = nib.Nifti1Image):
    image = kind(values() if data is None else data, affine_for("LPS", (1, 2, 3)) if affine is None else affine)
    nib.save(image, path)
    return image


def read(path: Path, modality: str = "T1"):
    scan_file(path, pseudonym)
    return nifti.read([(path, Item("nifti", ()))], modality)


def code_of(path: Path, modality: str = "T1") -> str:
    with pytest.raises(UserError) as caught:
        read(path, modality)
    return caught.value.code


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL", "LAS", "ILP"])
@pytest.mark.parametrize("tilt", [0.0, 0.2])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_marked_voxel_keeps_its_place_in_the_patient(axes, tilt, kind, tmp_path):
    data = values()
    data[1, 2, 3] = 9999
    save(tmp_path / "x.nii.gz", data, affine_for(axes, (1, 2, 3), tilt), kind)
    volume = read(tmp_path / "x.nii.gz")
    voxel = np.argwhere(volume.data == 9999)[0]
    np.testing.assert_allclose((volume.affine @ [*voxel, 1])[:3], MARK_MM, atol=1e-4)
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    assert sorted(volume.data.ravel()) == sorted(data.ravel())


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "f4", "f8", ">i2", "u8"])
def test_every_kind_of_number_is_read_and_scaled(dtype, tmp_path):
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(np.dtype(dtype))
    header.set_data_shape(SHAPE)
    header.set_sform(np.diag([1, 2, 3, 1]), 1)
    header["scl_slope"], header["scl_inter"], header["vox_offset"], header["magic"] = 0.5, -7, 352, b"n+1"
    (tmp_path / "x.nii").write_bytes(header.binaryblock + bytes(4) + (values() - 30).astype(dtype).tobytes(order="F"))
    np.testing.assert_allclose(read(tmp_path / "x.nii").data, (values() - 30.0) * 0.5 - 7)


def test_a_cut_file_is_refused(tmp_path):
    for name in ("x.nii", "x.nii.gz"):
        save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for share in (0.2, 0.6, 0.99):
            (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
            assert code_of(tmp_path / name) == "NII-TRUNCATED"


def test_a_gzip_without_its_trailer_is_refused(tmp_path):
    save(tmp_path / "x.nii.gz")
    (tmp_path / "x.nii.gz").write_bytes((tmp_path / "x.nii.gz").read_bytes()[:-8])
    assert code_of(tmp_path / "x.nii.gz") == "NII-TRUNCATED"


def test_a_gzip_with_a_wrong_checksum_is_refused(tmp_path):
    save(tmp_path / "x.nii.gz")
    content = bytearray((tmp_path / "x.nii.gz").read_bytes())
    content[-6] ^= 1
    (tmp_path / "x.nii.gz").write_bytes(content)
    assert code_of(tmp_path / "x.nii.gz") == "NII-GZIP"


def test_extra_bytes_are_refused(tmp_path):
    save(tmp_path / "x.nii")
    content = (tmp_path / "x.nii").read_bytes() + b"more"
    (tmp_path / "x.nii").write_bytes(content)
    assert code_of(tmp_path / "x.nii") == "NII-LENGTH"
    (tmp_path / "x.nii").write_bytes(gzip.compress(content))
    assert code_of(tmp_path / "x.nii") == "NII-LENGTH"


@pytest.mark.parametrize(
    ("place", "content", "code"),
    [
        (40, struct.pack("<8h", 3, 4, -5, 6, 1, 1, 1, 1), "NII-DIMENSIONS"),
        (40, struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1), "NII-DIMENSIONS"),
        (40, struct.pack("<8h", 3, 16000, 16000, 16000, 1, 1, 1, 1), "TOO-LARGE"),
        (40, struct.pack("<8h", 9, 4, 5, 6, 1, 1, 1, 1), "NII-DIMENSIONS"),
        (70, struct.pack("<hh", 128, 24), "NII-RGB"),
        (70, struct.pack("<hh", 32, 64), "NII-DATATYPE"),
        (70, struct.pack("<hh", 4, 32), "NII-DATATYPE"),
        (70, struct.pack("<hh", 77, 16), "NII-DATATYPE"),
        (108, struct.pack("<f", 12), "NII-OFFSET"),
        (108, struct.pack("<f", float("nan")), "NII-OFFSET"),
        (112, struct.pack("<ff", float("inf"), 0), "NII-SCALING"),
        (280, struct.pack("<f", float("nan")), "GEOMETRY"),
        (280, bytes(48), "SPACING"),
        (123, b"\x07", "NII-UNITS"),
        (344, b"ni1\0", "NII-PAIR"),
    ],
)
def test_an_impossible_header_is_refused_by_name(place, content, code, tmp_path):
    save(tmp_path / "x.nii")
    whole = bytearray((tmp_path / "x.nii").read_bytes())
    whole[place : place + len(content)] = content
    (tmp_path / "x.nii").write_bytes(whole)
    assert code_of(tmp_path / "x.nii") == code


def test_a_single_frame_of_four_axes_is_a_volume(tmp_path):
    save(tmp_path / "x.nii", values()[..., None])
    assert read(tmp_path / "x.nii").data.shape == SHAPE


def test_metres_and_micrometres_become_millimetres(tmp_path):
    for unit, factor in (("meter", 1000.0), ("micron", 0.001)):
        image = nib.Nifti1Image(values(), np.diag([1 / factor, 2 / factor, 3 / factor, 1]))
        image.header.set_xyzt_units(unit)
        nib.save(image, tmp_path / "x.nii")
        np.testing.assert_allclose(read(tmp_path / "x.nii").spacing_mm, SPACING, rtol=1e-5)


def test_the_sform_is_used_and_a_different_qform_is_said(tmp_path):
    image = nib.Nifti1Image(values(), np.diag([1, 2, 3, 1]))
    image.set_sform(affine_for("RAS", (0, 0, 0)), 2)
    image.set_qform(affine_for("LPS", (0, 0, 0)), 1)
    nib.save(image, tmp_path / "x.nii")
    volume = read(tmp_path / "x.nii")
    np.testing.assert_allclose(volume.affine[:3, 3], MARK_MM)
    assert volume.warnings == ("NII-FORMS-DISAGREE",)


def test_no_orientation_is_said(tmp_path):
    image = nib.Nifti1Image(values(), None)
    image.header.set_zooms(SPACING)
    nib.save(image, tmp_path / "x.nii")
    volume = read(tmp_path / "x.nii")
    assert volume.warnings == ("NII-NO-ORIENTATION",)
    np.testing.assert_allclose(volume.spacing_mm, SPACING)


def test_a_few_values_that_are_no_numbers_are_repaired_and_many_refused(tmp_path):
    data = values("f4")
    data[0, 0, 0] = np.nan
    save(tmp_path / "x.nii", data)
    volume = read(tmp_path / "x.nii")
    assert volume.data.min() == 31
    assert volume.warnings == ("NON-FINITE-REPLACED",)
    data[0] = np.inf
    save(tmp_path / "x.nii", data)
    assert code_of(tmp_path / "x.nii") == "NON-FINITE"


def test_a_blank_image_is_refused_but_not_an_empty_mask(tmp_path):
    save(tmp_path / "x.nii", np.zeros(SHAPE, "i2"))
    assert code_of(tmp_path / "x.nii") == "CONSTANT"
    assert read(tmp_path / "x.nii", "lesion_mask").unit == "label"


def test_a_mask_holds_whole_numbers(tmp_path):
    save(tmp_path / "x.nii", values("f4") + 0.5)
    assert code_of(tmp_path / "x.nii", "mask") == "LABEL-VALUES"


def test_ct_is_in_hounsfield_units_where_the_values_allow(tmp_path):
    save(tmp_path / "x.nii", values("f4") * 10 - 1000)
    assert read(tmp_path / "x.nii", "CT").unit == "HU"
    save(tmp_path / "x.nii", values("f4"))
    assert read(tmp_path / "x.nii", "CT").warnings == ("CT-NOT-HU",)
    save(tmp_path / "x.nii", values("f4") * 1000 - 50_000)
    assert code_of(tmp_path / "x.nii", "CT") == "CT-RANGE"


def test_a_gzip_that_promises_gigabytes_is_refused_at_once(tmp_path):
    save(tmp_path / "x.nii")
    head = bytearray((tmp_path / "x.nii").read_bytes()[:352])
    head[40:56] = struct.pack("<8h", 3, 800, 800, 800, 1, 1, 1, 1)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(bytes(head) + bytes(10**7)))
    assert code_of(tmp_path / "x.nii.gz") == "NII-TRUNCATED"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 351), byte=st.integers(0, 255))
def test_a_changed_byte_of_the_header_never_gets_past_the_checks(place, byte, tmp_path):
    path = tmp_path / "x.nii"
    if not (tmp_path / "good").exists():
        save(path)
        (tmp_path / "good").write_bytes(path.read_bytes())
    content = bytearray((tmp_path / "good").read_bytes())
    content[place] = byte
    path.write_bytes(content)
    try:
        volume = read(path)
    except UserError:
        return
    assert volume.data.size == 120
    assert np.isfinite(volume.affine).all()


@pytest.mark.data
def test_real_files_lie_where_nibabel_reads_them(real_data):
    for path in sorted(real_data.glob("templates_mni_2mm/*.nii.gz")):
        volume, image = read(path), nib.as_closest_canonical(nib.load(path))
        np.testing.assert_allclose(volume.affine, image.affine, atol=1e-4)
        np.testing.assert_allclose(volume.data, image.get_fdata(), rtol=1e-5, atol=1e-5)
