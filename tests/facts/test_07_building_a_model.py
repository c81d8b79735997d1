"""Facts behind question 07, building-a-model, shown on real torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(torch.relu(self.hidden(x)))
        return out


def test_subclass_gives_parameters_and_state_dict() -> None:
    """subclass"""

    class Plain:
        def __init__(self) -> None:
            self.hidden = nn.Linear(4, 8)

    assert len(list(Net().parameters())) == 4
    assert set(Net().state_dict()) == {"hidden.weight", "hidden.bias", "out.weight", "out.bias"}
    assert not hasattr(Plain(), "parameters")


def test_layer_before_super_init_is_an_error() -> None:
    """super-init"""

    class Late(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(2, 2)
            super().__init__()

    class Missing(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match=r"before Module\.__init__"):
        Late()
    with pytest.raises(AttributeError, match=r"before Module\.__init__"):
        Missing()


def test_only_attributes_of_self_are_registered() -> None:
    """layers-in-init"""

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            local = nn.Linear(2, 2)
            self.in_a_list = [local]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = nn.Linear(2, 2)(x)
            return out

    torch.manual_seed(0)
    model = Hidden()
    x = torch.ones(1, 2)
    assert list(model.parameters()) == []
    assert not torch.equal(model(x), model(x))  # a layer made in forward has new weights at each call
    net = Net()
    inputs = torch.ones(1, 4)
    assert torch.equal(net(inputs), net(inputs))


def test_forward_must_be_written_and_backward_must_not() -> None:
    """forward, write-backward"""

    class NoForward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

    with pytest.raises(NotImplementedError):
        NoForward()(torch.ones(1, 4))
    net = Net()
    assert net(torch.ones(5, 4)).shape == (5, 3)
    net(torch.ones(5, 4)).sum().backward()
    assert not hasattr(net, "backward")
    assert all(p.grad is not None for p in net.parameters())


def test_two_linear_layers_collapse_into_one_without_activation() -> None:
    """activations"""
    torch.manual_seed(0)
    first, second = nn.Linear(4, 8, dtype=torch.float64), nn.Linear(8, 3, dtype=torch.float64)
    x = torch.randn(16, 4, dtype=torch.float64)
    single = x @ (second.weight @ first.weight).T + second.weight @ first.bias + second.bias
    assert torch.allclose(second(first(x)), single)
    assert not torch.allclose(second(torch.relu(first(x))), single)


def test_sizes_that_do_not_fit_fail_at_run_time() -> None:
    """shapes"""
    model = nn.Sequential(nn.Linear(4, 64), nn.Linear(32, 2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(torch.ones(1, 4))


def test_optimizer_is_built_from_parameters() -> None:
    """loss-optimizer, softmax-with-cross-entropy"""
    torch.manual_seed(0)
    net, loss_fn = Net(), nn.CrossEntropyLoss()
    x, y = torch.randn(32, 4), torch.randint(0, 3, (32,))
    with pytest.raises(ValueError, match="empty parameter list"):
        torch.optim.SGD([], lr=0.1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    before = loss_fn(net(x), y)
    before.backward()
    optimizer.step()
    after = loss_fn(net(x), y)
    assert after < before
    assert torch.allclose(after, nn.functional.nll_loss(net(x).log_softmax(1), y))  # the loss takes raw logits


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_model_and_data_must_share_a_device() -> None:
    """device"""
    net = Net()
    assert next(net.parameters()).device.type == "cpu"  # no move by itself
    net.to("cuda")
    assert next(net.parameters()).device.type == "cuda"
    assert net(torch.ones(1, 4, device="cuda")).device.type == "cuda"
    with pytest.raises(RuntimeError):
        net(torch.ones(1, 4))
