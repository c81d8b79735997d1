"""A draft is always a question that can be checked and tested, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from grader import BankError, InvalidQuestion, load_bank
from grader.banktest import run
from grader.calibration import load_calibration
from grader.draft import draft_question, next_number, slug, write_draft
from grader.encoders.hashing import HashingEncoder
from grader.errors import JudgeUnavailable
from grader.judges import Case
from grader.judges.language import Consultation, Usage, Writing
from grader.pipeline import Grader
from grader.schema import Criterion

PROMPT = "Why is the sky blue?"
REFERENCE = (
    "Air molecules scatter sunlight in all directions. Short blue wavelengths are scattered more than long red ones. "
    "At sunset the light crosses more air before it reaches us. Most of the blue is then gone."
)
REPLY = {
    "reference_answer": REFERENCE,
    "criteria": [
        {
            "name": "Scattering",
            "statement": "Air molecules scatter sunlight.",
            "exemplars": ["The air bounces light around.", ""],
            "contradictions": ["The air absorbs all sunlight.", "air molecules scatter sunlight."],
            "hint": "What does air do to light?",
        },
        {"name": "Scattering", "statement": "Blue light is scattered more than red light.", "contradictions": []},
    ],
    "misconceptions": [
        {"name": "Ocean", "statement": "The sky mirrors the sea.", "correction": "It is blue over deserts, too."}
    ],
    "comment": "ignored",
}


class Author:
    """A language judge that writes the texts it is given, one after the other; None stands for being down."""

    name, version = "author", "1"

    def __init__(self, *texts: str | None) -> None:
        self.texts = list(texts)

    def consult(self, case: Case, criteria: Sequence[Criterion], seconds: float) -> Consultation:
        raise NotImplementedError

    def write(self, system: str, prompt: str, max_tokens: int, seconds: float) -> Writing:
        del system, prompt, max_tokens, seconds
        text = self.texts.pop(0)
        if text is None:
            raise JudgeUnavailable("unreachable", "the language model cannot be reached")
        return Writing(text, Usage(100, 20, 0.5))

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "author",
    [None, Author(json.dumps(REPLY)), Author("no", json.dumps(REPLY)), Author("no", "no"), Author(None)],
    ids=["reference", "model", "repaired", "nonsense", "down"],
)
def test_a_draft_passes_check_and_runs_its_samples(tmp_path: Path, author: Author | None) -> None:
    question = draft_question(PROMPT, REFERENCE, author).question
    file = write_draft(tmp_path / "sky", question, "author:1")
    bank = load_bank(tmp_path / "sky")
    assert [one.draft for one in bank.questions] == [True]
    assert file.read_text().startswith("# DRAFT")
    outcome = run(Grader(bank, HashingEncoder(), load_calibration()), lambda *_: None, compare=False)
    assert len(outcome.results) == len(question.samples) >= 3
    assert sum(criterion.points for criterion in question.criteria) == pytest.approx(100)


def test_what_a_model_writes_is_taken_and_mended() -> None:
    question, reason, usage = draft_question(PROMPT, None, Author(json.dumps(REPLY)))
    assert (reason, usage) == (None, Usage(100, 20, 0.5))
    assert [criterion.id for criterion in question.criteria] == ["scattering", "scattering-2"]
    assert question.criteria[0].contradictions == (
        "The air absorbs all sunlight.",
    )  # the other is the statement itself
    assert question.criteria[0].exemplars == ("The air bounces light around.",)
    assert question.misconceptions[0].correction == "It is blue over deserts, too."


def test_a_model_that_fails_is_named_and_the_reference_serves() -> None:
    question, reason, usage = draft_question(PROMPT, REFERENCE, Author(None))
    assert (reason, usage) == ("the language model cannot be reached", Usage())
    assert len(question.criteria) == 4
    assert all(criterion.contradictions for criterion in question.criteria)


def test_a_reference_is_taken_apart_into_right_and_wrong_wordings() -> None:
    reference = (
        "Chlorophyll absorbs red light more than green. Molecules carry the energy on. The water is split there. "
        "Sugar does not need light. Here comes nothing known."
    )
    criteria = draft_question("How do plants feed?", reference, None).question.criteria
    assert [criterion.id for criterion in criteria][:2] == ["chlorophyll-absorbs", "molecules-carry"]
    assert [criterion.contradictions for criterion in criteria] == [
        (
            "Chlorophyll absorbs red light less than green.",
            "Chlorophyll does not absorb red light more than green.",
        ),
        ("Molecules do not carry the energy on.",),
        ("The water is not split there.",),
        ("Sugar does need light.",),
        ("It is not true that here comes nothing known.",),
    ]
    assert criteria[2].exemplars == ("water split there.",)
    assert criteria[4].exemplars == ()


def test_replies_that_could_not_be_used_are_counted_too() -> None:
    drafted = draft_question(PROMPT, REFERENCE, Author("no", '{"criteria": 3}'))
    assert drafted.usage == Usage(200, 40, 1.0)
    assert drafted.reason == "the language model's draft could not be used (criteria)"


@pytest.mark.parametrize("author", [None, Author("no", "no"), Author(None)])
def test_without_reference_and_model_it_says_what_to_do(author: Author | None) -> None:
    with pytest.raises(InvalidQuestion, match="--reference"):
        draft_question(PROMPT, None, author)


def test_nothing_is_overwritten_and_numbers_go_on(tmp_path: Path) -> None:
    question = draft_question(PROMPT, REFERENCE, None).question
    write_draft(tmp_path, question, None)
    assert next_number(tmp_path) == 2
    with pytest.raises(BankError, match="--id"):
        write_draft(tmp_path, question, None)


def test_a_prompt_makes_an_id() -> None:
    assert slug("What is the purpose of zero_grad() in PyTorch?") == "purpose-zero-grad-pytorch"
    assert slug("???") == "question"
