"""Facts of question 14, batch normalization, shown on real layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn


def batch(seed: int, samples: int = 16, features: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 5.0 + 3.0 * torch.randn(samples, features, generator=generator)


def test_train_mode_normalizes_each_channel_with_batch_statistics() -> None:
    """batch-stats: one mean and one biased variance per channel, taken over samples and pixel positions."""
    layer = nn.BatchNorm2d(4)
    x = 2.0 + torch.randn(8, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = x.var((0, 2, 3), correction=0, keepdim=True)

    torch.testing.assert_close(layer(x), (x - mean) / torch.sqrt(variance + layer.eps))


def test_scale_and_shift_are_parameters_and_statistics_are_buffers() -> None:
    """affine-params: gamma starts at 1, beta at 0, both get gradients; running statistics are buffers."""
    layer = nn.BatchNorm1d(3)

    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias"}
    assert {name for name, _ in layer.named_buffers()} == {"running_mean", "running_var", "num_batches_tracked"}
    torch.testing.assert_close(layer.weight.detach(), torch.ones(3))
    torch.testing.assert_close(layer.bias.detach(), torch.zeros(3))

    (layer(batch(0)) ** 3).sum().backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    assert bool((layer.weight.grad != 0).all())


def test_running_averages_are_collected_in_training_and_used_in_eval() -> None:
    """running-eval: 0.9 * old + 0.1 * new per training step (unbiased variance); eval normalizes with them."""
    layer = nn.BatchNorm1d(3)
    x = batch(1)
    layer(x)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    torch.testing.assert_close(layer.running_mean, 0.1 * x.mean(0))
    torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * x.var(0))

    layer.eval()
    one_sample = batch(2, samples=1)
    expected = (one_sample - layer.running_mean) / torch.sqrt(layer.running_var + layer.eps)
    torch.testing.assert_close(layer(one_sample), expected)


def test_no_grad_does_not_switch_the_mode_but_eval_does() -> None:
    """eval-switch, misconception no-grad-is-enough: under no_grad() the buffers move on and batchmates matter."""
    layer = nn.BatchNorm1d(3)
    assert layer.running_mean is not None
    x, others = batch(3, samples=1), batch(4)
    before = layer.running_mean.clone()

    with torch.no_grad():
        alone_with_some = layer(torch.cat([x, others[:4]]))[0]
        alone_with_others = layer(torch.cat([x, others[4:]]))[0]
    assert not torch.allclose(alone_with_some, alone_with_others)
    assert not torch.equal(layer.running_mean, before)

    layer.eval()
    frozen = layer.running_mean.clone()
    torch.testing.assert_close(layer(torch.cat([x, others[:4]]))[0], layer(torch.cat([x, others[4:]]))[0])
    assert torch.equal(layer.running_mean, frozen)


def deep_network(with_norm: bool, depth: int = 12, width: int = 32) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(nn.Linear(width, width))
        if with_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
    layers.append(nn.Linear(width, 1))
    return nn.Sequential(*layers)


def loss_after_training(with_norm: bool, steps: int = 60) -> float:
    torch.manual_seed(0)
    model = deep_network(with_norm)
    x = torch.randn(64, 32)
    target = torch.sign(x[:, :1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
    return loss.item()


def test_deep_network_learns_in_fewer_steps() -> None:
    """faster-convergence: 60 steps at learning rate 0.1 fit the deep network with, but not without, the layers."""
    assert loss_after_training(with_norm=True) < 0.2
    assert loss_after_training(with_norm=False) > 0.8


def test_activations_keep_their_scale_through_depth() -> None:
    """why-it-works: without the layers the spread of activations collapses with depth; with them it does not."""
    spreads: dict[bool, float] = {}
    for with_norm in (False, True):
        torch.manual_seed(0)
        hidden = deep_network(with_norm)[:-1](torch.randn(64, 32))
        spreads[with_norm] = hidden.std().item()

    assert spreads[False] < 0.15
    assert 0.2 < spreads[True] < 2.0


def test_same_sample_is_normalized_differently_in_every_batch() -> None:
    """regularization: the output of one sample jitters with its batchmates, more so in small batches."""
    sample = batch(5, samples=1)

    def jitter(batch_size: int) -> float:
        layer = nn.BatchNorm1d(3)
        outputs = [layer(torch.cat([sample, batch(seed, batch_size - 1)]))[0] for seed in range(10, 40)]
        return torch.stack(outputs).std(0).mean().item()

    assert jitter(256) > 0.0
    assert jitter(4) > 3 * jitter(256)


def test_single_sample_is_refused_in_training_and_group_norm_takes_it() -> None:
    """small-batch: BatchNorm1d cannot train on one value per channel, GroupNorm does not depend on the batch."""
    x = batch(6, samples=1, features=4)

    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        nn.BatchNorm1d(4)(x)

    group_norm = nn.GroupNorm(2, 4)
    with_others = torch.cat([x, batch(7, features=4)])
    torch.testing.assert_close(group_norm(x)[0], group_norm(with_others)[0])

    converted = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm1d(4)))
    assert isinstance(converted[0], nn.SyncBatchNorm)
