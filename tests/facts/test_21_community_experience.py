"""Facts behind the stories of reference_answers/pytorch/21-community-experience.yaml, shown on real torch.

A story cannot be proved; what can be is the behaviour of torch that the stories and misconceptions rest on.
"""

import importlib.metadata
import importlib.util
import pickle
from pathlib import Path

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils import collect_env
from torch.utils.data import DataLoader

RECORDINGS = [torch.ones(3), torch.ones(5), torch.ones(2), torch.ones(4)]


def padded(batch: list[torch.Tensor]) -> torch.Tensor:
    return pad_sequence(batch, batch_first=True)


def f1(predicted: torch.Tensor, actual: torch.Tensor) -> float:
    hits = float((predicted & actual).sum())
    return 2 * hits / float(predicted.sum() + actual.sum())


def test_default_collate_wants_equal_sizes_and_padding_helps() -> None:
    """difficulty, solution (second reference answer): recordings of different length need a collate_fn."""
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        next(iter(DataLoader(RECORDINGS, batch_size=2)))
    batches = list(DataLoader(RECORDINGS, batch_size=2, collate_fn=padded))
    assert [tuple(batch.shape) for batch in batches] == [(2, 5), (2, 4)]


def test_a_lambda_cannot_be_sent_to_spawned_workers() -> None:
    """solution (second reference answer): a lambda cannot be pickled, a function of a module can."""
    assert pickle.loads(pickle.dumps(padded)) is padded
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(lambda batch: pad_sequence(batch, batch_first=True))


def test_mean_of_batch_f1_is_not_f1() -> None:
    """difficulty, solution (sample excellent-short-1): averaging the F1 of batches differs from F1 over all data."""
    predicted = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0], dtype=torch.bool)
    actual = torch.tensor([1, 0, 0, 0, 1, 1, 1, 0], dtype=torch.bool)
    of_batches = [f1(p, a) for p, a in zip(predicted.chunk(2), actual.chunk(2), strict=True)]
    assert of_batches == [0.5, 0.5]
    torch.manual_seed(0)
    predicted, actual = torch.rand(64) > 0.4, torch.rand(64) > 0.7
    of_batches = [f1(p, a) for p, a in zip(predicted.split(8), actual.split(8), strict=True)]
    assert abs(sum(of_batches) / len(of_batches) - f1(predicted, actual)) > 1e-3


def test_log_of_zero_gives_nan_and_clamp_cures_it() -> None:
    """solution: anomaly detection points at the operation, a clamp removes the NaN."""
    x = torch.zeros(1, requires_grad=True)
    with (
        pytest.warns(UserWarning, match="Anomaly Detection has been enabled"),
        torch.autograd.detect_anomaly(),
        pytest.warns(UserWarning, match="Error detected in LogBackward0"),
        pytest.raises(RuntimeError, match="nan values"),
    ):
        (torch.log(x) * 0).backward()
    y = torch.zeros(1, requires_grad=True)
    (torch.log(y.clamp(min=1e-6)) * 0).backward()
    assert y.grad is not None
    assert bool(torch.isfinite(y.grad).all())


def test_a_model_can_be_shared_through_a_hubconf(tmp_path: Path) -> None:
    """engagement: a folder with a hubconf.py is all that others need to load a shared model."""
    (tmp_path / "hubconf.py").write_text(
        "import torch\n\ndef tiny(outputs=2):\n    '''A tiny model.'''\n    return torch.nn.Linear(3, outputs)\n"
    )
    assert torch.hub.load(str(tmp_path), "tiny", source="local", outputs=4).out_features == 4


def test_bug_reports_can_include_the_environment() -> None:
    """engagement: collect_env describes the installation for an issue."""
    assert callable(collect_env.get_pretty_env_info)
    assert {"torch_version", "python_version", "os"} <= set(collect_env.SystemEnv._fields)


def test_lightning_is_not_inside_torch() -> None:
    """Misconception lightning-is-core: there is no Lightning and no Trainer in the torch package."""
    assert importlib.util.find_spec("torch.lightning") is None
    assert not hasattr(torch, "Trainer")
    assert not hasattr(torch.nn, "LightningModule")


def test_licence_is_permissive() -> None:
    """Misconception no-commercial-use: torch comes under a BSD-style licence."""
    metadata = importlib.metadata.metadata("torch")
    licence = f"{metadata.get('License-Expression', '')} {metadata.get('License', '')}"
    assert "BSD-3-Clause" in licence
    assert "NC" not in licence
