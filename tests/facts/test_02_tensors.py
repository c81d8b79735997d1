"""Facts that reference_answers/pytorch/02-tensors.yaml states, shown on real torch."""

import numpy as np
import pytest
import torch


def test_dimensions_of_scalar_vector_matrix_and_batch() -> None:
    """Criterion rank, misconception must-be-matrix."""
    assert torch.tensor(5.0).ndim == 0
    assert torch.tensor([5.0]).ndim == 1
    assert torch.tensor([[5.0]]).ndim == 2
    assert torch.zeros(16, 3, 8, 8).ndim == 4


def test_one_dtype_for_all_elements_and_float32_by_default() -> None:
    """Criterion dtype."""
    assert torch.tensor([1.5, 2.5]).dtype is torch.float32
    assert torch.tensor([1.0, 2, 3]).dtype is torch.float32
    assert torch.tensor([1, 2, 3]).dtype is torch.int64
    with pytest.raises((ValueError, TypeError)):
        torch.tensor([1.0, "two"])


def test_numpy_conversion_shares_memory_on_the_cpu() -> None:
    """Criterion numpy."""
    array = np.ones(3)
    tensor = torch.from_numpy(array)
    array[0] = 9.0
    assert tensor[0].item() == 9.0
    tensor[1] = 7.0
    assert array[1] == 7.0
    assert np.shares_memory(tensor.numpy(), array)
    copied = torch.tensor(array)
    array[2] = 5.0
    assert copied[2].item() == 1.0


def test_requires_grad_records_operations_for_backward() -> None:
    """Criterion autograd, misconceptions always-tracks and same-as-numpy."""
    plain = torch.tensor([3.0])
    assert not plain.requires_grad
    assert (plain**2).grad_fn is None
    weight = torch.tensor([3.0], requires_grad=True)
    result = (weight**2).sum()
    assert result.grad_fn is not None
    assert weight.grad is None
    result.backward()
    assert weight.grad is not None
    assert weight.grad.item() == 6.0


def test_operations_and_broadcasting() -> None:
    """Criterion ops."""
    a = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(a * a, torch.tensor([[0.0, 1.0, 4.0], [9.0, 16.0, 25.0]]))
    assert (a @ a.T).shape == (2, 2)
    assert torch.equal(a[:, 0], torch.tensor([0.0, 3.0]))
    assert (torch.ones(3, 1) + torch.ones(1, 4)).shape == (3, 4)
    with pytest.raises(RuntimeError):
        _ = torch.ones(3) + torch.ones(4)


def test_view_and_transpose_share_the_storage() -> None:
    """Criterion view."""
    a = torch.arange(6.0).reshape(2, 3)
    flat, turned = a.view(6), a.transpose(0, 1)
    assert flat.data_ptr() == turned.data_ptr() == a.data_ptr()
    assert a.stride() == (3, 1)
    assert turned.stride() == (1, 3)
    flat[0] = 99.0
    assert a[0, 0].item() == 99.0
    assert turned[0, 0].item() == 99.0
    assert a.clone().data_ptr() != a.data_ptr()


def test_to_returns_another_tensor_and_leaves_the_original() -> None:
    """Misconception to-in-place."""
    x = torch.ones(2)
    moved = x.to("meta")
    assert moved.device.type == "meta"
    assert x.device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_tensor_on_the_gpu() -> None:
    """Criterion device; a CUDA tensor has no NumPy view (criterion numpy)."""
    x = torch.ones(2, 2)
    on_gpu = x.to("cuda")
    assert on_gpu.is_cuda
    assert not x.is_cuda
    assert (on_gpu @ on_gpu).device == on_gpu.device
    with pytest.raises(TypeError):
        on_gpu.numpy()
