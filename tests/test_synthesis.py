"""Loading a run, and whole volumes from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.dataset_writer import DatasetWriter
from core.errors import DeviceError, InvalidConfigError, NotFoundError, UserError
from core.models import MODELS
from core.synthesis import LoadedRun, load_run, pick_device, synthesise_case, to_unit
from core.workspace import Workspace
from tests.tiny_run import HU, Blend, load_tiny, make_dataset, make_run, prepared_case, tiny

__all__ = ["tiny"]


def volume(loaded: LoadedRun, case_id: str, modality: str) -> np.ndarray:
    return np.array(loaded.dataset.volume(case_id, modality))


def test_a_synthesis_is_a_whole_volume_on_the_cases_grid(tiny):
    images = synthesise_case(tiny, "case-0", ["T1", "CT"], ["T2"])
    assert set(images) == {"T2"}
    assert images["T2"].dtype == np.float32
    expected = (volume(tiny, "case-0", "T1") + volume(tiny, "case-0", "CT")) / 2
    np.testing.assert_allclose(images["T2"], expected, atol=1e-6)


def test_the_source_may_come_from_another_case(tiny):
    images = synthesise_case(tiny, "case-3", ["T2"], ["T1"], source_case="case-1")  # case-3 itself has no T2
    np.testing.assert_allclose(images["T1"], volume(tiny, "case-1", "T2"), atol=1e-6)


def test_what_is_asked_for_wrongly_is_a_sentence(tiny):
    with pytest.raises(NotFoundError, match="has no T2"):
        synthesise_case(tiny, "case-3", ["T2"], ["T1"])
    with pytest.raises(InvalidConfigError, match="has not learnt PET"):
        synthesise_case(tiny, "case-0", ["PET"], ["T1"])
    with pytest.raises(InvalidConfigError, match="does not make PET"):
        synthesise_case(tiny, "case-0", ["T1"], ["PET"])
    with pytest.raises(NotFoundError, match="no case case-9"):
        synthesise_case(tiny, "case-9", ["T1"], ["T2"])
    with pytest.raises(InvalidConfigError, match="at least one"):
        synthesise_case(tiny, "case-0", [], ["T2"])


@pytest.mark.parametrize("damage", ["flip", "cut", "no checksum"])
def test_damaged_weights_are_noticed(tiny, workspace, damage):
    path = tiny.run.weights_path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    if damage == "no checksum":
        path.with_suffix(".sha256").unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-4])
    with pytest.raises(UserError) as error:
        load_run(workspace, tiny.run)
    assert error.value.code == "WEIGHTS-DAMAGED"


def test_weights_of_other_modalities_do_not_fit(tiny, workspace):
    other = make_run(workspace, tiny.dataset, modalities=("T1", "T2"))
    for name in ("weights.safetensors", "weights.sha256"):
        (other.folder / name).write_bytes((tiny.run.folder / name).read_bytes())
    with pytest.raises(UserError) as error:
        load_run(workspace, other)
    assert error.value.code == "WEIGHTS-MISFIT"


def test_a_run_without_weights_is_a_sentence(tiny, workspace):
    with pytest.raises(NotFoundError, match="no weights yet"):
        load_run(workspace, make_run(workspace, tiny.dataset))


def test_a_dataset_that_changed_since_is_noticed(tiny, workspace):
    make_dataset(workspace, n_cases=4)
    with pytest.raises(InvalidConfigError) as error:
        load_run(workspace, tiny.run)
    assert error.value.code == "DATASET-CHANGED"


def test_a_run_knows_the_modalities_it_learnt_from(workspace, monkeypatch):
    monkeypatch.setitem(MODELS, "blend", Blend)
    loaded = load_tiny(workspace, make_dataset(workspace), modalities=("T2", "CT"))
    assert loaded.modalities == ("T2", "CT")
    with pytest.raises(InvalidConfigError, match="has not learnt T1"):
        synthesise_case(loaded, "case-0", ["T1"], ["T2"])


def test_a_gpu_that_is_not_there_is_a_device_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(DeviceError, match="no CUDA GPU"):
        pick_device("cuda")
    with pytest.raises(InvalidConfigError, match="auto, cpu, cuda"):
        pick_device("tpu")


def test_hounsfield_units_come_back_and_arbitrary_ones_stay(tiny):
    prepared = prepared_case("case-0", 0)
    ct = to_unit(tiny.dataset, "case-0", "CT", prepared.images["CT"])
    assert ct.unit == "HU"
    np.testing.assert_allclose(ct.data, prepared.images["CT"] * HU[0] + HU[1], rtol=1e-6)
    t1 = to_unit(tiny.dataset, "case-0", "T1", prepared.images["T1"])
    assert t1.unit == "a.u."
    np.testing.assert_array_equal(t1.data, prepared.images["T1"])


def test_a_case_without_a_ct_still_gets_hounsfield_units_where_all_others_share_them(workspace: Workspace):
    writer = DatasetWriter(workspace, "mixed")
    writer.add(prepared_case("a", 0))
    writer.add(prepared_case("b", 1, ("T1", "T2")))
    dataset = writer.finish("mixed", {}, simulated=True)
    data = np.full(dataset.shape, 0.25, np.float32)
    ct = to_unit(dataset, "b", "CT", data)
    assert ct.unit == "HU"
    np.testing.assert_allclose(ct.data, 0.25 * HU[0] + HU[1])
