"""Facts behind reference_answers/pytorch/18-torchscript.yaml, shown on real torch."""

import io
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn


class Gate(nn.Module):
    """Its path depends on the values of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x * self.scale
        return x - 100.0


def add_and_square(x: torch.Tensor) -> torch.Tensor:
    return (x + x) ** 2


def number_of_items(x: torch.Tensor) -> int:
    return int(np.prod(x.shape))


@contextmanager
def torchscript() -> Iterator[None]:
    """Every torch.jit call warns that it is deprecated; the tests below are about something else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated", category=DeprecationWarning)
        yield


def test_scripted_module_is_a_typed_graph() -> None:
    """what-is: scripting yields a ScriptModule with a graph; an annotation is enforced, unlike in Python."""
    with torchscript():
        scripted = torch.jit.script(Gate())

        @torch.jit.script
        def double(x: int) -> int:
            return x + x

    assert isinstance(scripted, torch.jit.ScriptModule)
    assert "prim::If" in str(scripted.graph)
    assert double(4) == 8
    with pytest.raises(RuntimeError, match="Expected a value of type 'int'"):
        double("4")


def test_script_keeps_both_branches() -> None:
    """script: without example input, the if-statement stays in the program."""
    with torchscript():
        scripted = torch.jit.script(Gate())
    assert "if " in scripted.code
    for x in (torch.ones(2), -torch.ones(2)):
        assert torch.equal(scripted(x), Gate()(x))


def test_trace_records_the_operations_of_one_run() -> None:
    """trace: the function is executed on the example input and the tensor operations end up in the graph."""
    calls = []

    def observed(x: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(x.shape))
        return add_and_square(x)

    with torchscript():
        traced = torch.jit.trace(observed, torch.ones(2), check_trace=False)
    assert calls == [(2,)]
    assert "aten::add" in str(traced.graph)
    assert "aten::pow" in str(traced.graph)
    assert torch.equal(traced(torch.full((3,), 2.0)), torch.full((3,), 16.0))
    assert calls == [(2,)]


def test_trace_freezes_the_branch_of_the_example() -> None:
    """trace-pitfall: torch warns, and the other branch is lost without an error at run time."""
    model = Gate()
    with torchscript(), pytest.warns(torch.jit.TracerWarning, match="might not generalize"):
        traced = torch.jit.trace(model, torch.ones(2), check_trace=False)
    assert torch.equal(traced(torch.ones(2)), model(torch.ones(2)))
    negative = -torch.ones(2)
    assert torch.equal(model(negative), torch.full((2,), -101.0))
    assert torch.equal(traced(negative), torch.full((2,), -3.0))


def test_file_can_be_loaded_without_the_class(tmp_path: Path) -> None:
    """save-load: a process that knows nothing of Gate restores code and weights (quantizes: dtype unchanged)."""
    file = tmp_path / "gate.pt"
    with torchscript():
        torch.jit.save(torch.jit.script(Gate()), str(file))
    program = (
        "import sys, torch; m = torch.jit.load(sys.argv[1]); "
        "print(m(torch.ones(2)).tolist(), m(-torch.ones(2)).tolist(), [(n, p.dtype) for n, p in m.named_parameters()])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(file)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "[3.0, 3.0] [-101.0, -101.0] [('scale', torch.float32)]"


def test_freezing_turns_parameters_into_constants() -> None:
    """optimisation: after freeze() the weights are constants in the graph, and results stay the same."""
    with torchscript():
        scripted = torch.jit.script(Gate().eval())
        frozen = torch.jit.freeze(scripted)
    assert 'prim::GetAttr[name="scale"]' in str(scripted.graph)
    assert "prim::GetAttr" not in str(frozen.graph)
    assert not list(frozen.parameters())
    assert torch.equal(frozen(torch.ones(2)), scripted(torch.ones(2)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.jit.script(add_and_square),
        lambda: torch.jit.trace(add_and_square, torch.ones(2)),
        lambda: torch.jit.load(io.BytesIO(b"")),
    ],
    ids=["script", "trace", "load"],
)
def test_torchscript_warns_that_it_is_deprecated(call: Callable[[], object]) -> None:
    """deprecated: the warning names torch.export; torch.export itself works without one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(RuntimeError):  # an empty file cannot be loaded; the warning comes first
            call()
    assert any(w.category is DeprecationWarning and "torch.export" in str(w.message) for w in caught)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        program = torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),))
    assert program.module()(torch.ones(1, 2)).shape == (1, 2)


def test_numpy_cannot_be_scripted() -> None:
    """Misconception any-python: a call into NumPy does not compile."""
    assert number_of_items(torch.ones(3)) == 3
    with torchscript(), pytest.raises((RuntimeError, TypeError)):
        torch.jit.script(number_of_items)
