"""What reference_answers/pytorch/16-training-issues.yaml says, shown on the installed torch."""

import time

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def _descend(lr: float, max_norm: float | None = None, steps: int = 60) -> float:
    """Loss of a small least-squares fit after some steps of gradient descent."""
    torch.manual_seed(0)
    x = torch.randn(32, 4) * 10
    y = x.sum(dim=1, keepdim=True)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
    return loss.item()


def test_diverging_loss_is_tamed_by_lower_lr_and_by_clipping() -> None:
    """nan-loss: too large a step overflows; a smaller learning rate or a clipped gradient does not."""
    assert not torch.isfinite(torch.tensor(_descend(lr=1.0)))
    assert _descend(lr=0.001) < 1.0
    assert torch.isfinite(torch.tensor(_descend(lr=1.0, max_norm=1.0)))


def test_anomaly_detection_names_the_invalid_operation() -> None:
    """nan-loss: set_detect_anomaly points to the operation whose backward returned nan and repairs nothing."""
    x = torch.zeros(1, requires_grad=True)
    torch.autograd.set_detect_anomaly(True)
    try:
        loss = (torch.sqrt(x) * 0).sum()
        with (
            pytest.warns(UserWarning, match="Error detected in SqrtBackward0"),
            pytest.raises(RuntimeError, match="returned nan values"),
        ):
            loss.backward()
    finally:
        torch.autograd.set_detect_anomaly(False)


def _first_layer_gradient(activation: type[nn.Module], residual: bool) -> float:
    torch.manual_seed(0)
    layers = [nn.Linear(16, 16) for _ in range(20)]
    h = torch.randn(8, 16)
    for layer in layers:
        out = activation()(layer(h))
        h = h + out if residual else out
    h.sum().backward()
    assert layers[0].weight.grad is not None
    return layers[0].weight.grad.norm().item()


def test_early_layers_get_little_gradient_through_many_sigmoids() -> None:
    """vanishing-gradients: deep sigmoid stacks starve the first layer; residual connections bring the signal back."""
    plain = _first_layer_gradient(nn.Sigmoid, residual=False)
    assert plain < 1e-6
    assert _first_layer_gradient(nn.Sigmoid, residual=True) > 1e4 * plain


def test_summing_loss_tensors_keeps_their_graphs() -> None:
    """out-of-memory: a running sum of tensors holds on to every graph, loss.item() gives a plain number."""
    model = nn.Linear(2, 1)
    total = torch.zeros(())
    for _ in range(3):
        total = total + model(torch.ones(1, 2)).sum()
    assert total.grad_fn is not None
    assert isinstance(model(torch.ones(1, 2)).sum().item(), float)
    with torch.no_grad():
        assert model(torch.ones(1, 2)).grad_fn is None


def test_mismatches_raise_and_attributes_show_them() -> None:
    """mismatch: wrong inner size, float class indices and another device raise; shape, dtype and device tell why."""
    x = torch.ones(3, 5)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        nn.Linear(4, 2)(x)
    logits, targets = torch.zeros(3, 2), torch.tensor([0.0, 1.0, 1.0])
    with pytest.raises(RuntimeError, match="Long"):
        nn.CrossEntropyLoss()(logits, targets)
    assert nn.CrossEntropyLoss()(logits, targets.long()).item() == pytest.approx(0.6931, abs=1e-3)
    assert (x.shape, x.dtype, x.device.type) == (torch.Size([3, 5]), torch.float32, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_model_and_data_on_different_devices_raise() -> None:
    """mismatch: a model on the GPU refuses a CPU input until the input is moved."""
    model, x = nn.Linear(2, 1).to("cuda"), torch.ones(1, 2)
    with pytest.raises(RuntimeError, match="same device"):
        model(x)
    assert model(x.to("cuda")).device.type == "cuda"


def test_forgotten_calls_raise_nothing() -> None:
    """silent-slips: without zero_grad() gradients add up, without eval() dropout stays on; neither raises."""
    w = torch.ones(1, requires_grad=True)
    for _ in range(2):
        (3 * w).sum().backward()
    assert w.grad is not None
    assert w.grad.item() == 6.0
    torch.manual_seed(0)
    model, x = nn.Dropout(0.5), torch.ones(64)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), x)
    assert nn.Linear(1, 1).eval()(torch.ones(1)).requires_grad  # eval() does not turn gradients off


class _SlowDataset(Dataset[int]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        time.sleep(0.005)
        return index


def test_profiler_shows_the_loader_that_keeps_the_model_waiting() -> None:
    """slow-input: torch.profiler lists the time spent in the DataLoader; num_workers=0 is the default."""
    loader = DataLoader(_SlowDataset(), batch_size=4)
    assert loader.num_workers == 0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as prof:
        for batch in loader:
            batch.float().mean()
    events = {event.key: event.cpu_time_total for event in prof.key_averages()}
    waiting_us = max(time_us for key, time_us in events.items() if "DataLoader" in key)
    assert waiting_us > 0.9 * 8 * 5_000


def test_sound_loop_overfits_one_small_batch() -> None:
    """tiny-case: a small net memorises eight random labels; a loop that never steps does not."""
    torch.manual_seed(0)
    x, y = torch.randn(8, 10), torch.tensor([0, 1, 0, 1, 1, 0, 0, 1])

    def final_loss(step: bool) -> float:
        model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        loss = torch.tensor(0.0)
        for _ in range(150):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            if step:
                optimizer.step()
        return loss.item()

    assert final_loss(step=True) < 0.01
    assert final_loss(step=False) > 0.3
