"""Facts that reference_answers/pytorch/03-tensor-vs-variable.yaml states, shown on real torch."""

import pytest
import torch
from torch import nn
from torch.autograd import Variable


def test_every_tensor_counts_as_a_variable() -> None:
    """Criterion merged."""
    assert isinstance(torch.ones(2), Variable)
    assert isinstance(nn.Parameter(torch.ones(2)), Variable)
    assert not isinstance([1.0, 2.0], Variable)


def test_calling_variable_returns_a_plain_tensor() -> None:
    """Criterion returns-tensor: no Variable object comes out, and the memory is shared."""
    x = torch.ones(2)
    wrapped = Variable(x)
    assert type(wrapped) is torch.Tensor
    assert wrapped.data_ptr() == x.data_ptr()
    assert not wrapped.requires_grad


def test_requires_grad_on_the_tensor_is_enough() -> None:
    """Criterion requires-grad, misconceptions must-wrap and all-tensors-track."""
    plain = torch.tensor([1.0, 2.0])
    assert not plain.requires_grad
    tracked = torch.tensor([1.0, 2.0], requires_grad=True)
    (tracked**2).sum().backward()
    assert tracked.grad is not None
    assert tracked.grad.tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="does not require grad"):
        (plain**2).sum().backward()


def test_autograd_attributes_belong_to_the_tensor() -> None:
    """Criterion attributes."""
    x = torch.ones(2, requires_grad=True)
    y = (x * 2).sum()
    assert type(y) is torch.Tensor
    assert y.grad_fn is not None
    assert x.grad_fn is None
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0]


def test_volatile_has_no_effect_and_no_grad_does_its_job() -> None:
    """Criterion volatile."""
    weight = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="volatile was removed"):
        batch = Variable(torch.ones(2), volatile=True)
    assert (weight * batch).requires_grad
    with torch.no_grad():
        assert not (weight * batch).requires_grad
    with torch.inference_mode():
        assert not (weight * batch).requires_grad


def test_tensors_can_be_changed_in_place() -> None:
    """Misconception tensor-constant."""
    x = torch.zeros(3)
    x[0] = 5.0
    x.add_(1.0)
    assert x.tolist() == [6.0, 1.0, 1.0]


def test_parameter_is_a_tensor_that_a_module_registers() -> None:
    """Misconception variable-is-parameter: a tracked tensor is no parameter, nn.Parameter is."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))
            self.other = Variable(torch.ones(2), requires_grad=True)

    assert [name for name, _ in Model().named_parameters()] == ["weight"]
    assert issubclass(nn.Parameter, torch.Tensor)
    assert nn.Parameter(torch.ones(2)).requires_grad
