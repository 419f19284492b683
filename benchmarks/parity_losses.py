"""Our losses beside the library's: the same arrays, networks, weights and, where draws come in one order, noise.

All in double precision. Each row says how the two are set, whether they should agree, and if not, why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import Figures
from benchmarks.multivae_env import run_there
from benchmarks.parity_networks import (
    SIDE,
    Design,
    EvenScales,
    Networks,
    gradients_of,
    make_networks,
    weights_of,
)
from core.assembly import kind_of
from core.config import build
from core.models.base import Batch, Model, Shapes
from core.models.blocks import stack_presence
from core.models.formulas import Gaussian, product_of_experts
from core.models.mopoe import all_subsets

NAMES = ("a", "b", "c")
PLAIN, JOINT, PRIVATE = Design(NAMES), Design(NAMES, joint=True), Design(NAMES, private=2)
SCALE = 0.4
BETA = 1.7
N_DRAWS = 200
NOISELESS = -30.0  # log variances of codes that are their means
SUBSETS = ("a", "b", "c", "ab", "ac", "bc", "abc")  # in the library's order
BLOCKS = tuple(n // 5 for n in range(35))  # which of them each of 35 rows has in the library
SEED = 7
Losses = Mapping[str, Tensor]


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        ours, theirs: settings that are not the same by name, or not the default.
        when: what the library's forward is told of the epoch.
        step: what our loss is told of it.
        n_rows: in the batch.
        subset: of each row, for a mixture over subsets: its number in SUBSETS; drawn where None.
        n_draws: more than one: means over so many draws are compared.
        known: what our loss has to be changed by to be the library's, where the formulas differ.
        why: what differs, or how the two were made to agree.
    """

    model: str
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]
    why: str
    design: Design = PLAIN
    when: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    n_rows: int = 35
    subset: tuple[int, ...] | None = None
    n_draws: int = 1
    known: Callable[[Model, Batch, Losses], Tensor] | None = None


def _half_of_the_following(model: Model, batch: Batch, losses: Losses) -> Tensor:
    """The library's warm-up, half-way, also halves alpha sum KL(q || q_m)."""
    return -0.5 * model.config.alpha * losses["kl_experts"]


def _prior_in_the_full_product(model: Model, batch: Batch, losses: Losses) -> Tensor:
    """The library's product of all experts has the prior as one more: other codes of its rows, another KL."""
    experts, present = list(model.experts(batch).values()), list(stack_presence(batch))
    with_prior, without = (product_of_experts(experts, present, prior) for prior in (True, False))
    chosen = torch.tensor([[m in SUBSETS[n] for n in BLOCKS] for m in NAMES])
    drawn, is_full = product_of_experts(experts, list(chosen), False), chosen.all(0)[:, None]
    torch.manual_seed(SEED)
    z = Gaussian(
        torch.where(is_full, with_prior.mean, drawn.mean), torch.where(is_full, with_prior.log_var, drawn.log_var)
    ).sample()
    kls = (with_prior.kl_to_standard_normal() - without.kl_to_standard_normal()).mean() / len(SUBSETS)
    return model.nll_of_present(batch, z).mean() - losses["reconstruction"] + model.config.beta * kls


AS_PUBLISHED = {"cross_weight": 0.0, "n_subsets": 0}
ROWS: dict[str, Row] = {
    "mvae": Row("mvae", AS_PUBLISHED, {"warmup": 0}, "Same draws."),
    "mvae_warming_up": Row(
        "mvae",
        {**AS_PUBLISHED, "warmup_steps": 4},
        {"warmup": 2},
        "A quarter into the warm-up; the library counts it in epochs.",
        when={"epoch": 1, "batch_ratio": 0.5},
        step=1,
    ),
    "mmvae_dreg": Row(
        "mmvae",
        {"n_samples": 3, "beta": 1.0},
        {"K": 3, "learn_prior": False, "loss": "dreg_looser"},
        "Our encoders end in the library's scales, softmax x D; its sum over the batch is divided by the rows.",
    ),
    "mmvae_iwae": Row(
        "mmvae",
        {"n_samples": 3, "beta": 1.0, "estimator": "iwae"},
        {"K": 3, "learn_prior": False, "loss": "iwae_looser"},
        "The same, with the plain bound.",
    ),
    "mmvae_beta": Row(
        "mmvae",
        {"n_samples": 1, "beta": 1.0},
        {"K": 1, "learn_prior": False, "beta": 5.0},
        "The library is told beta = 5, we beta = 1: nothing there reads MMVAE's beta.",
    ),
    "mopoe": Row(
        "mopoe",
        {},
        {},
        "Only where all are given, the library has the prior as one more expert. Our rows are given its blocks.",
        subset=BLOCKS,
        known=_prior_in_the_full_product,
    ),
    "jmvae": Row("jmvae", {"alpha": 0.3}, {"alpha": 0.3, "warmup": 0}, "Same draws.", design=JOINT),
    "jmvae_warming_up": Row(
        "jmvae",
        {"alpha": 0.3, "warmup_steps": 2},
        {"alpha": 0.3, "warmup": 2},
        "Half-way. The library's warm-up, by whole epochs, also holds back alpha sum KL(q || q_m); ours does not.",
        design=JOINT,
        when={"epoch": 1},
        step=1,
        known=_half_of_the_following,
    ),
    "mvtcae": Row("mvtcae", {"alpha": 0.3}, {"alpha": 0.3}, "Same draws."),
    "dmvae_noiseless": Row(
        "dmvae",
        {"private_dim": 2},
        {"modalities_specific_betas": dict.fromkeys(NAMES, BETA)},
        "Codes without noise: we draw a private code once a step, the library anew for each ELBO.",
        design=Design(NAMES, private=2, log_var=NOISELESS),
    ),
    "dmvae_mean": Row(
        "dmvae",
        {"private_dim": 2},
        {"modalities_specific_betas": dict.fromkeys(NAMES, BETA)},
        f"Means of {N_DRAWS} draws each: both are the same on average.",
        design=PRIVATE,
        n_draws=N_DRAWS,
    ),
}


def compare_losses(folder: Path) -> Figures:
    """ROW.ours, .theirs, .difference (relative), .gradient (relative), and where known the .rest after what differs."""
    batches = {name: _images(row) for name, row in ROWS.items()}
    jobs = []
    for name, row in ROWS.items():
        weights = weights_of(_networks(row))
        np.savez(
            folder / f"{name}.npz",
            **{f"weights.{key}": value for key, value in weights.items()},
            **{f"images.{m}": x for m, x in batches[name].items()},
        )
        jobs.append(_job(name, row))
    answers = run_there("benchmarks.multivae_side", "losses", folder, jobs)
    figures: Figures = {}
    for name, row in ROWS.items():
        with np.load(folder / f"{name}.gradients.npz", allow_pickle=False) as file:
            gradients = {key: file[key] for key in file.files}
        found = _compare(row, batches[name], np.array(answers[name]), gradients)
        figures |= {f"loss.{name}.{key}": value for key, value in found.items()}
    return figures


def _job(name: str, row: Row) -> dict[str, Any]:
    theirs = {"beta": BETA, **row.theirs} if row.model != "mmvae" else dict(row.theirs)
    return {
        "key": name,
        "model": row.model,
        "design": asdict(row.design),
        "theirs": theirs,
        "likelihood": "normal",
        "scale": SCALE,
        "when": dict(row.when),
        "seed": SEED,
        "n_draws": row.n_draws,
    }


def _images(row: Row) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {m: rng.random((row.n_rows, 1, SIDE, SIDE)) for m in row.design.modalities}


def _networks(row: Row) -> Networks:
    networks = make_networks(row.design, 3)
    for network in networks.values():
        network.double()
    return networks


def _compare(row: Row, images: Mapping[str, Any], theirs: Any, gradients: Mapping[str, Any]) -> Figures:
    networks = _networks(row)
    model = our_model(row.model, row.design, {"beta": BETA, "scale": SCALE, "warmup_steps": 0, **row.ours}, networks)
    model.double()
    batch = as_batch({m: torch.from_numpy(x) for m, x in images.items()})
    torch.manual_seed(SEED)
    ours, known = [], 0.0
    for n in range(row.n_draws):
        with _same_draws(row):
            losses = model.loss(batch, "model", row.step)
        if n == 0:
            total = losses["total"]
            if row.known:
                change = row.known(model, batch, losses)
                total, known = total + change, float(change.detach())
            total.backward()
        ours.append(float(losses["total"].detach()))
    if row.model == "mmvae":  # a sum over the rows there
        theirs, gradients = theirs / row.n_rows, {key: value / row.n_rows for key, value in gradients.items()}
    mean = float(theirs.mean())
    found = {"ours": float(np.mean(ours)), "theirs": mean}
    found["difference"] = abs(found["ours"] - mean) / abs(mean)
    found["rest"] = abs(found["ours"] + known - mean) / abs(mean)
    if row.n_draws > 1:
        error = math.hypot(np.std(ours, ddof=1), np.std(theirs, ddof=1)) / math.sqrt(row.n_draws)
        found["rest_in_standard_errors"] = abs(found["ours"] - mean) / error
    else:
        found["gradient_rest"] = _distance(gradients_of(networks), gradients)
    return found


def our_model(name: str, design: Design, settings: Mapping[str, Any], networks: Networks) -> Model:
    """Our model with these networks in place of its own."""
    kind = kind_of(name)
    values = {"likelihood": "normal", "latent_dim": design.latent, "spatial_latent": False, **settings}
    model = kind(build(kind.Config, values), Shapes(design.modalities, (SIDE, SIDE), 1))
    ending = [EvenScales()] if name == "mmvae" else []
    model.encoders = nn.ModuleDict({m: nn.Sequential(networks[f"encoder.{m}"], *ending) for m in design.modalities})
    model.decoders = nn.ModuleDict({m: networks[f"decoder.{m}"] for m in design.modalities})
    if design.private:
        model.private_encoders = nn.ModuleDict({m: networks[f"private.{m}"] for m in design.modalities})
    if design.joint:
        model.joint = networks["joint"]
    return model


def as_batch(images: Mapping[str, Tensor]) -> Batch:
    """Rows that have everything."""
    n = len(next(iter(images.values())))
    nothing = torch.zeros(n, dtype=torch.long)
    mask = torch.ones(n, 1, SIDE, SIDE, dtype=torch.bool)
    return Batch(dict(images), {m: torch.ones(n, dtype=torch.bool) for m in images}, mask, nothing, nothing)


def _same_draws(row: Row) -> AbstractContextManager[Any]:
    """Within, a mixture over subsets is not drawn, each row gets the subset that the library gives it; and uniform
    numbers reach to the ends, as the library's: ours stop a millionth short.
    """
    if row.model == "mmvae":
        uniform = torch.Tensor.uniform_
        ends = (torch.finfo(torch.float64).eps - 1, 1)
        return patch.object(torch.Tensor, "uniform_", lambda self, *_, generator: uniform(self, *ends))
    if row.subset is None:
        return nullcontext()
    numbers = {_members(subset): n for n, subset in enumerate(all_subsets(len(NAMES)))}
    chosen = torch.tensor([[numbers[SUBSETS[n]]] for n in row.subset])
    return patch.object(torch, "multinomial", return_value=chosen)


def _members(subset: Tensor) -> str:
    return "".join(m for m, is_in in zip(NAMES, subset.tolist(), strict=True) if is_in)


def _distance(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Of two gradients, over the length of the second."""
    a, b = (np.concatenate([side[key].ravel() for key in sorted(ours)]) for side in (ours, theirs))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
