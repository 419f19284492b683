"""Checkpoints: whole or not there, checked when read, the one before where the newest is damaged."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from core.checkpoints import FOLDER, forget_checkpoints, has_checkpoint, read_checkpoint, write_checkpoint
from core.disk import is_disk_full
from tests.conftest import REPOSITORY

TENSORS = {"a": torch.arange(24.0).reshape(2, 3, 4), "rng": torch.tensor([7, 255], dtype=torch.uint8)}


def write(folder: Path, step: int) -> None:
    write_checkpoint(folder, step, {**TENSORS, "step": torch.tensor(float(step))}, {"step": step, "big": 2**127 + step})


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None and not has_checkpoint(tmp_path)
    write(tmp_path, 5)
    found = read_checkpoint(tmp_path)
    assert found is not None and (found.step, found.n_broken) == (5, 0)
    assert found.state == {"step": 5, "big": 2**127 + 5}
    assert all(torch.equal(found.tensors[name], value) for name, value in TENSORS.items())
    assert has_checkpoint(tmp_path)
    forget_checkpoints(tmp_path)
    assert not has_checkpoint(tmp_path)


def test_only_the_newest_two_are_kept_and_tensors_of_a_step_can_be_written_again(tmp_path: Path) -> None:
    for step in (5, 90, 1000, 1000):
        write(tmp_path, step)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["00000090", "00001000"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "sha256.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, name: str, damage: str) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2)
    path = tmp_path / FOLDER / "00000002" / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    found = read_checkpoint(tmp_path)
    assert found is not None and (found.step, found.n_broken) == (1, 1)


def test_where_all_are_damaged_there_is_none(tmp_path: Path) -> None:
    write(tmp_path, 1)
    (tmp_path / FOLDER / "00000001" / "state.json").write_text("{}")
    assert read_checkpoint(tmp_path) is None


def test_a_full_disk_leaves_the_one_before_whole(tmp_path: Path) -> None:
    write(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(OSError) as caught:
            write(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert is_disk_full(caught.value)
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["00000001"]
    found = read_checkpoint(tmp_path)
    assert found is not None and found.step == 1


def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    code = "import sys, itertools; from pathlib import Path; import tests.jobs.test_checkpoints as t\n"
    code += "for n in itertools.count(1): t.write(Path(sys.argv[1]), n); print(n, flush=True)"
    for delay_s in (0.003, 0.029):
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 3:
            pass
        time.sleep(delay_s)
        os.kill(writer.pid, signal.SIGKILL)
        last_said = max([3, *map(int, writer.stdout.read().split())])
        writer.wait()
        found = read_checkpoint(tmp_path)
        assert found is not None and found.n_broken == 0
        assert found.step in (last_said, last_said + 1)
        forget_checkpoints(tmp_path)
