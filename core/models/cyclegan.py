"""CycleGAN: two translators that undo each other, learnt without pairs (Zhu et al. 2017, arXiv:1703.10593)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from core.errors import InvalidConfigError
from core.models.adversarial import (
    AdversarialSettings,
    ImagePool,
    PatchDiscriminator,
    loss_of_fooling,
    loss_on_made,
    loss_on_real,
    mean_absolute_error,
)
from core.models.base import Batch, Model, Shapes
from core.models.blocks import Trunk, crop_to, to_pixels, visible
from core.models.formulas import Point, mean_code, mean_over_rows, sum_of

Images = dict[str, Tensor]


class CycleGAN(Model):
    title = "CycleGAN (without pairs)"
    summary = "Learns two modalities without pairs, checking itself by going there and back. Needs a long training."
    can_decode = False
    paired = False
    train_defaults: ClassVar[Mapping[str, Any]] = {"momentum": 0.5, "lr": 5e-4, "max_minutes": 60.0}

    class Config(AdversarialSettings):
        source: str = Field("", description="One of the two modalities; empty: the first that is not the target")
        target: str = Field("", description="The other one; empty: the next. Both ways are learnt")
        width: int = Field(24, ge=4, le=256, description="Channels at half resolution; more is slower and finer")
        halvings: int = Field(3, ge=2, le=5, description="How often the image is halved")
        cycle_weight: float = Field(10.0, ge=0, le=1000, description="Weight of the error after going there and back")
        identity_weight: float = Field(5.0, ge=0, le=1000, description="Weight of leaving alone what needs no change")
        pool: int = Field(50, ge=0, le=1000, description="Earlier images that the judge is shown again")

    def __init__(self, config: CycleGAN.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        self.pair = _pair(config, shapes)
        self.generators = nn.ModuleDict({m: Generator(config, shapes) for m in self.pair})  # named for what they make
        channels = (shapes.channels, 1)
        self.discriminators = nn.ModuleDict(
            {m: PatchDiscriminator(shapes.spatial_dims, channels, config) for m in self.pair}
        )
        self.pools = nn.ModuleDict({m: ImagePool(config.pool, shapes) for m in self.pair})

    def parts(self) -> dict[str, list[nn.Parameter]]:
        players = {"generator": self.generators, "discriminator": self.discriminators}
        return {name: list(player.parameters()) for name, player in players.items()}

    def other(self, modality: str) -> str:
        """The modality on the other side."""
        return self.pair[1 - self.pair.index(modality)]

    def encode(self, batch: Batch) -> Point:
        """The inside of the translator that reads a modality; two modalities' codes have little in common."""
        blank = torch.zeros(batch.size, self.shapes.channels, *self.shapes.size, device=batch.position.device)
        nothing = torch.zeros(batch.size, dtype=torch.bool, device=batch.position.device)
        seen = torch.stack([batch.present.get(m, nothing) for m in self.pair])
        images = {m: visible(batch, m) if m in batch.x else blank for m in self.pair}
        readers = {m: cast(Generator, self.generators[self.other(m)]) for m in self.pair}
        return Point(mean_code([readers[m].code(x) for m, x in images.items()], seen))

    def decode(self, z: Tensor, targets: Sequence[str]) -> Images:
        raise InvalidConfigError("A CycleGAN has no code to decode: it needs the given image.", "NO-DECODER")

    def supports(self, given: Sequence[str], target: str) -> bool:
        """From either of the two to the other."""
        return target in self.pair and tuple(given) == (self.other(target),)

    def synthesise(self, batch: Batch, targets: Sequence[str]) -> Images:
        return {m: self.generators[m](visible(batch, self.other(m))) for m in targets}

    def loss(self, batch: Batch, part: str, step: int) -> dict[str, Tensor]:
        """Generators: GAN both ways + cycle + identity; discriminators: GAN / 2 of each, with images of the pool."""
        real, rows = {m: visible(batch, m) for m in self.pair}, {m: batch.present[m] for m in self.pair}
        if part == "discriminator":
            with torch.no_grad():
                made = self.synthesise(batch, self.pair)
            return {"total": sum_of([self._caught(m, real[m], made[m], rows) for m in self.pair])}
        made = self.synthesise(batch, self.pair)
        fooling, cycle, identity = [], [], []
        for m, x in real.items():
            n = self.other(m)
            logits = self.discriminators[n](made[n])
            fooling.append(mean_over_rows(loss_of_fooling(self.config.objective, logits), rows[m]))
            cycle.append(mean_over_rows(mean_absolute_error(self.generators[m](made[n]), x), rows[m]))
            identity.append(mean_over_rows(mean_absolute_error(self.generators[m](x), x), rows[m]))
        values = {"adversarial": sum_of(fooling), "cycle": sum_of(cycle), "identity": sum_of(identity)}
        weighted = self.config.cycle_weight * values["cycle"] + self.config.identity_weight * values["identity"]
        return {"total": values["adversarial"] + weighted, **values}

    def _caught(self, modality: str, real: Tensor, made: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        """Half of the loss on real images and half of that on made ones."""
        judge, objective, from_rows = self.discriminators[modality], self.config.objective, rows[self.other(modality)]
        shown = cast(ImagePool, self.pools[modality]).exchange(made, from_rows)
        on_real = mean_over_rows(loss_on_real(objective, judge(real)), rows[modality])
        return on_real + mean_over_rows(loss_on_made(objective, judge(shown)), from_rows)


class Generator(nn.Module):
    """A U-Net in place of the paper's residual network, which works at full resolution and is many times slower."""

    def __init__(self, config: CycleGAN.Config, shapes: Shapes) -> None:
        super().__init__()
        dims, width, channels = shapes.spatial_dims, config.width, shapes.channels
        self.size = shapes.size
        self.trunk = Trunk(dims, (channels, width), width, config.halvings, level=1)
        self.head = nn.Sequential(*to_pixels(dims, width, channels))

    def code(self, x: Tensor) -> Tensor:
        """The deepest features."""
        return self.trunk.down(x)[-1]

    def forward(self, x: Tensor) -> Tensor:
        return crop_to(self.head(self.trunk(x)), self.size)


def _pair(config: CycleGAN.Config, shapes: Shapes) -> tuple[str, str]:
    known = shapes.modalities
    unknown = {config.source, config.target} - {"", *known}
    if unknown:
        said = ", ".join(known)
        raise InvalidConfigError(f"source, target: {sorted(unknown)[0]} is not learnt from here. Known: {said}.")
    source = config.source or next((m for m in known if m != config.target), "")
    target = config.target or next((m for m in known if m != source), "")
    if not source or not target or source == target:
        raise InvalidConfigError("source, target: a CycleGAN needs two different modalities.", "ONE-MODALITY")
    return source, target
