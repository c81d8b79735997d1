"""What reference_answers/pytorch/19-quantization.yaml says, shown on the installed torch."""

import io
import warnings

import pytest
import torch
from torch import nn


def _dynamic_int8(model: nn.Module) -> nn.Module:
    """Quantize the linear layers dynamically; torch warns that this API and its tensor types are on their way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


def _saved_bytes(model: nn.Module) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer)
    return buffer.getbuffer().nbytes


def test_weights_become_one_byte_integers() -> None:
    """low-precision: int8 codes take the place of 32-bit floats."""
    model = nn.Sequential(nn.Linear(16, 4))
    assert model[0].weight.element_size() == 4
    weight = _dynamic_int8(model)[0].weight()
    assert weight.dtype == torch.qint8
    assert weight.int_repr().dtype == torch.int8
    assert weight.element_size() == 1


def test_int8_model_is_about_a_quarter_of_the_size() -> None:
    """benefits: the saved int8 model is about four times smaller."""
    model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512))
    ratio = _saved_bytes(model) / _saved_bytes(_dynamic_int8(model))
    assert 3.5 < ratio < 4.1


def test_affine_mapping_with_scale_and_zero_point() -> None:
    """scale-zero-point: q = round(x / scale) + zero_point and back with (q - zero_point) * scale."""
    x = torch.tensor([-1.0, -0.3, 0.0, 0.52, 1.0])
    scale, zero_point = 0.05, 10
    q = torch.clamp(torch.round(x / scale) + zero_point, -128, 127)
    assert q[-1].item() == 30
    restored = (q - zero_point) * scale
    torch.testing.assert_close(restored, torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        native = torch.quantize_per_tensor(x, scale, zero_point, torch.qint8)
    assert native.int_repr().tolist() == [int(v) for v in q.tolist()]
    torch.testing.assert_close(native.dequantize(), restored)


def test_rounding_loses_information_and_shifts_outputs() -> None:
    """accuracy-tradeoff: quantized outputs are near the float ones, yet differ from them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).eval()
    x = torch.randn(32, 64)
    with torch.no_grad():
        full, small = model(x), _dynamic_int8(model)(x)
    assert not torch.equal(full, small)
    assert (full - small).abs().max() < 0.1 * full.abs().max()


def test_dynamic_quantization_needs_no_data_and_is_deprecated_here() -> None:
    """dynamic: one call without calibration data; inputs and outputs stay float. torch.ao points to torchao."""
    model = nn.Sequential(nn.Linear(8, 8))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    deprecations = [w for w in caught if issubclass(w.category, DeprecationWarning)]
    assert any("torchao" in str(w.message) for w in deprecations)
    assert not any(isinstance(m, torch.ao.quantization.ObserverBase) for m in small.modules())
    assert small(torch.randn(2, 8)).dtype == torch.float32


def test_observer_fixes_the_range_from_calibration_data() -> None:
    """static: an observer records minimum and maximum of sample data, from which scale and zero point follow."""
    observer = torch.ao.quantization.MinMaxObserver(dtype=torch.quint8, qscheme=torch.per_tensor_affine)
    for batch in (torch.tensor([-0.8, 0.1]), torch.tensor([0.4, 1.2])):
        observer(batch)
    scale, zero_point = observer.calculate_qparams()
    assert scale.item() == pytest.approx(2.0 / 255, rel=1e-3)
    assert zero_point.item() == 102


def test_fake_quantization_keeps_float_weights_and_passes_gradients() -> None:
    """qat: rounding is simulated in forward while the weights stay float and receive straight-through gradients."""
    weight = torch.tensor([0.24, -0.11, 9.0], requires_grad=True)
    rounded = torch.fake_quantize_per_tensor_affine(weight, 0.1, 0, -8, 7)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.detach(), torch.tensor([0.2, -0.1, 0.7]))
    rounded.sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 1.0, 0.0]


def test_torchao_quantizes_linear_layers_in_place() -> None:
    """low-precision, dynamic: torchao's quantize_ swaps linear weights for int8 ones and asks for no data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchao = pytest.importorskip("torchao.quantization", exc_type=ImportError)
        model = nn.Sequential(nn.Linear(64, 64))
        before = type(model[0].weight.data)
        torchao.quantize_(model, torchao.Int8DynamicActivationInt8WeightConfig())
        assert type(model[0].weight.data) is not before
        assert model(torch.randn(4, 64)).dtype == torch.float32
