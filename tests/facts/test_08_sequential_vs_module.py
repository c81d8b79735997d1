"""Facts behind question 08, sequential-vs-module, shown on real torch."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn


def test_sequential_runs_layers_in_given_order_and_chains_them() -> None:
    """ordered-container, chained-outputs"""
    calls: list[str] = []

    class Step(nn.Module):
        def __init__(self, name: str, factor: float, shift: float) -> None:
            super().__init__()
            self.name, self.factor, self.shift = name, factor, shift

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(self.name)
            return x * self.factor + self.shift

    a, b = Step("a", 2.0, 0.0), Step("b", 1.0, 5.0)
    x = torch.tensor([3.0])
    assert nn.Sequential(a, b)(x).item() == 3.0 * 2 + 5
    assert calls == ["a", "b"]
    assert nn.Sequential(b, a)(x).item() == (3.0 + 5) * 2
    named = nn.Sequential(OrderedDict([("z", a), ("a", b)]))
    assert named(x).item() == 3.0 * 2 + 5  # not sorted by name


def test_sequential_has_forward_and_a_bare_module_does_not() -> None:
    """ready-forward, init-order-runs"""

    class NoForward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(2, 3)
            self.b = nn.Linear(3, 1)

    x = torch.ones(4, 2)
    assert nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))(x).shape == (4, 1)
    with pytest.raises(NotImplementedError):
        NoForward()(x)


def test_custom_forward_may_contain_anything() -> None:
    """custom-forward, init-order-runs"""

    class Choice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.minus = nn.Linear(1, 1, bias=False)
            self.plus = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.minus.weight, -1.0)
            nn.init.constant_(self.plus.weight, 1.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.plus(x) if x.mean() > 0 else self.minus(x)
            return out

    model = Choice()
    assert model(torch.tensor([[2.0]])).item() == 2.0
    assert model(torch.tensor([[-2.0]])).item() == 2.0


def test_skip_connection_and_two_inputs_need_a_module() -> None:
    """branching, nesting"""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))

        def forward(self, x: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = x + self.block(x) + extra
            return out

    torch.manual_seed(0)
    model, x = Residual(), torch.ones(1, 2)
    assert torch.equal(model(x, x), x + model.block(x) + x)
    assert len(list(model.parameters())) == 4  # those of the nested Sequential
    assert "block.0.weight" in model.state_dict()
    with pytest.raises(TypeError):
        model.block(x, x)


def test_sequential_is_a_module_with_the_whole_interface() -> None:
    """is-module"""
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    assert issubclass(nn.Sequential, nn.Module)
    assert not issubclass(nn.Module, nn.Sequential)
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    assert not model.eval()[1].training


def test_sequential_and_module_compute_the_same() -> None:
    """when-to-choose"""

    class Same(nn.Module):
        def __init__(self, stack: nn.Sequential) -> None:
            super().__init__()
            self.first, self.act, self.last = stack[0], stack[1], stack[2]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.last(self.act(self.first(x)))
            return out

    torch.manual_seed(0)
    short = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    x = torch.randn(3, 4)
    assert torch.equal(short(x), Same(short)(x))


def test_module_list_has_no_forward() -> None:
    """modulelist-same"""
    with pytest.raises(NotImplementedError):
        nn.ModuleList([nn.Linear(2, 2)])(torch.ones(1, 2))
