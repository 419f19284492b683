"""The child process: it may die, hang or be asked for too much; whoever asked lives on."""

from __future__ import annotations

import os
import signal

import nibabel as nib
import numpy as np
import pytest

from core.errors import RefusedError, UnreadableImageError
from core.progress import Cancelled
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


def test_of_many_files_only_the_one_at_which_the_child_died_is_lost(workspace, image):
    path, _ = image
    with Decoder(workspace) as decoder:
        expected = decoder.scan(path)

        def kill_once(done: float, total: float, message: str = "") -> None:
            if done == 150 and not killed:
                killed.append(decoder._process.pid)
                os.kill(killed[0], signal.SIGKILL)

        killed: list[int] = []
        found = decoder.scan_all([path] * 300, kill_once)
    errors = [n for n, answer in enumerate(found) if isinstance(answer, UnreadableImageError)]
    assert len(found) == 300 and len(errors) == 1 and errors[0] >= 150
    assert all(answer == expected for n, answer in enumerate(found) if n not in errors)


def test_a_file_that_cannot_be_read_is_told_in_its_place(workspace, image, tmp_path):
    path, _ = image
    (tmp_path / "bad").write_bytes(b"%PDF-1.4 and so on")
    with Decoder(workspace) as decoder:
        found = decoder.scan_all([path, tmp_path / "bad", path])
        assert found[0] == found[2] == decoder.scan(path)
    assert isinstance(found[1], RefusedError) and found[1].code == "NOT-AN-IMAGE"


def test_after_a_scan_that_was_broken_off_the_next_answer_is_the_right_one(workspace, image, tmp_path):
    path, data = image
    (tmp_path / "bad").write_bytes(b"%PDF-1.4 and so on")

    def stop(done: float, total: float, message: str = "") -> None:
        if done == 2:
            raise Cancelled

    with Decoder(workspace) as decoder:
        item = decoder.scan(path)[0]
        with pytest.raises(Cancelled):
            decoder.scan_all([tmp_path / "bad"] * 50, stop)
        np.testing.assert_array_equal(decoder.read([(path, item)], "T1").data, data)
