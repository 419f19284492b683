"""Terms that can be added to the loss of any model with a shared latent: codes of one slice lie close together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, permutations

import torch
from torch import Tensor
from torch.nn import functional as F

from core.config import TrainConfig
from core.errors import InvalidConfigError
from core.models.base import Batch, Model
from core.models.formulas import sum_of
from core.models.heads import task_losses

TEMPERATURE = 0.07
MARGIN = 0.2  # on unit vectors, whose distances lie between 0 and 2
NEAR = 2  # slices of one case this close are near-duplicates

Term = Callable[[Tensor, Tensor, Tensor], Tensor]


def info_nce(u: Tensor, v: Tensor, negatives: Tensor, temperature: float | Tensor = TEMPERATURE) -> Tensor:
    """-1/(2B) sum_i [log softmax_j(u_i.v_j / t)_i + log softmax_j(u_j.v_i / t)_i] for unit vectors (B, D).

    Args:
        negatives: (B, B) bool, symmetric, which pairs (i, j) push each other away.

    Source:
        van den Oord et al. 2018, arXiv:1807.03748.
    """
    own = torch.eye(len(u), dtype=torch.bool, device=u.device)
    logits = (u @ v.T / temperature).masked_fill(~(negatives | own), -torch.inf)
    rows = torch.arange(len(u), device=u.device)
    return 0.5 * (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows))


def triplet(u: Tensor, v: Tensor, negatives: Tensor, margin: float = MARGIN) -> Tensor:
    """Mean over anchors u_i and negatives v_j of max(0, d(u_i, v_i) - d(u_i, v_j) + margin), and the other way round.

    Source:
        Schroff et al. 2015, arXiv:1503.03832.
    """
    distance = (u[:, None] - v[None]).norm(dim=2)
    own = distance.diagonal()[:, None]
    hinges = (own - distance + margin).relu() + (own - distance.T + margin).relu()
    return torch.where(negatives, hinges, 0.0).sum() / (2 * negatives.sum().clamp(min=1))


def far_apart(batch: Batch, near: int = NEAR) -> Tensor:
    """(B, B) bool: pairs of rows of two cases, or of slices of one case that are more than `near` apart."""
    is_other_case = batch.case_index[:, None] != batch.case_index[None]
    is_far = (batch.position[:, None] - batch.position[None]).abs() > near
    return is_other_case | is_far


def sum_over_pairs(term: Term, units: Mapping[str, Tensor], batch: Batch, near: int = NEAR) -> Tensor:
    """The term of each pair of modalities, from the rows that have both, added up; units: modality -> (B, D)."""
    negatives = far_apart(batch, near)
    return sum_of([_on_pair(term, units, negatives, batch, pair) for pair in combinations(units, 2)])


def added_terms(model: Model, batch: Batch, settings: TrainConfig) -> dict[str, Tensor]:
    """The terms that the settings ask for, each times its weight; none by default.

    Each is a sum over the pairs of modalities, from the rows that have both.

    Raises:
        InvalidConfigError: The model's modalities have no latent in common, or it learns without pairs.
    """
    weights = {"infonce": settings.infonce_weight, "triplet": settings.triplet_weight}
    if not any(weights.values()):
        return {}
    if not model.paired:
        raise InvalidConfigError(
            "This model learns without pairs, so no two codes belong together. Set infonce_weight and triplet_weight"
            " to 0.",
            "NO-PAIRS",
        )
    if model.makes_images and not _shares_code(model, list(batch.x)):
        raise InvalidConfigError(
            "This model's modalities share no code to bring together. Set infonce_weight and triplet_weight to 0.",
            "NO-SHARED-CODE",
        )
    units = {m: F.normalize(model.embed(batch.only([m]))) for m in batch.x}
    terms: dict[str, Term] = {"infonce": info_nce, "triplet": triplet}
    return {name: w * sum_over_pairs(terms[name], units, batch) for name, w in weights.items() if w}


def _shares_code(model: Model, modalities: Sequence[str]) -> bool:
    """Whether some modality is made from another."""
    return any(model.supports((a,), b) for a, b in permutations(modalities, 2))


def with_terms(losses: dict[str, Tensor], model: Model, batch: Batch, settings: TrainConfig) -> dict[str, Tensor]:
    """A model's losses and the added terms, which count in the total."""
    added = added_terms(model, batch, settings)
    if _learns_tasks(model):
        added |= {name: settings.task_weight * loss for name, loss in task_losses(model, batch).items()}
    return losses | added | {"total": sum(added.values(), losses["total"])}


def _learns_tasks(model: Model) -> bool:
    """Whether the heads are in the part whose turn it is."""
    return model.heads is not None and any(parameter.requires_grad for parameter in model.heads.parameters())


def _on_pair(term: Term, units: Mapping[str, Tensor], negatives: Tensor, batch: Batch, pair: tuple[str, str]) -> Tensor:
    a, b = pair
    rows = (batch.present[a] & batch.present[b]).nonzero()[:, 0]
    if len(rows) < 2:
        return negatives.new_zeros((), dtype=torch.float32)
    return term(units[a][rows], units[b][rows], negatives[rows][:, rows])
