"""Facts behind question 4: what the .grad attribute holds, who fills it and who reads it."""

from __future__ import annotations

import pytest
import torch
from torch import nn


def test_grad_is_the_derivative_of_the_loss() -> None:
    """stores-gradient"""
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    x = torch.tensor([3.0, 4.0])
    loss = (w * x).sum()

    loss.backward()

    assert w.grad is not None
    assert torch.equal(w.grad, x)
    assert torch.equal(w.detach(), torch.tensor([1.0, 2.0]))  # backward() leaves the values alone


def test_backward_fills_grad_and_the_forward_pass_does_not() -> None:
    """filled-by-backward"""
    w = torch.tensor(2.0, requires_grad=True)
    assert w.grad is None

    loss = w**2
    assert w.grad is None

    loss.backward()
    assert w.grad is not None
    assert w.grad.item() == 4.0


def test_step_reads_grad_and_skips_parameters_without_one() -> None:
    """used-by-optimizer"""
    used = nn.Parameter(torch.tensor(1.0))
    unused = nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.SGD([used, unused], lr=0.1)
    used.grad = torch.tensor(5.0)  # written by hand: step() neither computes nor checks it

    optimizer.step()

    assert used.item() == pytest.approx(1.0 - 0.1 * 5.0)
    assert unused.grad is None
    assert unused.item() == 1.0


def test_backward_adds_to_grad() -> None:
    """accumulates"""
    w = torch.tensor(2.0, requires_grad=True)

    (3 * w).backward()
    (3 * w).backward()

    assert w.grad is not None
    assert w.grad.item() == 6.0


def test_zero_grad_clears_grad_to_none_and_keeps_the_weight() -> None:
    """reset-each-step"""
    w = nn.Parameter(torch.tensor(2.0))
    optimizer = torch.optim.SGD([w], lr=0.1)
    (3 * w).backward()
    optimizer.step()
    assert w.grad is not None  # step() does not clear it
    value = w.item()

    optimizer.zero_grad()

    assert w.grad is None
    assert w.item() == value

    (3 * w).backward()
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is not None
    assert w.grad.item() == 0.0


def test_intermediate_tensors_lose_their_gradient_unless_retained() -> None:
    """leaf-only"""
    w = torch.tensor(2.0, requires_grad=True)
    dropped = w * 3
    kept = w * 3
    kept.retain_grad()

    (dropped + kept).backward()

    assert w.is_leaf
    assert not dropped.is_leaf
    with pytest.warns(UserWarning, match="not a leaf"):
        assert dropped.grad is None
    assert kept.grad is not None
    assert kept.grad.item() == 1.0


def test_grad_stays_none_without_requires_grad() -> None:
    """requires-grad-first"""
    layer = nn.Linear(4, 3)
    layer.bias.requires_grad_(False)  # frozen
    batch = torch.ones(2, 4)

    layer(batch).sum().backward()

    assert layer.weight.requires_grad
    assert layer.weight.grad is not None
    assert layer.bias.grad is None
    assert not batch.requires_grad
    assert batch.grad is None


def test_grad_has_the_shape_of_its_tensor() -> None:
    """same-shape"""
    layer = nn.Linear(4, 3)
    layer(torch.ones(2, 4)).sum().backward()

    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.shape == parameter.shape
        assert parameter.grad.dtype == parameter.dtype
        assert parameter.grad.device == parameter.device
