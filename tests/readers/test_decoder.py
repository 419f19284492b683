"""The child process: it may die, hang or be asked for too much; whoever asked lives on."""

from __future__ import annotations

import os
import signal

import nibabel as nib
import numpy as np
import pytest

from core.errors import UnreadableImageError
from core.readers import decoder as module
from core.readers.decoder import Decoder


@pytest.fixture
def image(tmp_path):
    data = np.arange(120, dtype="i2").reshape(4, 5, 6)
    nib.save(nib.Nifti1Image(data, np.diag([1, 2, 3, 1])), tmp_path / "x.nii")
    return tmp_path / "x.nii", data


def test_a_child_that_dies_is_a_sentence_and_the_next_request_works(workspace, image, monkeypatch):
    path, data = image
    with Decoder(workspace) as decoder:
        items = decoder.scan(path)
        os.kill(decoder._process.pid, signal.SIGSTOP)  # a decoder that hangs
        monkeypatch.setattr(module, "SCAN_SECONDS", 0.2)
        with pytest.raises(UnreadableImageError) as caught:
            decoder.scan(path)
        assert caught.value.code == "DECODER-DIED"
        monkeypatch.setattr(module, "SCAN_SECONDS", 60.0)
        volume = decoder.read([(path, items[0])], "T1")
        np.testing.assert_array_equal(volume.data, data)
        os.kill(decoder._process.pid, signal.SIGKILL)
        with pytest.raises(UnreadableImageError):
            decoder.scan(path)
        assert decoder.scan(path) == items


def test_nothing_is_left_behind(workspace, image):
    path, _ = image
    with Decoder(workspace) as decoder:
        decoder.read([(path, decoder.scan(path)[0])], "T1")
        process, folder = decoder._process, decoder._folder.name
    assert process.returncode is not None
    assert not os.path.exists(folder)
