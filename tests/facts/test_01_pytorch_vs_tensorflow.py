"""Facts that reference_answers/pytorch/01-pytorch-vs-tensorflow.yaml states, shown on real torch."""

import sys
from importlib.metadata import metadata
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn


def branch(x: torch.Tensor) -> torch.Tensor:
    """Take another path for another sign of the sum."""
    if x.sum() > 0:
        return x * 2
    return x.exp()


def test_torch_has_an_open_source_licence() -> None:
    """Criterion framework."""
    fields = metadata("torch")
    licence = " ".join(fields.get_all("License-Expression", []) + fields.get_all("License", []))
    assert "BSD" in licence


def test_graph_is_recorded_while_the_code_runs() -> None:
    """Criterion dynamic-graph: the same function leaves a different graph for different data."""
    positive = branch(torch.ones(2, requires_grad=True))
    negative = branch(-torch.ones(2, requires_grad=True))
    assert type(positive.grad_fn).__name__ == "MulBackward0"
    assert type(negative.grad_fn).__name__ == "ExpBackward0"


def test_python_control_flow_and_debugger_hooks_work_in_forward() -> None:
    """Criterion pythonic: values are concrete, and Python's trace hook (which pdb uses) visits the lines of forward."""

    class Repeat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            while float(x.sum()) < 10.0:
                x = x * 2
            return x

    lines: list[int] = []

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code is Repeat.forward.__code__ and event == "line":
            lines.append(frame.f_lineno)
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        result = Repeat()(torch.ones(2))
    finally:
        sys.settrace(previous)
    assert result.tolist() == [8.0, 8.0]
    assert len(set(lines)) == 3


def test_gradients_come_automatically() -> None:
    """Criterion tensors-autograd."""
    x = torch.tensor([2.0, -1.0], requires_grad=True)
    (x**3).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [12.0, 3.0]


def test_module_has_no_fit_and_a_written_loop_trains_it() -> None:
    """Criterion training-loop."""
    assert not hasattr(nn.Module, "fit")
    torch.manual_seed(0)
    inputs = torch.linspace(-1, 1, 16).unsqueeze(1)
    targets = 3 * inputs + 1
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    losses: list[float] = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-4 < losses[0]


def test_torch_does_not_depend_on_tensorflow() -> None:
    """Misconception on-top-of-tensorflow."""
    requirements = metadata("torch").get_all("Requires-Dist", [])
    assert not any(requirement.lower().startswith("tensorflow") for requirement in requirements)


def test_torchscript_is_deprecated() -> None:
    """Reference answer 2: deployment goes through torch.export, TorchScript is deprecated."""
    with pytest.warns(DeprecationWarning, match=r"torch\.export"):
        torch.jit.script(nn.ReLU())


def test_export_captures_a_graph() -> None:
    """Reference answer 2: torch.export gives a graph that runs without the original module."""
    model = nn.Linear(3, 2)
    example = torch.ones(1, 3)
    program = torch.export.export(model, (example,))
    assert any(node.op == "call_function" for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(example), model(example))
