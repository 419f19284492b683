"""Every model learns from slices, from stacks of slices and from patches alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from core.errors import InvalidConfigError
from core.models import MODELS
from core.models.base import Batch, Shapes
from core.models.blocks import Shuffle, Unshuffle
from tests.models.test_contract import SMALL

KINDS = {
    "stacks": Shapes(("CT", "T1", "T2"), (19, 26), 5, channels=3),
    "patches": Shapes(("CT", "T1", "T2"), (12, 14, 17), 5),
}


def batch_for(shapes: Shapes, n: int = 4) -> Batch:
    """Row 1 lacks T2."""
    generator = torch.Generator().manual_seed(1)
    size = (n, shapes.channels, *shapes.size)
    x = {m: 0.2 + 0.6 * torch.rand(size, generator=generator) for m in shapes.modalities}
    present = {m: torch.ones(n, dtype=torch.bool) for m in shapes.modalities}
    present["T2"][1] = False
    x["T2"][1] = 0
    mask = torch.rand((n, 1, *shapes.size), generator=generator) > 0.3
    return Batch(x, present, mask, torch.arange(n), torch.arange(n) % shapes.n_positions)


def built(name: str, shapes: Shapes, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = MODELS[name](MODELS[name].Config(**{**SMALL.get(name, {}), **settings}), shapes)
    if not model.parts():
        model.fit([batch_for(shapes)])
    return model


WHOLE = ("mean_image",)  # needs whole slices
EACH = [(name, kind) for name in MODELS for kind in KINDS if (name, kind) not in [(w, "patches") for w in WHOLE]]


@pytest.mark.parametrize("name", WHOLE)
def test_what_needs_whole_slices_refuses_patches(name: str) -> None:
    with pytest.raises(InvalidConfigError, match="whole slices"):
        built(name, KINDS["patches"])


@pytest.mark.parametrize(("name", "kind"), EACH)
def test_stacks_and_patches_are_learnt_and_made_in_their_own_size(name: str, kind: str) -> None:
    shapes = KINDS[kind]
    model, batch = built(name, shapes), batch_for(shapes)
    for part in model.parts() or ("model",):
        assert torch.isfinite(model.loss(batch, part, 5)["total"])
    pairs = [(a, b) for a in shapes.modalities for b in shapes.modalities if model.supports((a,), b)]
    for given, target in pairs[:2]:
        made = model.synthesise(batch.only([given]), [target])[target]
        assert made.shape == (4, shapes.channels, *shapes.size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", [name for name, kind in MODELS.items() if "spatial_latent" in kind.Config.model_fields]
)
def test_the_latent_of_stacks_and_patches_may_be_one_vector(name: str, kind: str) -> None:
    model, batch = built(name, KINDS[kind], spatial_latent=False), batch_for(KINDS[kind])
    assert model.embed(batch).ndim == 2
    assert torch.isfinite(model.loss(batch, "model", 5)["total"])


def test_pixels_are_sorted_into_channels_in_three_axes_as_in_two() -> None:
    """A patch without depth of content along its last axis, halved there by hand, is the slice's own sorting."""
    flat = torch.randn(2, 3, 4, 6)
    deep = Unshuffle()(torch.stack([flat, flat], -1))
    expected = F.pixel_unshuffle(flat, 2).repeat_interleave(2, 1)
    torch.testing.assert_close(deep[..., 0], expected)


def test_sorting_pixels_into_channels_can_be_undone() -> None:
    patch = torch.randn(2, 3, 4, 6, 8)
    assert Unshuffle()(patch).shape == (2, 24, 2, 3, 4)
    torch.testing.assert_close(Shuffle()(Unshuffle()(patch)), patch)
