"""What a block does to a grey value, with and without a normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core.models.blocks import ConvSettings, Decoder, Encoder, block_of, conv_block, plain_block


@pytest.mark.parametrize(("block", "is_changed"), [(conv_block, True), (plain_block, False)])
def test_only_a_normalised_block_lets_one_place_change_what_is_made_of_another(block: object, is_changed: bool) -> None:
    torch.manual_seed(0)
    layer, image = block(2, 3, 8, 1), torch.rand(1, 3, 7, 9)  # type: ignore[operator]
    brighter = image.clone()
    brighter[..., 6, 8] += 5
    there = (layer(image)[..., 0, 0], layer(brighter)[..., 0, 0])
    assert torch.equal(*there) is not is_changed


def test_plain_blocks_keep_the_scale_of_features_through_many_layers() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 32, 40, 41)
    deep = nn.Sequential(*(plain_block(2, 32, 32) for _ in range(12)))
    assert 0.5 < float(deep(x)[..., 13:-13, 13:-13].pow(2).mean().detach()) < 2


def test_the_setting_reaches_every_network() -> None:
    settings = ConvSettings(normalise=False)
    assert block_of(settings.normalise) is plain_block
    networks = [Encoder((12, 10), 1, 8, settings), Decoder((12, 10), 8, 1, settings)]
    assert not any(isinstance(part, nn.GroupNorm) for network in networks for part in network.modules())
