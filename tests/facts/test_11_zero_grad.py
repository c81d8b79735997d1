"""Facts behind reference_answers/pytorch/11-zero-grad.yaml, shown on real torch."""

import inspect

import torch
from torch import nn


def _linear(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(3, 1)


def test_backward_adds_to_grad() -> None:
    """accumulates: a second backward() adds to .grad; with 3.0 stored and 2.0 computed, 5.0 results."""
    p = torch.tensor(1.0, requires_grad=True)
    (3.0 * p).backward()
    assert p.grad is not None
    assert p.grad.item() == 3.0
    (2.0 * p).backward()
    assert p.grad.item() == 5.0


def test_zero_grad_keeps_batches_apart() -> None:
    """clears-stale: after zero_grad() the next backward() yields the gradient of the new batch alone."""
    model = _linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch_1, batch_2 = torch.randn(4, 3), torch.randn(4, 3)
    (expected,) = torch.autograd.grad(model(batch_2).sum(), [model.weight])
    model(batch_1).sum().backward()
    optimizer.zero_grad()
    model(batch_2).sum().backward()
    assert model.weight.grad is not None
    assert torch.equal(model.weight.grad, expected)


def test_between_backward_and_step_nothing_is_learnt() -> None:
    """call-timing: zero_grad() between backward() and step() leaves step() without gradients."""
    model = _linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.weight.detach().clone()
    model(torch.ones(2, 3)).sum().backward()
    optimizer.zero_grad()
    optimizer.step()
    assert torch.equal(model.weight, before)
    optimizer.zero_grad()
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before)


def test_forgetting_it_keeps_gradient_descent_from_settling() -> None:
    """if-forgotten: without zero_grad() no error is raised, yet the same training run fails to settle."""

    def largest_late_distance(clear: bool) -> float:
        p = torch.tensor(1.0, requires_grad=True)
        optimizer = torch.optim.SGD([p], lr=0.5)
        distances: list[float] = []
        for _ in range(40):
            if clear:
                optimizer.zero_grad()
            (p**2 / 2).backward()
            optimizer.step()
            distances.append(abs(p.item()))
        return max(distances[20:])

    assert largest_late_distance(clear=True) < 1e-5
    assert largest_late_distance(clear=False) > 0.5


def test_small_batches_add_up_to_a_large_one() -> None:
    """deliberate-accum: four backward passes without zero_grad() give the gradient of the batch four times as large."""
    model = _linear()
    x, y = torch.randn(32, 3), torch.randn(32, 1)
    (expected,) = torch.autograd.grad(nn.functional.mse_loss(model(x), y), [model.weight])
    for part_x, part_y in zip(x.chunk(4), y.chunk(4), strict=True):
        (nn.functional.mse_loss(model(part_x), part_y) / 4).backward()
    assert model.weight.grad is not None
    torch.testing.assert_close(model.weight.grad, expected)


def test_grad_is_none_by_default() -> None:
    """set-to-none: the default leaves None; set_to_none=False leaves zeros."""
    for method in (torch.optim.Optimizer.zero_grad, nn.Module.zero_grad):
        assert inspect.signature(method).parameters["set_to_none"].default is True
    model = _linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.zero_grad()
    assert model.weight.grad is None
    model(torch.ones(1, 3)).sum().backward()
    optimizer.zero_grad(set_to_none=False)
    assert model.weight.grad is not None
    assert torch.count_nonzero(model.weight.grad) == 0


def test_weights_and_momentum_survive() -> None:
    """weights-untouched: parameters and optimizer state are the same before and after the call."""
    model = _linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    weight = model.weight.detach().clone()
    momentum = optimizer.state[model.weight]["momentum_buffer"].clone()
    assert torch.count_nonzero(momentum) > 0
    optimizer.zero_grad()
    assert torch.equal(model.weight, weight)
    assert torch.equal(optimizer.state[model.weight]["momentum_buffer"], momentum)


def test_optimizer_clears_its_own_and_module_clears_all() -> None:
    """opt-or-module: optimizer.zero_grad() reaches the parameters it was given, model.zero_grad() all of them."""
    torch.manual_seed(0)
    body, head = nn.Linear(3, 3), nn.Linear(3, 1)
    model = nn.Sequential(body, head)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.zero_grad()
    assert head.weight.grad is None
    assert body.weight.grad is not None
    model.zero_grad()
    assert body.weight.grad is None
