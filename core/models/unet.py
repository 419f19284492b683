"""U-Net with an L1 loss, from any subset of modalities to any other (Ronneberger et al. 2015, arXiv:1505.04597; random
subsets with absent channels at zero as in Sharma & Hamarneh 2020, IEEE TMI 39(4), arXiv:1904.12200)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from core.config import Names, Settings
from core.errors import InvalidConfigError
from core.models.base import Batch, Model, Shapes
from core.models.blocks import MUON, NORMALISE, Trunk, block_of, crop_to, to_pixels, visible
from core.models.formulas import Point, absolute_error, mean_over_rows, random_subset, sum_of


class UNet(Model):
    title = "U-Net (direct translation)"
    summary = "Translates images directly, without a shared code. The strongest plain baseline for image quality."
    can_decode = False
    train_defaults: ClassVar[Mapping[str, Any]] = MUON

    class Config(Settings):
        width: int = Field(24, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
        halvings: int = Field(3, ge=2, le=5, description="How often the image is halved")
        given: Names = Field((), description="Learn from exactly these modalities; empty: from any subset")
        target: Names = Field((), description="Learn to make these only; empty: every modality that is not given")
        normalise: bool = NORMALISE

    def __init__(self, config: UNet.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        _check(config, shapes)
        self.targets = config.target or tuple(m for m in shapes.modalities if m not in config.given)
        n_in, n_out = len(shapes.modalities) * shapes.channels, len(self.targets) * shapes.channels
        dims, width = shapes.spatial_dims, config.width
        self.trunk = Trunk(dims, (n_in, width), width, config.halvings, level=1, block=block_of(config.normalise))
        self.head = nn.Sequential(*to_pixels(dims, width, n_out))

    def _down(self, batch: Batch) -> list[Tensor]:
        """The trunk's features of all modalities as channels, absent ones zero."""
        blank = batch.mask.new_zeros(batch.size, self.shapes.channels, *self.shapes.size, dtype=torch.float32)
        images = [visible(batch, m) if m in batch.x else blank for m in self.shapes.modalities]
        return self.trunk.down(torch.cat(images, 1))

    def encode(self, batch: Batch) -> Point:
        """The bottleneck's features."""
        return Point(self._down(batch)[-1])

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        raise InvalidConfigError("A U-Net has no code to decode: it needs the given images too.", "NO-DECODER")

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        images = crop_to(self.head(self.trunk.up(self._down(batch))), self.shapes.size)
        outputs = dict(zip(self.targets, images.chunk(len(self.targets), 1), strict=True))
        return {m: outputs[m] for m in targets}

    def supports(self, given: Sequence[str], target: str) -> bool:
        """Any other modality, within what `given` and `target` restrict it to."""
        is_given = set(given) == set(self.config.given) if self.config.given else bool(given)
        return is_given and target in self.targets and target not in given

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """L1 on what is present and was not given."""
        shown, judged = self.drawn(batch)
        outputs = self.synthesise(shown, self.targets)
        errors = [mean_over_rows(absolute_error(y, visible(batch, m)), judged[m]) for m, y in outputs.items()]
        return {"total": sum_of(errors)}

    def drawn(self, batch: Batch) -> tuple[Batch, dict[str, Tensor]]:
        """The batch with only some modalities present in each row, and which rows (B,) each target is judged on."""
        present = torch.stack([batch.present[m] for m in self.shapes.modalities])
        given = self._draw_given(present)
        shown = dict(zip(self.shapes.modalities, given, strict=True))
        judged = {m: batch.present[m] & ~shown[m] & given.any(0) for m in self.targets}
        return replace(batch, present=shown), judged

    def _draw_given(self, present: Tensor) -> Tensor:
        """(M, B): what each row shows; nothing where a row lacks a modality that the settings ask for."""
        order = self.shapes.modalities
        if self.config.given:
            asked = present.new_tensor([m in self.config.given for m in order])[:, None]
            return asked & (present | ~asked).all(0)
        if self.config.target:
            sources = present.new_tensor([len(self.targets) > 1 or m not in self.targets for m in order])[:, None]
            return random_subset(present & sources, leave_out=int(len(self.targets) > 1))
        return random_subset(present, leave_out=1)


def _check(config: UNet.Config, shapes: Shapes) -> None:
    unknown = (set(config.given) | set(config.target)) - set(shapes.modalities)
    if unknown:
        known = ", ".join(shapes.modalities)
        raise InvalidConfigError(f"given, target: {sorted(unknown)[0]} is not learnt from here. Known: {known}.")
    if set(config.given) & set(config.target) or not set(shapes.modalities) - set(config.given):
        raise InvalidConfigError("given, target: a modality is either given or a target, and one target is needed.")
    if len(shapes.modalities) < 2:
        raise InvalidConfigError("A U-Net translates between modalities: it needs two at least.", "ONE-MODALITY")
