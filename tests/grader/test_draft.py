"""A draft is always a question that can be checked and tested, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader import BankError, InvalidQuestion, load_bank
from grader.banktest import run
from grader.calibration import load_calibration
from grader.draft import LONGEST_WORDING, MOST_CRITERIA, draft_question, next_number, slug, write_draft
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
CRITERION: dict[str, object] = {
    "name": "Scattering",
    "statement": "Air molecules scatter sunlight.",
    "exemplars": ["The air bounces light around.", ""],
    "contradictions": ["The air absorbs all sunlight.", "air molecules scatter sunlight."],
    "hint": "What does air do to light?",
}
REPLY: dict[str, Any] = {
    "reference_answer": REFERENCE,
    "criteria": [
        CRITERION,
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


def changed(**criterion: object) -> str:
    """The good reply with another first criterion."""
    return json.dumps(REPLY | {"criteria": [CRITERION | criterion]})


@pytest.mark.parametrize(
    ("reply", "faults"),
    [
        (changed(hint="x" * 2_001), "criteria.0.hint"),
        (changed(exemplars=["x" * 2_001]), "criteria.0.exemplars.0"),
        (changed(contradictions=["x" * 2_001]), "criteria.0.contradictions.0"),
        (changed(statement=" " * 20), "criteria.0.statement"),
        (changed(statement="Half a character \ud800."), "criteria.0.statement"),
        (json.dumps(REPLY | {"reference_answer": "x" * 20_001}), "reference_answer"),
        (json.dumps(REPLY | {"misconceptions": [{}]}), "misconceptions.0.correction, misconceptions.0.name, "),
        ("{}", "criteria"),
    ],
)
def test_a_fault_of_a_reply_is_mended_once_and_then_named(reply: str, faults: str) -> None:
    assert draft_question(PROMPT, REFERENCE, Author(reply, json.dumps(REPLY))).reason is None
    drafted = draft_question(PROMPT, REFERENCE, Author(reply, reply))
    assert drafted.reason is not None
    assert f"could not be used ({faults}" in drafted.reason
    assert len(drafted.question.criteria) == 4
    with pytest.raises(InvalidQuestion, match="could not be used"):
        draft_question(PROMPT, None, Author(reply, reply))


def test_a_draft_without_a_reference_needs_the_models() -> None:
    reply = json.dumps(REPLY | {"reference_answer": " "})
    assert draft_question(PROMPT, REFERENCE, Author(reply)).reason is None
    with pytest.raises(InvalidQuestion, match=r"could not be used \(reference_answer\)"):
        draft_question(PROMPT, None, Author(reply, reply))


def test_null_is_as_good_as_nothing() -> None:
    question, reason, _ = draft_question(
        PROMPT,
        REFERENCE,
        Author(json.dumps({"criteria": [CRITERION | {"hint": None, "exemplars": None}], "misconceptions": None})),
    )
    assert reason is None
    assert (question.criteria[0].hint, question.criteria[0].exemplars) == (None, ())


def test_wrong_versions_at_their_longest_still_make_a_sample(tmp_path: Path) -> None:
    wrong = [f"{n} " + "x" * (LONGEST_WORDING - 3) for n in range(MOST_CRITERIA)]
    criteria = [CRITERION | {"contradictions": [text]} for text in wrong]
    question = draft_question(PROMPT, REFERENCE, Author(json.dumps({"criteria": criteria}))).question
    write_draft(tmp_path, question, None)
    assert load_bank(tmp_path).questions == (question,)


@pytest.mark.parametrize(
    ("prompt", "reference", "question_id", "message"),
    [
        ("x" * 2_001, REFERENCE, None, "2,001"),
        (" ", REFERENCE, None, "2,000 characters"),
        (PROMPT, "Air scatters blue light. " * 1_000, None, "24,999"),
        (PROMPT, REFERENCE, "Not an id", "--id"),
        (PROMPT, "a b c d", None, "--reference"),
    ],
)
def test_what_the_author_gives_is_looked_at_first(
    prompt: str, reference: str, question_id: str | None, message: str
) -> None:
    with pytest.raises(InvalidQuestion, match=message):
        draft_question(prompt, reference, Author() if "--ref" not in message else None, question_id=question_id)


def test_sentences_of_enormous_words_can_be_taken_apart(tmp_path: Path) -> None:
    reference = " ".join(["Air" + "x" * 500] * 12) + "."
    write_draft(tmp_path, draft_question(PROMPT, reference, None).question, None)
    assert load_bank(tmp_path).questions


ODD: st.SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["", " " * 9, "\ud800 half of one", "nul \x00 and bell \x07", "- name: [x", "\x85 \u2028 \ufeff ends"]),
    st.sampled_from(["Ünïcödé ohne Wörter", "x" * 601, "x" * 2_001, "x" * 20_001]),
    st.lists(st.text(max_size=9), max_size=14),
    st.dictionaries(st.text(max_size=5), st.none(), max_size=2),
)  # fmt: skip


def odd(good: dict[str, object]) -> st.SearchStrategy[dict[str, object]]:
    """An object with some of its fields missing and some odd."""
    return st.fixed_dictionaries({}, optional={name: st.just(value) | ODD for name, value in good.items()})


ODD_REPLIES = st.fixed_dictionaries(
    {},
    optional={
        "reference_answer": st.just(REFERENCE) | ODD,
        "criteria": st.lists(odd(CRITERION), max_size=11) | ODD,
        "misconceptions": st.lists(odd(REPLY["misconceptions"][0]), max_size=7) | ODD,
    },
).map(json.dumps) | st.text(alphabet='{}[]",:ab0 \n\\', max_size=40)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(reply=ODD_REPLIES, reference=st.none() | st.just(REFERENCE))
def test_whatever_a_model_replies_there_is_a_sound_question_or_a_reason(reply: str, reference: str | None) -> None:
    try:
        question, reason, _ = draft_question(PROMPT, reference, Author(reply, reply))
    except InvalidQuestion:
        assert reference is None
        return
    assert reason is None or "could not be used" in reason
    with TemporaryDirectory() as folder:
        write_draft(Path(folder), question, None)
        assert load_bank(folder).questions == (question,)


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
