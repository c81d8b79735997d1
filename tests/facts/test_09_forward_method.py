"""Facts behind question 09, forward-method, shown on real torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor, repeat: int = 1) -> tuple[torch.Tensor, int]:
        out = self.fc(x)
        for _ in range(repeat - 1):
            out = out * 2 if out.sum() > 0 else out * 3
        return out, repeat


def test_calling_the_module_runs_forward() -> None:
    """defines-computation, called-via-call"""
    torch.manual_seed(0)
    model, x = Scale(), torch.ones(3, 2)
    assert torch.equal(model(x)[0], x @ model.fc.weight.T + model.fc.bias)
    assert torch.equal(model(x)[0], model.forward(x)[0])


def test_direct_forward_skips_hooks() -> None:
    """hooks"""
    seen: list[str] = []
    model, x = Scale(), torch.ones(1, 2)
    model.register_forward_pre_hook(lambda *_: seen.append("before"))
    model.register_forward_hook(lambda *_: seen.append("after"))
    model.forward(x)
    assert seen == []
    model(x)
    assert seen == ["before", "after"]


def test_missing_forward_raises_not_implemented() -> None:
    """override"""

    class NoForward(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="missing the required"):
        NoForward()(torch.ones(1))


def test_autograd_records_forward_and_no_backward_is_written() -> None:
    """autograd-records, write-backward"""
    model, x = Scale(), torch.ones(1, 2)
    out, _ = model(x)
    assert out.grad_fn is not None
    assert not hasattr(nn.Module, "backward")
    out.sum().backward()
    assert model.fc.weight.grad is not None
    assert torch.equal(model.fc.weight.grad, x)
    with torch.no_grad():
        assert model(x)[0].grad_fn is None


def test_forward_changes_neither_weights_nor_gradients() -> None:
    """updates-weights, computes-gradients"""
    model = Scale()
    before = [p.detach().clone() for p in model.parameters()]
    model(torch.ones(4, 2))
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_forward_takes_python_control_flow_and_several_arguments() -> None:
    """dynamic, signature"""
    model, x = Scale(), torch.ones(1, 2)
    nn.init.ones_(model.fc.weight)
    nn.init.zeros_(model.fc.bias)
    out, repeat = model(x, repeat=3)
    assert (out.item(), repeat) == (2.0 * 2 * 2, 3)
    assert model(-x, 2)[0].item() == -2.0 * 3


def test_layers_come_from_init_and_keep_their_weights() -> None:
    """uses-init-layers"""
    model, x = Scale(), torch.ones(1, 2)
    assert torch.equal(model(x)[0], model(x)[0])
    with torch.no_grad():
        model.fc.bias.add_(1)
    changed, _ = model(x)
    assert torch.allclose(changed, x @ model.fc.weight.T + model.fc.bias)


def test_same_forward_runs_in_eval_mode_and_there_is_no_predict() -> None:
    """training-only"""
    model, x = Scale(), torch.ones(1, 2)
    assert torch.equal(model.train()(x)[0], model.eval()(x)[0])
    assert not hasattr(nn.Module, "predict")
