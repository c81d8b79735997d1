"""The whole recipe with the real model: same input, same grade; evidence is verbatim; better answers score higher."""

from __future__ import annotations

import random
import shutil
import threading
from pathlib import Path

import pytest

from grader import AnswerTooLong, Grade, Grader, InlineQuestion, InvalidAnswer, UnknownQuestion, load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.judges.scripted import ScriptedJudge

BANK = load_bank()
GOOD = (
    "PyTorch adds up gradients: every backward() call does += on .grad. zero_grad() clears the old ones so they do not "
    "leak into the new step. Call it once per iteration, before loss.backward(). If you forget it, each update uses the "
    "sum of all batches so far. You may skip it on purpose to simulate a bigger batch. Since 2.0 it sets .grad to None."
)
POOR = "It is a very important function of PyTorch and I always use it in my projects because it is best practice."


def all_spans_are_verbatim(grade: Grade, answer: str) -> bool:
    spans = [s for c in grade.criteria for s in c.evidence] + [s for m in grade.misconceptions for s in m.evidence]
    return all(answer[span.start : span.end] == span.text for span in spans)


def test_a_good_answer_beats_a_poor_one(real_grader: Grader) -> None:
    good, poor = real_grader.grade("zero-grad", GOOD), real_grader.grade("zero-grad", POOR)
    assert good.score is not None and poor.score is not None
    assert good.score > poor.score + 30
    assert good.feedback.strengths and poor.feedback.improvements


@pytest.mark.parametrize("question", BANK.questions, ids=lambda question: question.id)
def test_on_every_question_the_excellent_sample_beats_weak_and_off_topic(real_grader: Grader, question) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    kinds = {"excellent_long", "weak", "off_topic"}
    samples = [sample for sample in question.samples if sample.kind in kinds]
    scores = {s.kind: real_grader.grade(question.id, s.answer).score or 0.0 for s in samples}
    assert scores["excellent_long"] > scores["weak"] + 20
    assert scores["excellent_long"] > scores["off_topic"] + 40


def test_the_same_grade_whatever_is_graded_beside_it(real_grader: Grader) -> None:
    work = [(q.id, s.answer) for q in BANK.questions[:6] for s in q.samples[:4]]
    first = {item: real_grader.grade(*item).model_dump_json() for item in work}
    random.Random(0).shuffle(work)
    found: dict[tuple[str, str], str] = {}
    threads = [
        threading.Thread(
            target=lambda part: found.update({i: real_grader.grade(*i).model_dump_json() for i in part}),
            args=(work[n::4],),
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == first


def test_a_new_process_would_say_the_same(real_grader: Grader, tmp_path: Path) -> None:
    expected = real_grader.grade("zero-grad", GOOD)
    assert real_grader.cache_folder is not None
    for file in real_grader.cache_folder.glob("*.npz"):
        if not file.name.startswith("zero-grad-"):  # embedded anew; the other questions are there to be compared with
            shutil.copy(file, tmp_path)
    for embeds_it in (True, False):
        assert any(file.name.startswith("zero-grad-") for file in tmp_path.iterdir()) is not embeds_it
        again = Grader(
            real_grader.bank,
            real_grader.encoder,
            real_grader.offline.calibrations,
            heads=real_grader.heads,
            reader=real_grader.reader,
            cache_folder=tmp_path,
        )
        assert again.grade("zero-grad", GOOD) == expected


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        "🙂 " + GOOD,
        GOOD.replace(" ", "  "),
        GOOD.replace(". ", ".\r\n"),
        "<b>" + GOOD + "</b>",
        "- " + GOOD.replace(". ", ".\n- "),
    ],
)
def test_evidence_is_verbatim(real_grader: Grader, answer: str) -> None:
    grade = real_grader.grade("zero-grad", answer)
    assert any(result.evidence for result in grade.criteria)
    assert all_spans_are_verbatim(grade, answer)


def test_all_of_a_long_answer_counts(real_grader: Grader) -> None:
    filler = "I have used many frameworks in many projects over the years. " * 250
    long = (filler + GOOD)[-20_000:]
    grade = real_grader.grade("zero-grad", long)
    assert grade.score is not None and grade.score > 30
    assert max(s.start for c in grade.criteria for s in c.evidence) > 15_000


def test_limits_are_errors(real_grader: Grader) -> None:
    with pytest.raises(AnswerTooLong, match="20,001"):
        real_grader.grade("zero-grad", "a" * 20_001)
    with pytest.raises(UnknownQuestion):
        real_grader.grade("no-such-question", GOOD)
    with pytest.raises(InvalidAnswer):
        real_grader.grade("zero-grad", 5)  # type: ignore[arg-type]


def test_inline_questions_are_graded(real_grader: Grader) -> None:
    sky = InlineQuestion.model_validate(
        {
            "prompt": "Why is the sky blue?",
            "reference_answers": [
                "Air molecules scatter sunlight. Short blue wavelengths are scattered more than long red ones."
            ],
        }
    )
    good = real_grader.grade(
        sky, "The air scatters the light of the sun, and blue light is scattered more strongly than red."
    )
    bad = real_grader.grade(sky, "The cat sat on the mat and had a very long and pleasant sleep.")
    assert good.score is not None and bad.score is not None
    assert good.score > bad.score + 30
    assert good.question_id.startswith("inline-")


def test_similarity_does_not_enter_the_score_of_an_experience(real_grader: Grader) -> None:
    question = BANK.question("community-experience")
    pasted = real_grader.grade(question.id, question.reference_answers[0])
    assert "copied_reference" in {flag.code for flag in pasted.flags}
    assert pasted.outcome == "needs_review"


def test_not_gradable_is_a_grade_without_a_number(real_grader: Grader) -> None:
    grade = real_grader.grade("zero-grad", "   ")
    assert (grade.outcome, grade.score, grade.score_interval) == ("not_gradable", None, None)
    assert {result.verdict for result in grade.criteria} == {"abstained"}


def test_the_candidate_sees_hints_not_statements(real_grader: Grader) -> None:
    grade = real_grader.grade("zero-grad", POOR)
    shown = grade.for_candidate().model_dump_json()
    for criterion in BANK.question("zero-grad").criteria:
        assert criterion.statement not in shown
        assert criterion.hint and criterion.hint in shown


def scripted(script: dict) -> Grader:  # type: ignore[type-arg]
    return Grader(BANK, HashingEncoder(), load_calibration(), judge=ScriptedJudge(script))


def test_a_quote_that_is_not_in_the_answer_voids_the_judgement() -> None:
    grade = scripted({"accumulates": ("met", "words the candidate never wrote")}).grade("zero-grad", GOOD)
    result = next(result for result in grade.criteria if result.id == "accumulates")
    assert (result.verdict, result.points, result.evidence) == ("abstained", 0.0, ())
    assert grade.outcome == "needs_review"


def test_code_adds_up_the_points_of_any_judge() -> None:
    grade = scripted({"accumulates": ("met", "every backward() call"), "call-timing": "met"}).grade("zero-grad", GOOD)
    assert grade.coverage == pytest.approx(0.40)
    assert grade.provenance.judge == "scripted@1"


def test_feedback_quotes_only_the_answer(real_grader: Grader) -> None:
    grade = real_grader.grade("zero-grad", GOOD)
    quotes = [line.split("“")[1].rstrip("”…") for line in grade.feedback.strengths if "“" in line]
    assert quotes
    assert all(" ".join(quote.split()) in " ".join(GOOD.split()) for quote in quotes)


def test_the_public_names_are_pinned() -> None:
    import grader

    assert grader.__all__ == [
        "AnswerTooLong", "Bank", "BankError", "CalibrationError", "EncoderError", "Grade", "Grader", "GraderError",
        "InlineQuestion", "InvalidAnswer", "InvalidQuestion", "Question", "UnknownQuestion", "__version__", "load_bank",
    ]  # fmt: skip
    assert all(getattr(grader, name) is not None for name in grader.__all__)
