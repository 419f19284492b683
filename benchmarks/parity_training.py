"""Our models beside the library's after training on digits: the same networks, first weights, order of rows, settings.

Ours learn in `core.train.Training`, the library's in its `BaseTrainer`; both keep the weights of the last step.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks import Figures, is_quick_try
from benchmarks.multivae_env import run_there
from benchmarks.parity_digits import MODALITIES, Classes, Images, Judge, cross_modal, make_digits, paired_interval
from benchmarks.parity_losses import as_batch, our_model
from benchmarks.parity_networks import Design, make_networks, set_weights, weights_of
from core.dataset import Dataset, Split
from core.dataset_writer import DatasetWriter, PreparedCase
from core.models.base import Batch, Model
from core.models.dmvae import DMVAE
from core.models.formulas import LIKELIHOODS, Gaussian
from core.models.private_vae import joined
from core.progress import silent
from core.runs import Run
from core.train import Training, make_config
from core.types import Array
from core.workspace import Workspace

ROWS_A_CASE = 35
BATCH_SIZE, EPOCHS, LR = 70, 20, 4e-3  # batches of a multiple of 7, the number of MoPoE's subsets
SCALE = 0.2
N_SEEDS = 5
LATENT, HIDDEN, OWN = 8, 64, 2


@dataclass(frozen=True)
class Match:
    """Settings of both that say the same, where they are not the default of both.

    Attributes:
        model: where it is not the name of the row.
        against: "theirs", or "mixed": their weights, from which our inference makes the images.
        anew: our DMVAE draws its private codes as the library does, for each ELBO, and in its order.
    """

    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]
    private: int = 0
    joint: bool = False
    model: str = ""
    against: str = "theirs"
    anew: bool = False

    @property
    def design(self) -> Design:
        return Design(MODALITIES, LATENT, HIDDEN, self.private, self.joint)


MATCHES = {
    "mvae": Match({"cross_weight": 0.0, "n_subsets": 0}, {"warmup": 0}),
    "mmvae": Match({"n_samples": 2}, {"K": 2, "learn_prior": False}),
    "mopoe": Match({}, {}),
    "jmvae": Match({}, {"warmup": 0}, joint=True),
    "mvtcae": Match({}, {}),
    "dmvae": Match({"private_dim": OWN}, {}, private=OWN),
    "dmvae_drawn_anew": Match({"private_dim": OWN}, {}, OWN, model="dmvae", against="mixed", anew=True),
}


@dataclass(frozen=True)
class Contest:
    """What both sides learn from and are judged by."""

    folder: Path
    dataset: Dataset
    split: Split
    test: tuple[Images, Classes]
    judge: Judge
    epochs: int


def compare_trainings(folder: Path) -> Figures:
    """MODEL.ours_coherence, .theirs_coherence (%), .coherence and .error (%) with the ends of their 90 % intervals."""
    seeds = range(2 if is_quick_try() else N_SEEDS)
    contest = _contest(folder, 3 if is_quick_try() else EPOCHS)
    jobs = [_job(contest, name, seed) for name, match in MATCHES.items() if not match.model for seed in seeds]
    began = time.perf_counter()
    run_there("benchmarks.multivae_side", "trainings", folder, jobs)
    sys.stderr.write(f"the library's trainings: {time.perf_counter() - began:.0f} s\n")
    figures: Figures = {}
    for name in MATCHES:
        began = time.perf_counter()
        pairs = [_both(contest, name, seed) for seed in seeds]
        figures |= {f"{name}.{key}": value for key, value in _summary(pairs, MATCHES[name].against).items()}
        sys.stderr.write(f"{name}: {time.perf_counter() - began:.0f} s\n")
    return figures


def _contest(folder: Path, epochs: int) -> Contest:
    parts = make_digits()
    images = {f"{part}.{m}": x[:, None] for part, (both, _) in parts.items() for m, x in both.items()}
    np.savez(folder / "digits.npz", **images)
    writer = DatasetWriter(Workspace(folder / "workspace"), "digits")
    split = Split(*(_add_cases(writer, part, parts[part][0]) if part else () for part in ("train", "", "test")))
    dataset = writer.finish("digits", {}, simulated=False)
    return Contest(folder, dataset, split, parts["test"], Judge(*parts["train"]), epochs)


def _add_cases(writer: DatasetWriter, part: str, images: Images) -> tuple[str, ...]:
    """Rows become the slices of cases, in their order."""
    ids = []
    for start in range(0, len(images["plain"]), ROWS_A_CASE):
        volumes = {m: x[start : start + ROWS_A_CASE].transpose(1, 2, 0) for m, x in images.items()}
        ids.append(f"{part}-{start // ROWS_A_CASE:03d}")
        mask = np.ones(volumes["plain"].shape, bool)
        plain = dict.fromkeys(volumes, "a.u.")
        writer.add(PreparedCase(ids[-1], volumes, dict.fromkeys(volumes, (1.0, 0.0)), plain, mask, np.eye(4)))
    return tuple(ids)


def _job(contest: Contest, name: str, seed: int) -> dict[str, Any]:
    match, key = MATCHES[name], f"{name}-{seed}"
    rng = np.random.default_rng(seed)  # as `Training` draws its epochs
    orders = [rng.permutation(len(contest.split.train) * ROWS_A_CASE) for _ in range(contest.epochs)]
    weights = weights_of(make_networks(match.design, seed))
    np.savez(contest.folder / f"{key}.first.npz", orders=np.array(orders), **weights)
    return {
        "key": key,
        "model": name,
        "design": asdict(match.design),
        "theirs": dict(match.theirs),
        "likelihood": "normal",
        "scale": SCALE,
        "weights": f"{key}.first.npz",
        "batch_size": BATCH_SIZE,
        "epochs": contest.epochs,
        "lr": LR,
        "seed": seed,
    }


def _both(contest: Contest, name: str, seed: int) -> dict[str, tuple[float, float]]:
    """(coherence, error) of ours, of theirs, and of our inference with their weights ("mixed")."""
    match = MATCHES[name]
    model, design = match.model or name, match.design
    with np.load(contest.folder / f"{model}-{seed}.trained.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    networks = make_networks(design, seed)
    ours = our_model(model, design, _settings(name), networks)
    sides = {"ours": _made_by(_trained(contest, name, ours, seed), contest.test[0])}
    set_weights(networks, _named(arrays, "weights."))
    sides |= {"theirs": _named(arrays, "images."), "mixed": _made_by(ours, contest.test[0])}
    return {side: cross_modal(images, *contest.test, contest.judge) for side, images in sides.items()}


def _named(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): x for key, x in arrays.items() if key.startswith(prefix)}


def _settings(name: str) -> dict[str, Any]:
    return {"warmup_steps": 0, "scale": SCALE, **MATCHES[name].ours}


def _trained(contest: Contest, name: str, model: Model, seed: int) -> Model:
    """Ours, after the product's own training loop without the comforts that the library's has not."""
    plain = {"optimiser": "adamw", "schedule": "constant", "augment": False, "average": 0, "clip": 0}
    limits = {"max_minutes": 600, "preview_every": 100_000}
    size = {"epochs": contest.epochs, "batch_size": BATCH_SIZE, "lr": LR, "modalities": MODALITIES}
    match = MATCHES[name]
    config = make_config(contest.dataset, match.model or name, {}, {**plain, **limits, **size}, seed)
    run = Run.new(Workspace(contest.folder / "workspace"), config, "cpu")
    training = Training(run, contest.dataset, model, contest.split, silent)
    torch.manual_seed(seed)
    with ExitStack() as stack:
        if match.anew:
            stack.enter_context(patch.object(DMVAE, "_nll", _nll_drawn_anew))
            stack.enter_context(patch.object(Gaussian, "sample", _sample_in_their_order()))
        return training.run_all()


def _nll_drawn_anew(self: DMVAE, batch: Batch, modality: str, own: Tensor, codes: list[Tensor], rows: Any) -> Tensor:
    """`DMVAE._nll` for rows that have everything, with another private code for each of the shared ones."""
    private = self.privates(batch.only([modality]))[modality]
    images = self.decoders[modality](torch.cat([joined(z, private.sample()) for z in codes]))
    x = batch.x[modality].repeat(len(codes), 1, 1, 1)
    return LIKELIHOODS["normal"](images, x, self.config.scale).mean() * len(codes)


def _sample_in_their_order() -> Callable[..., Tensor]:
    """`Gaussian.sample` with noise that is drawn as the library's DMVAE does: a shared code, then all private ones."""
    queue: list[Tensor] = []

    def sample(self: Gaussian) -> Tensor:
        if not queue:
            n, own = len(self.mean), [OWN] * len(MODALITIES)
            elbos = [[torch.empty(n, size).normal_() for size in (LATENT, *own)] for _ in (None, *MODALITIES)]
            queue.extend(elbo[0] for elbo in elbos)
            for m in range(len(MODALITIES)):
                queue.append(torch.zeros(n, OWN))  # the one that is drawn once a step, and not used here
                queue.extend(elbo[1 + m] for elbo in elbos)
        return self.mean + (0.5 * self.log_var).exp() * queue.pop(0)

    return sample


@torch.inference_mode()
def _made_by(model: Model, images: Images) -> dict[str, Array]:
    """GIVEN__TARGET: each modality made from each other one."""
    batch = as_batch({m: torch.from_numpy(x[:, None]) for m, x in images.items()})
    made = {}
    for given in MODALITIES:
        targets = [m for m in MODALITIES if m != given]
        found = model.eval().synthesise(batch.only([given]), targets)
        made |= {f"{given}__{target}": image.numpy() for target, image in found.items()}
    return made


def _summary(pairs: list[dict[str, tuple[float, float]]], against: str) -> Figures:
    figures: Figures = {}
    for n, measure in enumerate(("coherence", "error")):
        values = {side: np.array([pair[side][n] for pair in pairs]) for side in pairs[0]}
        figures |= {f"{side}_{measure}": float(value.mean()) for side, value in values.items()}
        unit = 1.0 if n == 0 else values[against] / 100  # points, or percent of their error
        mean, low, high = paired_interval(list((values["ours"] - values[against]) / unit))
        figures |= {measure: mean, f"{measure}_low": low, f"{measure}_high": high}
    return figures
