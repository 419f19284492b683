"""Muon against the nearest orthonormal matrix (by singular values), and against AdamW."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.config import TrainConfig
from core.muon import ADAMS_SIZE, Muon, orthogonal
from core.schedule import optimiser


@pytest.mark.parametrize("shape", [(3, 16, 54), (2, 54, 16), (1, 9, 9)])
@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
def test_singular_values_come_near_one_along_the_same_directions(shape: tuple[int, int, int], scale: float) -> None:
    matrices = scale * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = orthogonal(matrices)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    gains = torch.linalg.diagonal(u.mT @ found @ vh.mT)
    weak = 0.3 if shape[1] == shape[2] else 0.6  # a square one has values near zero, which five rounds do not lift
    assert weak < gains.median() < 1.25
    torch.testing.assert_close(u @ torch.diag_embed(gains) @ vh, found, atol=1e-4, rtol=0)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.hidden, self.pixels = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 1)
        self.dense = nn.Linear(4, 8)


def gradients(model: nn.Module, seed: int = 5) -> None:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape)


def test_only_kernels_are_turned_and_all_else_steps_as_with_adamw() -> None:
    model, other = Net(), Net()
    ours = Muon(model.parameters(), 1e-2, betas=(0.9, 0.999), weight_decay=0.1)
    adam = torch.optim.AdamW(other.parameters(), 1e-2, betas=(0.9, 0.999), weight_decay=0.1)
    for seed in range(3):
        for each, stepper in ((model, ours), (other, adam)):
            gradients(each, seed)
            stepper.step()
    differ = {
        name for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True) if not torch.equal(a, b)
    }
    assert differ == {"first.weight", "hidden.weight"}  # the 1 x 1 kernels have but four outputs


def test_a_step_is_as_long_as_a_usual_one_of_adam_and_decays_first() -> None:
    model = Net()
    before = model.hidden.weight.detach().clone()
    gradients(model)
    Muon(model.parameters(), 1e-2, weight_decay=0.5).step()
    change = model.hidden.weight.detach() - (1 - 1e-2 * 0.5) * before
    assert float(change.pow(2).mean().sqrt()) == pytest.approx(ADAMS_SIZE * 1e-2, rel=0.2)
    direction = model.hidden.weight.grad
    assert isinstance(direction, Tensor)
    assert float((change * direction).sum()) < 0


def test_momentum_looks_one_step_ahead() -> None:
    """By hand: mean m = 0.1 g, then g + 0.9 (m - g)."""
    model = Net()
    gradients(model)
    stepper = Muon(model.parameters(), 1e-2, betas=(0.9, 0.999), weight_decay=0.0)
    gradient = model.hidden.weight.grad
    assert isinstance(gradient, Tensor)
    expected = gradient.lerp(0.1 * gradient, 0.9)
    before = model.hidden.weight.detach().clone()
    stepper.step()
    turned = orthogonal(expected.flatten(1)[None])[0].view_as(before)
    size = 1e-2 * ADAMS_SIZE * 72**0.5
    torch.testing.assert_close(model.hidden.weight.detach(), before - size * turned)
    torch.testing.assert_close(stepper.state[model.hidden.weight]["momentum"], 0.1 * gradient)


def test_kernels_without_a_gradient_stay() -> None:
    model = Net()
    gradients(model)
    model.first.weight.grad = None
    before = model.first.weight.detach().clone()
    Muon(model.parameters(), 1e-2, weight_decay=0.5).step()
    assert torch.equal(model.first.weight.detach(), before)


def test_a_kernel_that_the_batch_says_nothing_of_stays_and_remembers() -> None:
    model = Net()
    stepper = Muon(model.parameters(), 1e-2, weight_decay=0.0)
    gradients(model)
    stepper.step()
    weight = model.hidden.weight
    before, mean = weight.detach().clone(), stepper.state[weight]["momentum"].clone()
    gradients(model)
    assert weight.grad is not None
    weight.grad.zero_()
    stepper.step()
    assert torch.equal(weight.detach(), before)
    assert torch.equal(stepper.state[weight]["momentum"], mean)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_memory_format_changes_nothing(dims: int) -> None:
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    ends = []
    for form in (torch.contiguous_format, formats[dims]):
        torch.manual_seed(0)
        layer = kind(6, 9, 3)
        layer.weight.data = layer.weight.data.contiguous(memory_format=form)
        stepper = Muon(layer.parameters(), 1e-2)
        for seed in range(3):
            gradients(layer, seed)
            stepper.step()
        ends.append(layer.weight.detach())
    assert ends[1].is_contiguous(memory_format=formats[dims])
    torch.testing.assert_close(ends[0], ends[1])


def test_settings_choose() -> None:
    parameters = list(Net().parameters())
    assert type(optimiser(parameters, TrainConfig())) is torch.optim.AdamW
    chosen = optimiser(parameters, TrainConfig(optimiser="muon", momentum=0.5))
    assert isinstance(chosen, Muon)
    assert {group["betas"][0] for group in chosen.param_groups} == {0.5}
