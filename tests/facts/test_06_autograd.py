"""Facts behind question 6: how autograd records, differentiates and forgets."""

from __future__ import annotations

import pytest
import torch
from torch import nn


def test_graph_is_what_ran_in_this_forward_pass() -> None:
    """dynamic-graph"""

    def forward(x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x - 1

    positive = forward(torch.tensor([1.0], requires_grad=True))
    negative = forward(torch.tensor([-1.0], requires_grad=True))

    assert type(positive.grad_fn).__name__ == "MulBackward0"
    assert type(negative.grad_fn).__name__ == "SubBackward0"


def test_tracking_is_off_for_tensors_and_on_for_parameters() -> None:
    """requires-grad"""
    plain = torch.ones(2)
    assert not plain.requires_grad
    assert nn.Parameter(torch.ones(2)).requires_grad
    assert nn.Linear(2, 1).weight.requires_grad

    assert (plain * 2).grad_fn is None
    assert (plain.requires_grad_() * 2).requires_grad  # results of tracked tensors are tracked


def test_backward_applies_the_chain_rule_from_the_loss_to_the_input() -> None:
    """backward-chain"""
    x = torch.tensor(2.0, requires_grad=True)
    order: list[str] = []
    inner = 3 * x
    inner.register_hook(lambda _: order.append("inner"))
    outer = inner**2
    outer.register_hook(lambda _: order.append("outer"))
    before = x.item()

    outer.backward()

    assert x.grad is not None
    assert x.grad.item() == 2 * (3 * 2.0) * 3
    assert order == ["outer", "inner"]
    assert x.item() == before  # backward() updates nothing


def test_gradients_stay_on_leaves() -> None:
    """grad-leaf"""
    w = torch.ones(2, requires_grad=True)
    h = w * 2
    kept = w * 2
    kept.retain_grad()

    (h + kept).sum().backward()

    assert w.is_leaf
    assert w.grad is not None
    assert kept.grad is not None
    with pytest.warns(UserWarning, match="not a leaf"):
        assert h.grad is None


def test_gradients_are_summed_until_they_are_cleared() -> None:
    """accumulate"""
    w = nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.SGD([w], lr=0.1)

    (3 * w).backward()
    (3 * w).backward()
    assert w.grad is not None
    assert w.grad.item() == 6.0

    optimizer.zero_grad()
    (3 * w).backward()
    assert w.grad is not None
    assert w.grad.item() == 3.0


def test_no_grad_and_detach_stop_tracking_but_eval_does_not() -> None:
    """no-grad"""
    model = nn.Linear(2, 1)
    x = torch.ones(1, 2)

    with torch.no_grad():
        assert not model(x).requires_grad
    assert model(x).detach().grad_fn is None
    assert model.eval()(x).requires_grad


def test_grad_fn_names_the_operation_that_made_the_tensor() -> None:
    """grad-fn"""
    x = torch.tensor(2.0, requires_grad=True)
    y = torch.tensor(3.0, requires_grad=True)
    z = x * y

    assert x.grad_fn is None
    assert type(z.grad_fn).__name__ == "MulBackward0"
    assert z.grad_fn is not None
    assert z.grad_fn(torch.tensor(1.0)) == (3.0, 2.0)  # the backward function itself: dz/dx = y, dz/dy = x


def test_second_backward_needs_retain_graph() -> None:
    """graph-freed"""
    w = torch.tensor(2.0, requires_grad=True)

    loss = w**2
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()

    loss = w**2
    loss.backward(retain_graph=True)
    loss.backward()
    assert w.grad is not None
    assert w.grad.item() == 3 * 4.0
