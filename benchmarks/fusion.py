"""Does what modalities share help? Five claims, each with its difference per held-out case and a 95 % interval.

One model (`FUSION_MODEL`, mvae) learns from half of `FUSION_CASES` (60) generated people in T1, T2 and FLAIR at 4 mm,
`FUSION_STEPS` (400) steps of 8 slices, once for each of `FUSION_SEEDS` (5) seeds. Every rival has the same steps; what
starts from learnt weights (a new modality, heads learnt afterwards) has had those of its start before. Of a held-out
case the mean over seeds is taken first, so that the case is the unit.

- tissue, lesion: heads on the code of all three, against heads on the code of the single modality that is best for that
  measure: as given alone to the same run, and as the only modality of a run of its own. Tissue: mean Dice. Lesion: how
  well its probability ranks the voxels of a case that has one (AUROC), as so few steps seldom make it the largest.
- new_modality: T1 -> FLAIR where FLAIR joins a code of T1 and T2 that is kept fixed, with four cases of FLAIR; against
  the same model trained on these four alone.
- retrieval: the same slice found in the other modality (T1, T2; two slices a case), with InfoNCE against without.
- multi_task: the same measures of heads learnt together with the images, against heads learnt afterwards on the
  fixed code.

With `FUSION_FOLDER` each seed's scores are kept there, and an interrupted measurement goes on.

A difference is positive where the claim holds. An answer is "yes" or "no" where its interval lies on one side of 0.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import Figures, is_quick_try
from benchmarks.generated import generated_dataset
from core.assembly import build_model
from core.batches import informative_rows, make_batch
from core.compare import compare_case
from core.dataset import Dataset, Split
from core.models.base import Model, place
from core.progress import silent
from core.runs import Run
from core.statistics import mean_interval
from core.synthesis import LoadedRun, to_device
from core.task_scores import task_rows
from core.train import Training, make_config
from core.workspace import Workspace, write_json

MODALITIES = ("T1", "T2", "FLAIR")
TASKS = ("tissue", "lesion")
PARTS = ("CSF", "grey matter", "white matter")
SPACING_MM = 4.0
BATCH = 8
N_FEW = 4  # cases that the new modality is known of
HELD_OUT_PARTS = (0.4, 0.6)  # along the judged slices: two far apart
INFONCE = 30.0
Scores = dict[str, dict[str, float]]  # measure -> case -> value, larger is better


def measure_fusion() -> Figures:
    """CLAIM, its bounds and the number of cases; see above."""
    torch.set_num_threads(1)
    quick = is_quick_try()
    n_cases, steps, seeds = (int(os.environ.get(f"FUSION_{name}", value)) for name, value in _sizes(quick).items())
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(os.environ.get("FUSION_FOLDER", folder)))
        bench = Bench(workspace, generated_dataset(workspace, "fusion", n_cases, spacing_mm=SPACING_MM), steps)
        found = [_kept(bench, seed) for seed in range(seeds)]
    scores: Scores = {
        measure: {case: float(np.mean([one[measure][case] for one in found])) for case in found[0][measure]}
        for measure in found[0]
    }
    return _claims(scores)


def _kept(bench: Bench, seed: int) -> Scores:
    scores: Scores = {}
    for name, measure in {"heads": _of_heads, "codes": _of_codes}.items():
        kept = bench.workspace.root / f"{bench.model}-{bench.steps}-{seed}-{name}.json"
        if not kept.exists():
            write_json(kept, measure(bench, seed))
        scores |= json.loads(kept.read_text())
    return scores


def _sizes(quick: bool) -> dict[str, str]:
    return {"CASES": "12", "STEPS": "20", "SEEDS": "1"} if quick else {"CASES": "60", "STEPS": "400", "SEEDS": "5"}


class Bench:
    """Trains one model after another on the same cases."""

    def __init__(self, workspace: Workspace, dataset: Dataset, steps: int) -> None:
        self.workspace, self.dataset, self.steps = workspace, dataset, steps
        self.model = os.environ.get("FUSION_MODEL", "mvae")
        whole = dataset.split(0, 0, 2)
        self.split = Split((*whole.train, *whole.val), (), whole.test)
        self.few = Split(self.split.train[:N_FEW], (), whole.test)

    def train(
        self, seed: int, split: Split, first: Model | None = None, model: Mapping[str, Any] | None = None, **train: Any
    ) -> LoadedRun:
        """A run's averaged weights; `first` gives those of the same name to begin with."""
        slices = informative_rows(self.dataset, split.train)
        epochs = -(-self.steps * BATCH // len(slices))
        settings = {"modalities": MODALITIES, "epochs": epochs, "batch_size": BATCH, "max_minutes": 600.0,
                    "preview_every": 100_000, **train}  # fmt: skip
        config = make_config(self.dataset, self.model, dict(model or {}), settings, seed=seed, fold=0, n_folds=2)
        run = Run.new(self.workspace, config, "cpu")
        torch.manual_seed(seed)
        network = build_model(config, self.dataset)
        if first is not None:
            own = network.state_dict()
            known = {name: value for name, value in first.state_dict().items() if name in own}
            network.load_state_dict({**own, **known})
        place(network, torch.device("cpu"), to_learn=True)
        began = time.process_time()
        averaged = Training(run, self.dataset, network, split, silent).run_all()
        sys.stderr.write(f"seed {seed} {train}: {time.process_time() - began:.0f} s of CPU\n")
        return LoadedRun(run, self.dataset, averaged.eval(), averaged.shapes.modalities, split, torch.device("cpu"))


def _of_heads(bench: Bench, seed: int) -> Scores:
    split = bench.split
    both = bench.train(seed, split, tasks=TASKS)
    scores = _task_scores(both, MODALITIES, "fused")
    for m in MODALITIES:
        scores |= _task_scores(both, (m,), f"given_{m}")
        scores |= _task_scores(bench.train(seed, split, tasks=TASKS, modalities=(m,)), (m,), f"only_{m}")
    images = bench.train(seed, split)
    after = bench.train(seed, split, images.model, tasks=TASKS, freeze=("encoders", "decoders"))
    return scores | _task_scores(after, MODALITIES, "after")


def _of_codes(bench: Bench, seed: int) -> Scores:
    split = bench.split
    two = bench.train(seed, split, modalities=("T1", "T2"))
    return {
        "retrieval_without": _found_again(bench.train(seed, split)),
        "retrieval_with": _found_again(bench.train(seed, split, infonce_weight=INFONCE)),
        "flair_joined": _flair(bench.train(seed, bench.few, two.model, freeze=("T1", "T2"))),
        "flair_scratch": _flair(bench.train(seed, bench.few)),
    }


def _task_scores(loaded: LoadedRun, given: Sequence[str], name: str) -> Scores:
    """Mean Dice of the brain's tissues, and the AUROC of the lesion of those who have one."""
    tissue, lesion = {}, {}
    for case_id in loaded.split.test:
        rows = {(row["class"], row["metric"]): row["value"] for row in task_rows(loaded, case_id, given)}
        tissue[case_id] = float(np.mean([rows[part, "Dice"] for part in PARTS]))
        if ("lesion", "AUROC") in rows:
            lesion[case_id] = rows["lesion", "AUROC"]
    return {f"tissue_{name}": tissue, f"lesion_{name}": lesion}


@torch.inference_mode()
def _found_again(loaded: LoadedRun) -> dict[str, float]:
    """Case -> share of its slices whose nearest code in the other modality, by cosine, is their own; ties are wrong."""
    dataset = loaded.dataset
    rows = [(case_id, k) for case_id in loaded.split.test for k in _slices(dataset, case_id)]
    batch = to_device(loaded, make_batch(dataset, rows, loaded.model.shapes))
    codes = {m: loaded.model.embed(batch.only([m])) for m in ("T1", "T2")}
    units = {m: torch.nn.functional.normalize(z - z.mean(0)) for m, z in codes.items()}
    hits = torch.zeros(len(rows))
    for a, b in permutations(units, 2):
        likeness = units[a] @ units[b].T
        own = likeness.diagonal()
        hits += 0.5 * ((likeness >= own[:, None]).sum(1) == 1)
    cases = np.array([case_id for case_id, _ in rows])
    return {case_id: float(hits.numpy()[cases == case_id].mean()) for case_id in loaded.split.test}


def _slices(dataset: Dataset, case_id: str) -> list[int]:
    used = np.flatnonzero(dataset.mask(case_id).any(axis=(0, 1)))
    return [int(used[0] + round(part * (used[-1] - used[0]))) for part in HELD_OUT_PARTS]


def _flair(loaded: LoadedRun) -> dict[str, float]:
    """Minus the error of FLAIR from T1."""
    return {case: -compare_case(loaded, case, ["T1"], "FLAIR").metrics["mae"] for case in loaded.split.test}


def _claims(scores: Scores) -> Figures:
    figures: Figures = {}
    for measure in TASKS:
        for kind in ("given", "only"):
            singles = {m: scores[f"{measure}_{kind}_{m}"] for m in MODALITIES}
            best = max(singles.values(), key=lambda found: float(np.mean(list(found.values()))))
            figures |= _claim(f"{measure}_over_best_{kind}", scores[f"{measure}_fused"], best)
        figures |= _claim(f"multi_task_{measure}", scores[f"{measure}_fused"], scores[f"{measure}_after"])
    figures |= _claim("new_modality", scores["flair_joined"], scores["flair_scratch"])
    return figures | _claim("retrieval", scores["retrieval_with"], scores["retrieval_without"])


def _claim(name: str, ours: Mapping[str, float], theirs: Mapping[str, float]) -> Figures:
    both = [case for case in ours if case in theirs]
    found = mean_interval([ours[case] - theirs[case] for case in both])
    figures = {name: found.mean, f"{name}_n": float(found.n)}
    figures |= {f"{name}_ours": float(np.mean([ours[c] for c in both]))}
    figures |= {f"{name}_theirs": float(np.mean([theirs[c] for c in both]))}
    if found.low is not None and found.high is not None:
        figures |= {f"{name}_low": found.low, f"{name}_high": found.high}
    return figures


def table(figures: Figures) -> str:
    """A line a claim with its answer."""
    lines = [f"{'claim':<24}{'with':>9}{'without':>9}{'difference':>12}  {'95 % interval':<20}{'n':>4}  answer"]
    for name in (key.removesuffix("_n") for key in figures if key.endswith("_n")):
        low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
        interval = "too few cases" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"
        answer = "unclear" if low is None or high is None or low <= 0 <= high else "yes" if low > 0 else "no"
        values = f"{figures[f'{name}_ours']:>9.4f}{figures[f'{name}_theirs']:>9.4f}{figures[name]:>+12.4f}"
        lines.append(f"{name:<24}{values}  {interval:<20}{figures[f'{name}_n']:>4.0f}  {answer}")
    return "\n".join(lines) + "\n"
