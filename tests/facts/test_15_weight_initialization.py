"""Facts of question 15, weight initialization, shown on real layers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn


def test_layers_initialize_themselves_on_construction() -> None:
    """default-auto: a new layer holds random values, and reset_parameters() draws the same default again."""
    torch.manual_seed(0)
    layer = nn.Linear(50, 20)
    drawn = layer.weight.detach().clone()
    assert drawn.unique().numel() > 900

    torch.manual_seed(0)
    layer.reset_parameters()
    assert torch.equal(layer.weight, drawn)


@pytest.mark.parametrize(("kind", "fan_in"), [("linear", 100), ("conv", 16 * 3 * 3)])
def test_linear_and_conv_are_uniform_within_one_over_root_fan_in(kind: str, fan_in: int) -> None:
    """linear-conv-default: weights and biases fill the interval of plus or minus 1 / sqrt(fan_in) evenly."""
    torch.manual_seed(0)
    layer = nn.Linear(100, 400) if kind == "linear" else nn.Conv2d(16, 400, 3)
    bound = 1 / math.sqrt(fan_in)
    assert layer.bias is not None

    for values in (layer.weight.detach(), layer.bias.detach()):
        assert values.abs().max().item() <= bound
        assert values.abs().max().item() > 0.9 * bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)  # a uniform one, no Gaussian


def test_linear_default_is_kaiming_uniform_with_root_five() -> None:
    """linear-conv-default, misconception xavier-or-normal-default: the same seed gives the very same numbers."""
    torch.manual_seed(1)
    weight = nn.Linear(30, 40).weight
    torch.manual_seed(1)
    kaiming = nn.init.kaiming_uniform_(torch.empty(40, 30), a=math.sqrt(5))
    torch.manual_seed(1)
    xavier = nn.init.xavier_uniform_(torch.empty(40, 30))

    assert torch.equal(weight, kaiming)
    assert not torch.allclose(weight, xavier)


def test_init_functions_overwrite_in_place_without_autograd() -> None:
    """init-module: the given parameter itself changes and stays a leaf; names without underscore are deprecated."""
    weight = nn.Linear(3, 3).weight
    returned = nn.init.constant_(weight, 0.25)

    assert returned is weight
    assert bool((weight == 0.25).all())
    assert weight.is_leaf
    assert weight.grad_fn is None
    assert weight.requires_grad

    with pytest.warns(FutureWarning, match="deprecated"):
        nn.init.xavier_uniform(weight)


def test_apply_reaches_every_submodule() -> None:
    """apply-custom: the function is called for nested children and for the model itself."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(2, 1))))
    visited: list[str] = []

    def initialize(module: nn.Module) -> None:
        visited.append(type(module).__name__)
        if isinstance(module, nn.Linear):
            nn.init.ones_(module.weight)

    model.apply(initialize)

    assert sorted(visited) == ["Linear", "Linear", "ReLU", "Sequential", "Sequential", "Sequential"]
    assert all(bool((p == 1).all()) for name, p in model.named_parameters() if name.endswith("weight"))


def spread_after(depth: int, activation: nn.Module, std: float, width: int = 256) -> float:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, width, generator=generator)
    for _ in range(depth):
        x = activation(x @ (std * torch.randn(width, width, generator=generator)))
    return x.square().mean().sqrt().item()


def test_kaiming_keeps_the_scale_under_relu_and_xavier_does_not() -> None:
    """xavier-vs-kaiming, variance-scale: 30 ReLU layers keep the signal with He's scale, lose it with Glorot's."""
    torch.manual_seed(0)
    width = 256
    kaiming, xavier = math.sqrt(2 / width), math.sqrt(2 / (width + width))

    assert nn.init.kaiming_normal_(torch.empty(width, width)).std().item() == pytest.approx(kaiming, rel=0.05)
    assert nn.init.xavier_normal_(torch.empty(width, width)).std().item() == pytest.approx(xavier, rel=0.05)
    assert 0.3 < spread_after(30, nn.ReLU(), kaiming) < 3.0
    assert spread_after(30, nn.ReLU(), xavier) < 1e-3
    assert spread_after(30, nn.ReLU(), 1.0) > 1e20  # unscaled standard normal weights explode


def test_equal_neurons_stay_equal() -> None:
    """symmetry: hidden units that start with the same weights still have the same weights after training steps."""
    torch.manual_seed(0)
    hidden, output = nn.Linear(3, 4), nn.Linear(4, 1)
    for parameter in (*hidden.parameters(), *output.parameters()):
        nn.init.constant_(parameter, 0.5)
    optimizer = torch.optim.SGD([*hidden.parameters(), *output.parameters()], lr=0.1)
    x, target = torch.randn(16, 3), torch.randn(16, 1)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(output(torch.tanh(hidden(x))), target).backward()
        optimizer.step()

    assert not torch.allclose(hidden.weight, torch.full((4, 3), 0.5))  # it did learn ...
    torch.testing.assert_close(hidden.weight, hidden.weight[:1].expand(4, 3))  # ... four times the same unit


def test_other_layers_have_their_own_defaults() -> None:
    """other-layer-defaults: ones and zeros for norm layers, N(0, 1) for embeddings, U by hidden size for an LSTM."""
    torch.manual_seed(0)
    for norm in (nn.BatchNorm1d(5), nn.LayerNorm(5), nn.GroupNorm(1, 5)):
        assert bool((norm.weight == 1).all())
        assert bool((norm.bias == 0).all())

    table = nn.Embedding(400, 50).weight
    assert table.mean().item() == pytest.approx(0.0, abs=0.03)
    assert table.std().item() == pytest.approx(1.0, rel=0.03)

    bound = 1 / math.sqrt(64)
    assert all(p.abs().max().item() <= bound for p in nn.LSTM(8, 64).parameters())
