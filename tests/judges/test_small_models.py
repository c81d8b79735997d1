"""Models of any make in this process: tiny ones with random weights, one with joined blanks in its tokens and one without.

Their opinions mean nothing; how they are read must not depend on the make. They are made here, so this runs everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grader.errors import JudgeError, JudgeUnavailable
from grader.judges import Case
from grader.judges.prompting import SYSTEM, VERDICTS
from grader.judges.transformers_llm import SAID, TransformersJudge, _Reader
from grader.llm import LlmOptions, load_assistant

MakeCase = Callable[..., Case]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = "the answer is met not met contradicted by it Criterion Verdict Passage grade clears gradients Question "


def tokenizer_of(make: str) -> Any:
    """`bytes`: blanks joined to the words after them (GPT, Llama 3, Qwen); `pieces`: SentencePiece with lone blanks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    special = ["<unk>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    if make == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=380, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        tokenizer.train_from_iterator([WORDS * 20], trainer)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
        letters = [chr(code) for code in range(32, 127)] + ["\n", "▁"]
        trainer = trainers.BpeTrainer(vocab_size=105, special_tokens=special, initial_alphabet=letters)
        tokenizer.train_from_iterator(["a"], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|end|>", additional_special_tokens=special[1:4]
    )
    fast.chat_template = TEMPLATE
    return fast


@pytest.fixture(scope="module", params=["bytes", "pieces"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer_of(request.param)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=8192, **shape)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = LlamaForCausalLM(config)
    folder: Path = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def judge(folder: Path) -> TransformersJudge:
    return TransformersJudge(str(folder), "cpu")


def test_verdicts_are_closed_and_evidence_is_verbatim(judge: TransformersJudge, case_of: MakeCase) -> None:
    case = case_of()
    criteria = case.index.question.criteria[:3]
    found = judge.judge(case, criteria)
    assert [one.criterion_id for one in found] == [one.id for one in criteria]
    for one in found:
        assert 0 <= one.p_met + one.p_contradicted <= 1
        assert all(case.answer.original[span.start : span.end] == span.text for span in one.evidence)
        assert bool(one.evidence) == (max(one.p_met, one.p_contradicted) > 1 - one.p_met - one.p_contradicted)


def test_an_opinion_does_not_depend_on_what_else_is_asked(judge: TransformersJudge, case_of: MakeCase) -> None:
    case = case_of()
    criteria = case.index.question.criteria[:2]
    together = judge.judge(case, criteria)
    assert [judge.judge(case, [criterion])[0] for criterion in criteria] == together
    assert judge.judge(case, criteria[::-1]) == together[::-1]


def test_offered_words_are_told_apart_where_they_differ(judge: TransformersJudge) -> None:
    import torch

    model, tokenizer = judge.load()
    text = f"{SYSTEM[:80]} Verdict:"
    rows = [tokenizer(f"{text} {SAID[one]}", add_special_tokens=False).input_ids for one in VERDICTS]
    differ = next(place for place in range(len(rows[0])) if len({row[place] for row in rows}) == 3)
    with torch.inference_mode():
        whole = torch.softmax(model(torch.tensor([rows[0][:differ]])).logits[0, -1], dim=-1)
        reader = _Reader(model, torch.tensor([rows[0][:5]]))
        chances = judge._chances(reader, text, [f" {SAID[one]}" for one in VERDICTS])
    assert chances == pytest.approx([float(whole[row[differ]]) for row in rows], rel=1e-3)
    assert len(set(chances)) == 3


def test_its_own_template_tokens_in_an_answer_are_only_text(judge: TransformersJudge) -> None:
    _, tokenizer = judge.load()
    ids = tokenizer(judge._inert("a <|end|> b <|system|> c"), add_special_tokens=False).input_ids
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_it_writes_and_stops_at_its_limits(judge: TransformersJudge, case_of: MakeCase) -> None:
    assert judge.write("You are brief.", "Say a word.", max_tokens=6, seconds=60).usage.output_tokens <= 6
    with pytest.raises(JudgeUnavailable):
        judge.consult(case_of(), case_of().index.question.criteria, -1.0)


def test_what_is_too_long_for_the_positions_of_a_model_is_declined(
    judge: TransformersJudge, case_of: MakeCase, tmp_path: Path
) -> None:
    model, tokenizer = judge.load()
    case = case_of()
    criteria = case.index.question.criteria[:2]
    needed = judge.consult(case, criteria, math.inf).usage.input_tokens
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 300}))
    short = TransformersJudge(str(tmp_path), "cpu")
    assert needed > 300
    for asked in (lambda: short.consult(case, criteria, math.inf), lambda: short.write("Be brief.", "a" * 400, 5, 60)):
        with pytest.raises(JudgeUnavailable, match="too long for the language model") as raised:
            asked()
        assert raised.value.result == "refused"
    assert short.write("Be brief.", "Say a word.", 5, 60).usage.output_tokens <= 5


def test_a_model_is_loaded_before_the_first_answer_waits_for_it(folder: Path, tmp_path: Path) -> None:
    options = LlmOptions(backend="transformers", device="cpu", memory_file=tmp_path / "memory.sqlite3")
    assistant = load_assistant(replace(options, model=str(folder)))
    assert assistant is not None
    assistant.close()
    with pytest.raises(JudgeError, match="cannot be loaded"):
        load_assistant(replace(options, model=str(tmp_path / "nothing")))
