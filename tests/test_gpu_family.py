"""Everything that a run can be asked, on a GPU: each model, input and added term, error bars, checks, jobs, memory.

Each body that could differ also runs on the CPU for a model or two, so that it is known to hold there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from core.arena.settings import ArenaOptions, make_arena_config
from core.audit import AUDITS, audit
from core.config import HoldOut
from core.dataset import Dataset
from core.embed import embed
from core.errors import UserError
from core.evaluate import evaluate
from core.explain import Question, explain
from core.jobs.worker import execute
from core.measured_doubt import pair_in
from core.models import MODELS
from core.progress import Cancelled
from core.runs import Run, new_job
from core.search.plan import make_search_config
from core.search.settings import SearchOptions
from core.synthesis import LoadedRun, load_run, supported_targets, synthesise_case
from core.train import make_config, train
from core.uncertainty import measure
from core.workspace import Workspace
from tests.jobs.test_resume import EACH_TIME, SMALL, stop_at
from tests.known_errors import FEW, N_HELD_OUT, N_LEARN, PAIR, known_dataset
from tests.tiny_run import make_dataset

CPU = torch.device("cpu")
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "max_minutes": 100, "precision": "full"}
HELD_OUT = HoldOut(judged=tuple(f"case-{n:02d}" for n in range(N_LEARN, N_LEARN + N_HELD_OUT)))
ON_GPU = pytest.param("cuda", marks=pytest.mark.gpu)
OFFERED = {  # beside the model's own loss and whole slices
    "stacks": {"input": "stacks", "stack": 3},
    "patches": {"input": "patches", "patch": 8, "batch_size": 4},
    "pulled together": {"infonce_weight": 0.1, "triplet_weight": 0.1},
    "varied": {"augment": True, "drop_modalities": 0.5},
    "same bits": {"deterministic": True},
    "in bfloat16": {"precision": "bf16"},
    "with a task": {"tasks": "tissue"},
}


def each_on(device: str) -> list[Any]:
    """(device, model): on the CPU only a few, which other tests hold to more."""
    names = EACH_TIME if device == "cpu" else MODELS
    marks = () if device == "cpu" else pytest.mark.gpu
    return [pytest.param(device, name, id=f"{device}-{name}", marks=marks) for name in names]


@pytest.fixture(autouse=True)
def whole_precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole precision also inside convolutions, which a GPU shortens to 10 bits otherwise."""
    if "cuda" in request.node.name and not torch.cuda.is_available():
        pytest.skip("No CUDA device here: this test needs one.")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def trained(
    workspace: Workspace,
    device: str,
    model: str,
    dataset: Dataset | None = None,
    hold_out: HoldOut | None = None,
    **settings: Any,
) -> LoadedRun:
    """A tiny run that learnt on that device."""
    dataset = dataset or make_dataset(workspace, n_cases=9)
    fields = MODELS[model].Config.model_fields
    of_model = {name: value for name, value in SMALL.items() if name in fields}
    limits = {} if MODELS[model].is_fitted else {**QUICK, **settings}
    run = Run.new(workspace, make_config(dataset, model, of_model, limits, seed=1, hold_out=hold_out))
    train(run, dataset, torch.device(device))
    return load_run(workspace, run, device)


def numbers_of(rows: list[dict[str, Any]]) -> list[float]:
    return [value for row in rows for key, value in row.items() if isinstance(value, float) and key != "seconds"]


@pytest.mark.parametrize(("device", "name"), [*each_on("cpu"), *each_on("cuda")])
def test_every_model_learns_there_and_makes_the_same_here(device: str, name: str, workspace: Workspace) -> None:
    there = trained(workspace, device, name)
    here = load_run(workspace, there.run, "cpu")
    case = there.split.test[0]
    given = tuple(m for m in there.modalities if m in there.dataset.record(case)["modalities"])[:1]
    targets = supported_targets(there, given) if MODELS[name].makes_images else ()
    one, other = (synthesise_case(loaded, case, given, targets) if targets else {} for loaded in (there, here))
    assert set(one) == set(targets)
    for target in targets:
        assert one[target].any()
        np.testing.assert_allclose(one[target], other[target], rtol=2e-3, atol=2e-3)
    if MODELS[name].can_embed:
        np.testing.assert_allclose(embed(there).z, embed(here).z, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("model", ["mvae", "unet"])
@pytest.mark.parametrize("settings", OFFERED.values(), ids=OFFERED)
@pytest.mark.parametrize("device", [ON_GPU])
def test_every_input_and_added_term_learns_and_is_judged(
    device: str, settings: dict[str, Any], model: str, workspace: Workspace
) -> None:
    if "infonce_weight" in settings and not MODELS[model].can_embed:
        pytest.skip("This model has no codes to pull together.")
    loaded = trained(workspace, device, model, known_dataset(workspace), **settings)
    assert loaded.device.type == device
    numbers = numbers_of(evaluate(loaded)["rows"])
    assert numbers
    assert np.isfinite(numbers).all()


@pytest.mark.parametrize("device", [pytest.param("cpu", marks=pytest.mark.slow), ON_GPU])
def test_error_bars_explanations_and_checks_are_the_same(device: str, workspace: Workspace) -> None:
    """A model that draws nothing: its bars, maps and checks are those of the CPU."""
    dataset = known_dataset(workspace)
    run = trained(workspace, "cpu", "ae", dataset, HELD_OUT).run
    there, here = load_run(workspace, run, device), load_run(workspace, run, "cpu")

    one, other = (pair_in(measure(loaded, FEW, [PAIR]), *PAIR) for loaded in (there, here))
    assert one["bounds"]["voxel"] == pytest.approx(other["bounds"]["voxel"], rel=0.02)
    assert one["voxel"]["mean"] == pytest.approx(other["voxel"]["mean"], abs=0.02)

    for method in ("gradients", "occlusion"):
        question = Question(here.split.test[0], *PAIR, (9, 10, 3), method=method)
        maps, expected = (explain(loaded, question).maps["T1"] for loaded in (there, here))
        np.testing.assert_allclose(maps, expected, rtol=0.01, atol=1e-3 * np.abs(expected).max())

    codes = {name: record.get("code") for name, record in audit(there, list(AUDITS)).items()}
    assert codes == dict.fromkeys(AUDITS)


@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize("name", ["mvae", "mmvae", "dmvae", "mhvae", "vae_gan"])
def test_a_posterior_is_drawn_from(device: str, name: str, workspace: Workspace) -> None:
    loaded = trained(workspace, device, name, known_dataset(workspace), HELD_OUT)
    found = pair_in(measure(loaded, FEW, [PAIR]), *PAIR)
    assert found is not None
    assert 0 < found["bounds"]["voxel"] < np.inf


@pytest.mark.parametrize("device", ["cpu", ON_GPU])
def test_a_job_says_where_it_ran_and_keeps_what_it_had_when_stopped(device: str, workspace: Workspace) -> None:
    dataset = make_dataset(workspace, n_cases=9)
    config = make_config(dataset, "ae", {"width": 4}, {**QUICK, "epochs": 3}, seed=1)
    whole, stopped = Run.new(workspace, config, device), Run.new(workspace, config, device)
    execute(whole, workspace)
    assert (whole.status.device, whole.state) == (device, "finished")
    assert (whole.status.gpu_bytes > 0) is (device == "cuda")

    with pytest.raises(Cancelled):
        train(stopped, dataset, torch.device(device), stop_at(4, Cancelled))
    assert stopped.has_weights
    for kind in ("evaluate", "embed"):
        job = new_job(workspace, kind, {"run": stopped.id, "device": device})
        execute(job, workspace)
        assert job.state == "finished"


@pytest.mark.parametrize("device", [ON_GPU])
def test_an_arena_and_a_search_run_there(device: str, workspace: Workspace) -> None:
    dataset = make_dataset(workspace, n_cases=9)
    contest = make_arena_config(dataset, ArenaOptions(models=("ae",), n_folds=2, minutes=0.02))
    fixed = {"model": {"width": 4}, "train": QUICK}
    hunt = make_search_config(dataset, "ae", fixed, {"train.lr": (0.01, 0.001)}, SearchOptions(n_folds=2))
    for kind, config in (("arena", contest), ("search", hunt)):
        job = new_job(workspace, kind, {"config": config.model_dump(mode="json"), "device": "auto"})
        execute(job, workspace)
        assert (job.state, job.status.device) == ("finished", device)


@pytest.mark.parametrize("device", [ON_GPU])
def test_where_its_memory_runs_out_the_batch_goes_in_pieces(device: str, workspace: Workspace) -> None:
    dataset = make_dataset(workspace, n_cases=13)
    total = torch.cuda.get_device_properties(0).total_memory

    def run_within(n_bytes: float, width: int) -> Run:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_per_process_memory_fraction(min(1.0, n_bytes / total))
        limits = {**QUICK, "batch_size": 64, "preview_every": 100_000}
        run = Run.new(workspace, make_config(dataset, "ae", {"width": width}, limits, seed=1))
        try:
            train(run, dataset, torch.device(device))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return run

    assert "pieces" not in run_within(total, 16).status.note
    assert "pieces" in run_within(0.6 * torch.cuda.max_memory_reserved(), 16).status.note
    assert "pieces" not in run_within(total, 48).status.note
    needed = torch.cuda.max_memory_reserved()
    with pytest.raises(UserError) as error:
        for share in (0.5, 0.35, 0.25, 0.15, 0.1, 0.05):  # which is too little is the allocator's affair
            run_within(share * needed, 48)
    assert error.value.code == "OUT-OF-MEMORY"
