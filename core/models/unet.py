"""U-Net with an L1 loss, from any subset of modalities to any other (Ronneberger et al. 2015, arXiv:1505.04597; random
subsets with absent channels at zero as in Sharma & Hamarneh 2020, IEEE TMI 39(4), arXiv:1904.12200)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from core.config import Names, Settings
from core.errors import InvalidConfigError
from core.models.base import Batch, Model, Shapes
from core.models.blocks import channels_at, conv_block, pad, up, visible
from core.models.formulas import Point, absolute_error, mean_over_rows, random_subset, sum_of


class UNet(Model):
    title = "U-Net (direct translation)"
    summary = "Translates images directly, without a shared code. The strongest plain baseline for image quality."
    can_decode = False

    class Config(Settings):
        width: int = Field(16, ge=4, le=256, description="Channels at full resolution; more is slower and finer")
        halvings: int = Field(3, ge=1, le=5, description="How often the image is halved")
        given: Names = Field((), description="Learn from exactly these modalities; empty: from any subset")
        target: Names = Field((), description="Learn to make these only; empty: every modality that is not given")

    def __init__(self, config: UNet.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        _check(config, shapes)
        self.targets = config.target or tuple(m for m in shapes.modalities if m not in config.given)
        widths = [channels_at(config.width, level) for level in range(config.halvings + 1)]
        n_in = len(shapes.modalities) * (shapes.channels + 1)
        self.stem = conv_block(n_in, widths[0])
        pairs = list(pairwise(widths))
        self.downs = nn.ModuleList(nn.Sequential(conv_block(a, b, 2), conv_block(b, b)) for a, b in pairs)
        self.ups = nn.ModuleList(up(b, a) for a, b in reversed(pairs))
        self.merges = nn.ModuleList(conv_block(2 * a, a) for a, _ in reversed(pairs))
        self.head = nn.Conv2d(widths[0], len(self.targets) * shapes.channels, 1)

    def _down(self, batch: Batch) -> list[Tensor]:
        """The features of each level, finest first."""
        features = [self.stem(pad(self._stack(batch), 2**self.config.halvings))]
        for down in self.downs:
            features.append(down(features[-1]))
        return features

    def _stack(self, batch: Batch) -> Tensor:
        """All modalities as channels, absent ones zero, then a plane of ones for each that is there."""
        blank = batch.mask.new_zeros(batch.size, self.shapes.channels, *self.shapes.size, dtype=torch.float32)
        images, planes = [], []
        for m in self.shapes.modalities:
            is_known = m in batch.x
            images.append(visible(batch, m) if is_known else blank)
            plane = blank[:, :1]
            planes.append(plane + batch.present[m].view(-1, 1, 1, 1) if is_known else plane)
        return torch.cat(images + planes, 1)

    def encode(self, batch: Batch) -> Point:
        """The bottleneck's features."""
        return Point(self._down(batch)[-1])

    def decode(self, z: Tensor, targets: Sequence[str]) -> dict[str, Tensor]:
        raise InvalidConfigError("A U-Net has no code to decode: it needs the given images too.", "NO-DECODER")

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> dict[str, Tensor]:
        *skips, x = self._down(batch)
        for grow, merge, skip in zip(self.ups, self.merges, reversed(skips), strict=True):
            x = merge(torch.cat([grow(x), skip], 1))
        h, w = self.shapes.size
        outputs = dict(zip(self.targets, self.head(x)[..., :h, :w].chunk(len(self.targets), 1), strict=True))
        return {m: outputs[m] for m in targets}

    def supports(self, given: Sequence[str], target: str) -> bool:
        """Any other modality, within what `given` and `target` restrict it to."""
        is_given = set(given) == set(self.config.given) if self.config.given else bool(given)
        return is_given and target in self.targets and target not in given

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """L1 on what is present and was not given."""
        present = torch.stack([batch.present[m] for m in self.shapes.modalities])
        given = self._draw_given(present)
        shown = dict(zip(self.shapes.modalities, given, strict=True))
        outputs = self.synthesise(Batch(batch.x, shown, batch.mask, batch.case_index, batch.position), self.targets)
        errors = []
        for m, output in outputs.items():
            judged = batch.present[m] & ~shown[m] & given.any(0)
            errors.append(mean_over_rows(absolute_error(output, visible(batch, m)), judged))
        return {"total": sum_of(errors)}

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
