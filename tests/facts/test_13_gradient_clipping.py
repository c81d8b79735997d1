"""Facts of question 13, gradient clipping, shown on real tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_


def parameter_with_grad(*grad: float) -> nn.Parameter:
    parameter = nn.Parameter(torch.zeros(len(grad)))
    parameter.grad = torch.tensor(grad)
    return parameter


def grad_of(parameter: nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


def test_one_norm_over_all_parameters_scales_every_gradient() -> None:
    """norm-mechanics: gradients 3 and 4 of two parameters have norm 5, so both are multiplied by max_norm / 5."""
    first, second = parameter_with_grad(3.0), parameter_with_grad(4.0)

    returned = clip_grad_norm_([first, second], max_norm=1.0)

    assert returned.item() == pytest.approx(5.0)  # the norm from before clipping
    assert grad_of(first).item() == pytest.approx(0.6, rel=1e-4)
    assert grad_of(second).item() == pytest.approx(0.8, rel=1e-4)


def test_small_gradients_are_left_alone() -> None:
    """norm-mechanics, misconception fixes-vanishing: below max_norm nothing changes, nothing is lifted up."""
    parameter = parameter_with_grad(0.003, 0.004)

    clip_grad_norm_([parameter], max_norm=1.0)

    torch.testing.assert_close(grad_of(parameter), torch.tensor([0.003, 0.004]))


def test_value_clipping_clamps_each_element() -> None:
    """value-mechanics: entries beyond plus or minus clip_value are set to it, the others stay."""
    parameter = parameter_with_grad(3.2, -7.0, 0.1)

    clip_grad_value_([parameter], clip_value=0.5)

    torch.testing.assert_close(grad_of(parameter), torch.tensor([0.5, -0.5, 0.1]))


def test_norm_keeps_the_direction_and_value_does_not() -> None:
    """direction: (100, 1) still points the same way after norm clipping and along the diagonal after value clipping."""
    original = torch.tensor([100.0, 1.0])
    by_norm, by_value = parameter_with_grad(100.0, 1.0), parameter_with_grad(100.0, 1.0)

    clip_grad_norm_([by_norm], max_norm=1.0)
    clip_grad_value_([by_value], clip_value=1.0)

    assert torch.cosine_similarity(grad_of(by_norm), original, dim=0).item() == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(grad_of(by_value), torch.tensor([1.0, 1.0]))


@pytest.mark.parametrize(("when", "expected_step"), [("before backward", 50.0), ("between", 1.0), ("after step", 50.0)])
def test_clipping_works_only_between_backward_and_step(when: str, expected_step: float) -> None:
    """placement: before backward() there is nothing to clip and after step() the weights have already moved."""
    weight = nn.Parameter(torch.tensor([0.0]))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    loss = (50.0 * weight).sum()

    if when == "before backward":
        clip_grad_norm_([weight], max_norm=1.0)
    loss.backward()
    if when == "between":
        clip_grad_norm_([weight], max_norm=1.0)
    optimizer.step()
    if when == "after step":
        clip_grad_norm_([weight], max_norm=1.0)

    assert weight.abs().item() == pytest.approx(expected_step, rel=1e-4)


@pytest.mark.parametrize(("clip", "stays_finite"), [(False, False), (True, True)])
def test_without_clipping_a_steep_loss_diverges(clip: bool, stays_finite: bool) -> None:
    """exploding, limits-size: the same descent on w**4 runs off to inf or NaN unless each step is bounded."""
    weight = nn.Parameter(torch.tensor([10.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (weight**4).sum()
        loss.backward()
        if clip:
            clip_grad_norm_([weight], max_norm=1.0)
        optimizer.step()

    assert bool(torch.isfinite(weight).all()) is stays_finite


def test_repeated_multiplication_makes_recurrent_gradients_explode() -> None:
    """where-common: a recurrent factor of 1.5 over 50 time steps multiplies the gradient by more than 1e8."""
    state = torch.tensor([1.0], requires_grad=True)
    hidden = state
    for _ in range(50):
        hidden = 1.5 * hidden
    hidden.sum().backward()

    assert state.grad is not None
    assert state.grad.item() > 1e8


def test_gradients_carry_the_loss_scale_until_unscaled() -> None:
    """amp-unscale: after scaled backward() the norm is too large by the loss scale; unscale_ restores the true one."""
    weight = nn.Parameter(torch.tensor([0.0]))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    scaler.scale((0.5 * weight).sum()).backward()
    assert grad_of(weight).item() == pytest.approx(512.0)

    scaler.unscale_(optimizer)
    norm = clip_grad_norm_([weight], max_norm=1.0)
    assert norm.item() == pytest.approx(0.5)
    assert grad_of(weight).item() == pytest.approx(0.5)  # below the limit, so not clipped
