"""Facts behind question 5: how PyTorch and CUDA belong together. What needs a card is marked `gpu`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def test_tensors_and_models_start_on_the_cpu() -> None:
    """move-to-device"""
    assert torch.ones(3).device.type == "cpu"
    assert next(nn.Linear(2, 2).parameters()).device.type == "cpu"


def test_to_copies_a_tensor_and_moves_a_module() -> None:
    """move-to-device (shown with the meta device, which every build has)"""
    x = torch.ones(3)
    moved = x.to("meta")
    assert x.device.type == "cpu"
    assert moved.device.type == "meta"

    model = nn.Linear(2, 2)
    assert model.to("meta") is model
    assert model.weight.device.type == "meta"


def test_operands_on_two_devices_are_refused() -> None:
    """same-device (shown with the meta device, which every build has)"""
    here = torch.ones(2, 2)
    elsewhere = torch.ones(2, 2, device="meta")

    with pytest.raises(RuntimeError, match="device"):
        torch.add(here, elsewhere)


def test_code_can_fall_back_to_the_cpu() -> None:
    """availability"""
    available = torch.cuda.is_available()
    assert isinstance(available, bool)
    assert available == (torch.cuda.device_count() > 0)

    device = torch.device("cuda" if available else "cpu")
    assert torch.ones(2, device=device).sum().item() == 2.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a CUDA GPU")
def test_without_a_gpu_asking_for_one_fails() -> None:
    """driver-and-build"""
    if torch.version.cuda is None and torch.version.hip is None:
        assert not torch.backends.cuda.is_built()

    with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA|HIP"):
        torch.ones(2, device="cuda")


@pytest.mark.gpu
@needs_gpu
def test_an_operation_runs_where_its_operands_are() -> None:
    """backend"""
    x = torch.ones(64, 64).to("cuda")

    y = x @ x

    assert y.is_cuda
    assert torch.equal(y.cpu(), torch.full((64, 64), 64.0))


@pytest.mark.gpu
@needs_gpu
def test_gpu_and_cpu_tensors_do_not_mix_except_for_numbers() -> None:
    """same-device"""
    on_gpu = torch.ones(2, device="cuda")

    with pytest.raises(RuntimeError, match="same device"):
        on_gpu + torch.ones(2)
    assert (on_gpu + torch.tensor(1.0)).sum().item() == 4.0  # a zero-dimensional CPU tensor may take part


@pytest.mark.gpu
@needs_gpu
def test_a_call_returns_before_the_gpu_is_done() -> None:
    """asynchronous"""
    x = torch.zeros(4096, 4096, device="cuda")
    out = x @ x  # warm-up: loads the library
    torch.cuda.synchronize()
    done = torch.cuda.Event()

    for _ in range(20):
        torch.mm(x, x, out=out)
    done.record()

    assert not done.query()
    torch.cuda.synchronize()
    assert done.query()
