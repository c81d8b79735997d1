"""Facts behind reference_answers/pytorch/12-backpropagation.yaml, shown on real torch."""

import pytest
import torch
from torch import nn


def test_forward_pass_records_a_graph() -> None:
    """graph-recorded: operations on requires_grad tensors leave a grad_fn chain, made anew in each forward pass."""
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    x = torch.tensor([3.0, 4.0])
    y = (w * x).sum()
    assert y.grad_fn is not None
    assert y.grad_fn.name() == "SumBackward0"
    parent = y.grad_fn.next_functions[0][0]
    assert parent is not None
    assert parent.name() == "MulBackward0"
    assert (x * x).sum().grad_fn is None

    def gradient(value: float) -> float:
        p = torch.tensor(value, requires_grad=True)
        out = p * p if value > 0 else 5.0 * p  # the graph follows Python's control flow
        out.backward()
        assert p.grad is not None
        return p.grad.item()

    assert gradient(3.0) == 6.0
    assert gradient(-3.0) == 5.0


def test_backward_starts_from_a_scalar() -> None:
    """backward-starts: a scalar needs no argument, a non-scalar needs an explicit gradient."""
    p = torch.tensor([1.0, 2.0], requires_grad=True)
    (p**2).sum().backward()
    assert p.grad is not None
    assert p.grad.tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        (p**2).backward()
    p.grad = None
    (p**2).backward(gradient=torch.tensor([1.0, 10.0]))
    assert p.grad is not None
    assert p.grad.tolist() == [2.0, 40.0]


def test_gradients_obey_the_chain_rule() -> None:
    """chain-rule: the gradient equals the product of the local derivatives, exactly and not as an estimate."""
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    torch.sin(x**2).backward()
    with torch.no_grad():
        expected = torch.cos(x**2) * (2 * x)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected, rtol=1e-14, atol=0.0)


def test_graph_is_walked_in_reverse() -> None:
    """reverse-order: gradients reach the last layer's output first and the first layer's output last."""
    torch.manual_seed(0)
    layers = [nn.Linear(2, 2) for _ in range(3)]
    order: list[int] = []

    def note(index: int, tensor: torch.Tensor) -> None:
        tensor.register_hook(lambda _: order.append(index))

    hidden = torch.ones(1, 2)
    for index, layer in enumerate(layers):
        hidden = layer(hidden)
        note(index, hidden)
    hidden.sum().backward()
    assert order == [2, 1, 0]


def test_gradients_land_on_the_leaves_and_add_up() -> None:
    """grad-stored, accumulates: leaves get .grad, intermediates need retain_grad(); a second pass adds."""
    w = torch.tensor(2.0, requires_grad=True)
    hidden = w * 3.0
    (hidden**2).backward()
    assert w.is_leaf
    assert w.grad is not None
    assert w.grad.item() == 36.0
    assert not hidden.is_leaf
    with pytest.warns(UserWarning, match="not a leaf Tensor"):
        assert hidden.grad is None
    hidden = w * 3.0
    hidden.retain_grad()
    (hidden**2).backward()
    assert hidden.grad is not None
    assert hidden.grad.item() == 12.0
    assert w.grad.item() == 72.0


def test_backward_leaves_the_weights_to_the_optimizer() -> None:
    """step-separate: weights are the same after backward() and different after step()."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.weight.detach().clone()
    model(torch.ones(4, 3)).sum().backward()
    assert torch.equal(model.weight, before)
    optimizer.step()
    assert not torch.equal(model.weight, before)


def test_graph_can_be_used_once_unless_retained() -> None:
    """graph-freed: a second backward() raises RuntimeError, retain_graph=True allows it."""
    p = torch.tensor(3.0, requires_grad=True)
    loss = p**2
    loss.backward(retain_graph=True)
    loss.backward()
    assert p.grad is not None
    assert p.grad.item() == 12.0
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_no_grad_records_nothing() -> None:
    """no-grad: under no_grad() the result has no grad_fn; model.eval() alone does not stop the recording."""
    model = nn.Linear(2, 1).eval()
    x = torch.ones(1, 2)
    assert model(x).grad_fn is not None
    with torch.no_grad():
        y = model(x)
    assert y.grad_fn is None
    assert not y.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        y.sum().backward()
