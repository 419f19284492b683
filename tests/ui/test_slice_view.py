"""What the viewer is sent says what the volumes say."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest

from core.render import Window
from ui.comparison import caveat
from ui.slice_view import Pane, field_of_view, pack

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
SHAPE = (20, 25, 30)


def ct(low: float = -1024, high: float = 3000) -> np.ndarray:
    return np.linspace(low, high, np.prod(SHAPE)).astype(np.float32).reshape(SHAPE)


def unpacked(payload: bytes) -> tuple[dict, list[np.ndarray]]:
    end = 4 + struct.unpack("<I", payload[:4])[0]
    header, blobs = json.loads(payload[4:end]), payload[end:]
    volumes = []
    for pane in header["panes"]:
        if "at" in pane:
            start, length = pane["at"]
            voxels = np.frombuffer(gzip.decompress(blobs[start : start + length]), "<u2").reshape(header["shape"])
            volumes.append(voxels * pane["step"] + pane["offset"])
    return header, volumes


@pytest.mark.parametrize("high", [3000, 20_000])
def test_a_ct_arrives_within_half_a_hounsfield_unit(high):
    volume = ct(high=high)
    _, (arrived,) = unpacked(pack([Pane("a", "CT", "CT", volume, Window(0, 80), "HU")], AFFINE, ("a", "a")))
    np.testing.assert_allclose(arrived, volume, atol=0.51)


def test_a_constant_volume_arrives():
    volume = np.full(SHAPE, 7.0, np.float32)
    _, (arrived,) = unpacked(pack([Pane("a", "T1", "T1", volume, Window(0, 1))], AFFINE, ("a", "a")))
    np.testing.assert_allclose(arrived, 7.0)


def test_the_difference_is_not_sent_but_computed():
    panes = [
        Pane("target", "CT", "CT", ct(), Window(0, 80), "HU"),
        Pane("synthesis", "CT", "CT", ct() + 5, Window(0, 80), "HU", is_masked=True),
        Pane("difference", "d", "CT", ct() * 0 + 5, Window(-10, 10), "HU", "diverging", ("synthesis", "target"), True),
    ]
    header, volumes = unpacked(pack(panes, AFFINE, ("target", "synthesis"), mask=np.ones(SHAPE, bool)))
    assert len(volumes) == 2
    assert header["panes"][2]["subtract"] == ["synthesis", "target"]
    assert "Brain" in header["presets"]


def test_error_bars_lie_over_their_image_and_keep_a_contrast_of_their_own():
    made = Pane("synthesis", "CT", "CT", ct(), Window(0, 80), "HU", is_masked=True, bar="bar")
    bar = Pane("bar", "b", "CT", ct(0, 90), Window(0, 60), "HU", "doubt", is_masked=True, over="synthesis")
    header, volumes = unpacked(pack([made, bar], AFFINE, ("synthesis", "synthesis")))
    assert [pane["group"] for pane in header["panes"]] == ["CT", "bar"]
    assert (header["panes"][0]["bar"], header["panes"][1]["over"]) == ("bar", "synthesis")
    np.testing.assert_allclose(volumes[1], ct(0, 90), atol=0.02)


def test_the_same_content_has_the_same_id_and_other_content_another():
    first, again, other = (pack([Pane("a", "CT", "CT", ct() + n, Window(0, 1))], AFFINE, ("a", "a")) for n in (0, 0, 1))
    assert first == again
    assert unpacked(first)[0]["id"] != unpacked(other)[0]["id"]


def test_empty_rims_are_cropped_with_a_margin_in_millimetres():
    volume = np.zeros(SHAPE, np.float32)
    volume[8:12, 10:15, 14:16] = 1.0
    assert field_of_view([Pane("a", "T1", "T1", volume, Window(0, 1))], AFFINE) == [(2, 18), (7, 18), (12, 18)]


def test_a_warning_stands_where_the_source_cannot_carry_the_target():
    assert "contrast agent" in caveat(("T1", "T2"), "T1POST")
    assert "uptake" in caveat(("CT",), "PET")
    assert caveat(("SPECT",), "PET") == caveat(("PET",), "PET") == caveat(("T1",), "T2") == ""
