"""What the multimodal VAEs with private codes have in common: beside the shared code, each modality has one of its own.

The private code is one short vector for a whole slice, also where the shared code is a map: it has no room for anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from core.models.base import Batch, Shapes
from core.models.blocks import Encoder, visible
from core.models.formulas import Gaussian, rows_like
from core.models.shared_vae import SharedVAE
from core.models.vae import GaussianSettings


class PrivateSettings(GaussianSettings):
    """What they can all be told."""

    private_dim: int = Field(4, ge=1, le=512, description="Numbers in each modality's private code")
    spatial_private: bool = Field(
        False, description="Keep a map of private codes too (if the shared one is a map); off: they hold no anatomy"
    )


class PrivateVAE(SharedVAE):
    """`encode`, `decode` and `embed` are of the shared code; a private code that is not given is its prior's mean."""

    def __init__(self, config: PrivateSettings, shapes: Shapes) -> None:
        super().__init__(config, shapes, config.private_dim)
        own = config.model_copy(update={"spatial_latent": config.spatial_latent and config.spatial_private})
        self.private_encoders = nn.ModuleDict(
            {m: Encoder(shapes.size, shapes.channels, 2 * config.private_dim, own) for m in shapes.modalities}
        )

    def privates(self, batch: Batch) -> dict[str, Gaussian]:
        """q(w_m | x_m) of each modality in the batch, also for rows that lack it."""
        return {m: Gaussian(*self.private_encoders[m](visible(batch, m)).chunk(2, 1)) for m in batch.x}

    def embed_private(self, batch: Batch, modality: str) -> Tensor:
        """(B, private_dim): the modality's private code, mean over space; 0, its prior's mean, where it is absent."""
        mean = self.privates(batch.only([modality]))[modality].mean
        code = mean.flatten(2).mean(2) if mean.ndim > 2 else mean
        return torch.where(batch.present[modality][:, None], code, 0.0)

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        nothing = z.new_zeros(len(z), self.config.private_dim)
        return {m: self.decoders[m](joined(z, nothing)) for m in targets}

    def decode_with_own(self, z: Tensor, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        """Images from a shared code, and the private code of each target that the batch has."""
        made: dict[str, Tensor] = {}
        for m in targets:
            if m not in batch.x:
                made |= self.decode(z, [m])
                continue
            w = self.privates(batch.only([m]))[m].mean
            made[m] = self.decoders[m](joined(z, torch.where(rows_like(batch.present[m], w), w, 0.0)))
        return made

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        return self.decode_with_own(self.encode(batch).mean, batch, targets)


def joined(z: Tensor, w: Tensor) -> Tensor:
    """The shared and a private code as the channels of one; a vector beside a map is the same at each place."""
    if w.ndim < z.ndim:
        w = w.view(*w.shape, *[1] * (z.ndim - w.ndim)).expand(*w.shape, *z.shape[2:])
    return torch.cat([z, w], 1)
