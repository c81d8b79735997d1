"""Facts behind reference_answers/pytorch/10-optimizers.yaml, shown on real torch."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import nn


def _model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 3, generator=generator), torch.randn(16, 1, generator=generator)


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
    x, y = _batch()
    loss = torch.tensor(float("nan"))
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [(torch.optim.SGD, {"lr": 0.1}), (torch.optim.Adam, {"lr": 0.01}), (torch.optim.AdamW, {"lr": 0.01})],
)
def test_the_usual_loop_lowers_the_loss(algorithm: type[torch.optim.Optimizer], options: dict[str, Any]) -> None:
    """updates-params, algorithms, loop-order: zero_grad, backward, step lowers the loss with each algorithm."""
    model = _model()
    optimizer = algorithm(model.parameters(), **options)
    first = _train(model, optimizer, steps=1)
    last = _train(model, optimizer, steps=50)
    assert last < first


def test_only_the_given_parameters_are_trained() -> None:
    """takes-parameters: the constructor needs parameters, and others stay as they were."""
    model = _model()
    with pytest.raises(TypeError):
        torch.optim.SGD(lr=0.1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="empty parameter list"):
        torch.optim.SGD([], lr=0.1)
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    body, head = model[0].weight.detach().clone(), model[2].weight.detach().clone()
    _train(model, optimizer, steps=3)
    assert torch.equal(model[0].weight, body)
    assert not torch.equal(model[2].weight, head)


def test_algorithms_have_different_update_rules() -> None:
    """algorithms: from the same gradient SGD and Adam take different steps; AdamW decays apart from the gradient."""

    def after_one_step(make: type[torch.optim.Optimizer], gradient: float = 0.5, **options: Any) -> float:
        p = nn.Parameter(torch.tensor([2.0]))
        optimizer = make([p], lr=0.1, **options)
        p.grad = torch.tensor([gradient])
        optimizer.step()
        return p.item()

    assert after_one_step(torch.optim.SGD) == pytest.approx(2.0 - 0.1 * 0.5)
    assert after_one_step(torch.optim.Adam) == pytest.approx(2.0 - 0.1, abs=1e-5)
    decay = 0.1
    assert after_one_step(torch.optim.AdamW, 0.0, weight_decay=decay) == pytest.approx(2.0 * (1 - 0.1 * decay))
    assert after_one_step(torch.optim.Adam, 0.0, weight_decay=decay) == pytest.approx(2.0 - 0.1, abs=1e-5)


def test_step_changes_the_weights_and_backward_does_not() -> None:
    """step-applies, learning-rate: backward() fills .grad, step() subtracts lr times .grad (plain SGD)."""
    model = _model()
    x, y = _batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    before = model[0].weight.detach().clone()
    nn.functional.mse_loss(model(x), y).backward()
    assert torch.equal(model[0].weight, before)
    gradient = model[0].weight.grad
    assert gradient is not None
    optimizer.step()
    torch.testing.assert_close(model[0].weight.detach(), before - 0.25 * gradient)


def test_state_dict_lets_training_resume_exactly() -> None:
    """state: Adam keeps moments; a restart with its state_dict equals the unbroken run, one without does not."""
    model = _model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    _train(model, optimizer, steps=5)
    assert {"exp_avg", "exp_avg_sq"} <= set(optimizer.state[model[0].weight])
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    assert not any("exp_avg" in key for key in weights)
    _train(model, optimizer, steps=5)

    def resume(with_state: bool) -> torch.Tensor:
        other = _model(seed=1)
        other.load_state_dict(weights)
        other_optimizer = torch.optim.Adam(other.parameters(), lr=0.05)
        if with_state:
            other_optimizer.load_state_dict(state)
        _train(other, other_optimizer, steps=5)
        return other[0].weight.detach()

    assert torch.equal(resume(with_state=True), model[0].weight)
    assert not torch.allclose(resume(with_state=False), model[0].weight)


def test_parameter_groups_have_their_own_learning_rate() -> None:
    """param-groups: options of a group override the defaults, and the update follows them."""
    slow, fast = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([{"params": [slow], "lr": 0.01}, {"params": [fast]}], lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1]
    (slow + fast).backward()
    optimizer.step()
    assert slow.item() == pytest.approx(0.99)
    assert fast.item() == pytest.approx(0.9)


def test_scheduler_changes_lr_after_the_optimizer_step() -> None:
    """scheduler: scheduler.step() lowers lr; calling it before optimizer.step() draws a warning."""
    p = nn.Parameter(torch.tensor([1.0]))
    optimizer = torch.optim.SGD([p], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    p.grad = torch.tensor([1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)

    optimizer = torch.optim.SGD([p], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    with pytest.warns(UserWarning, match="lr_scheduler.step"):
        scheduler.step()  # before optimizer.step()
