"""Criterion heads: fitted on a small bank for real, saved, loaded, used, and refused when they do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from grader import BankError, Grader, load_bank
from grader.bank import DEFAULT_BANK, rubric_hash
from grader.calibration import Calibration, load_calibration
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.fitting import GradedAnswer, TrainingData, fit_heads, read_data
from grader.judges import Level
from grader.judges.heads import HEAD_SIGNALS, QuestionHeads, load_heads, read, save_heads, span_features

ENCODER = SentenceTransformerEncoder(device="cpu")
CALIBRATIONS: dict[Level, Calibration] = {level: load_calibration(level) for level in ("encoder", "rubric", "heads")}
DATA = Path(__file__).parents[2] / "training" / "data"
QUESTION = load_bank().question("zero-grad")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of one question, with heads fitted on nothing but its exemplars and contradictions."""
    folder = tmp_path_factory.mktemp("bank")
    shutil.copy(DEFAULT_BANK / "11-zero-grad.yaml", folder)
    (folder / "bank.yaml").write_text("id: small\ntitle: One question\n", encoding="utf-8")
    bank = load_bank(folder)
    save_heads(folder, fit_heads(bank, read_data(bank, None), ENCODER), ENCODER.revision, {"data": "none"})
    return folder


def heads_of(folder: Path) -> QuestionHeads:
    loaded = load_heads(folder)
    assert loaded is not None
    return loaded.questions["zero-grad"]


def test_a_head_tells_a_right_sentence_from_a_wrong_one_it_has_not_seen(small: Path) -> None:
    heads = heads_of(small)
    place = [criterion.id for criterion in QUESTION.criteria].index("accumulates")
    right, wrong, other = (
        read(heads, ENCODER.encode_layers([text]), [text]).rows[place]
        for text in (
            "The fresh gradient gets summed with what was stored there already.",
            "The fresh gradient replaces what was stored there already.",
            "Lasagne is baked for forty minutes.",
        )
    )
    first, second = HEAD_SIGNALS.index("head_right"), HEAD_SIGNALS.index("head_wrong")
    assert right[first] > max(wrong[first], other[first])
    assert wrong[second] > max(right[second], other[second])


def test_fitting_twice_gives_the_same_heads(small: Path) -> None:
    bank = load_bank(small)
    again = fit_heads(bank, read_data(bank, None), ENCODER)["zero-grad"]
    np.testing.assert_array_equal(again.right.astype(np.float16), heads_of(small).right.astype(np.float16))


def test_texts_about_nothing_teach_what_meets_nothing(small: Path, tmp_path: Path) -> None:
    bank, said = load_bank(small), {"criterion": "accumulates", "verdict": "met", "text": "Gradients pile up."}
    (tmp_path / "statements").mkdir()
    (tmp_path / "statements" / "11-zero-grad.jsonl").write_text(json.dumps(said) + "\n", encoding="utf-8")
    before = read_data(bank, tmp_path)
    asides = (DATA / "pytorch" / "asides.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "asides.txt").write_text("\n\n".join(asides[::2]), encoding="utf-8")
    after = read_data(bank, tmp_path)
    assert len(after.asides) == len(asides[::2])
    assert after.version != before.version
    layers, unseen = ENCODER.encode_layers(asides[1::2]), asides[1::2]
    without, taught = (
        np.mean([read(heads, layers[i : i + 1], [text]).rows[:, 0] for i, text in enumerate(unseen)])
        for heads in (fit_heads(bank, data, ENCODER)["zero-grad"] for data in (before, after))
    )
    assert taught < without - 0.5  # log-odds


def test_shapes_follow_the_rubric(small: Path) -> None:
    heads = heads_of(small)
    width = ENCODER.encode_layers(["x"]).reshape(1, -1).shape[1]
    assert heads.right.shape == heads.wrong.shape == (len(QUESTION.criteria), width)
    assert heads.held.shape == (len(QUESTION.misconceptions), width)
    assert heads.rubric == rubric_hash(QUESTION)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_reading_has_a_row_a_criterion_and_spans_inside_the_answer(small: Path, count: int) -> None:
    layers = ENCODER.encode_layers([f"sentence number {i} about gradients" for i in range(count)])
    assert span_features(layers).shape[0] == 2 * count - 1
    texts = [f"sentence number {i} about gradients" for i in range(count)]
    reading = read(heads_of(small), layers, texts)
    assert reading.rows.shape == (len(QUESTION.criteria), len(HEAD_SIGNALS))
    spans = [*reading.right_spans, *reading.wrong_spans, *reading.held_spans]
    assert all(0 <= first <= last < count for first, last in spans)


def test_the_last_layer_is_the_sentence_vector() -> None:
    texts = ["backward() adds to .grad", "word " * 700]
    np.testing.assert_allclose(ENCODER.encode_layers(texts)[:, -1], ENCODER.encode(texts), atol=1e-5)


def test_a_bank_with_heads_uses_them_and_says_so(small: Path) -> None:
    grader = Grader(
        load_bank(small),
        ENCODER,
        CALIBRATIONS,
        heads=load_heads(small),
    )
    grade = grader.grade(
        "zero-grad", "Every call of backward adds to what is there, so the old gradients are cleared first."
    )
    assert grade.provenance.judge == "offline@rubric"  # `small` was trained on its rubric alone
    assert grade.provenance.degraded is None
    assert grade.provenance.calibration == CALIBRATIONS["rubric"].version


def test_without_a_file_the_heads_are_fitted_to_the_rubric(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    shutil.copytree(small, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    trained = Grader(load_bank(small), ENCODER, CALIBRATIONS, heads=load_heads(small))
    untrained = Grader(load_bank(folder), ENCODER, CALIBRATIONS)
    answer = "Every call of backward adds to what is there, so the old gradients are cleared first."
    given, expected = untrained.grade("zero-grad", answer), trained.grade("zero-grad", answer)
    assert given.provenance.judge == expected.provenance.judge == "offline@rubric"
    assert given.score is not None and expected.score is not None
    assert given.score == pytest.approx(expected.score, abs=1.0)  # the file holds half precision


def test_a_changed_rubric_is_judged_without_heads_and_says_so(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    shutil.copytree(small, folder)
    file = folder / "11-zero-grad.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(QUESTION.prompt, QUESTION.prompt + " Say why."), encoding="utf-8")
    grader = Grader(
        load_bank(folder),
        ENCODER,
        CALIBRATIONS,
        heads=load_heads(folder),
    )
    grade = grader.grade("zero-grad", "Every call of backward adds to what is there already.")
    assert grade.score is not None
    assert grade.provenance.judge == "offline@rubric"
    assert grade.provenance.degraded is not None
    assert "another version of this rubric" in grade.provenance.degraded


def test_damaged_heads_say_what_to_do(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    shutil.copytree(small, folder)
    file = folder / "heads.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BankError, match="run `grader train` again"):
        load_heads(folder)


def test_a_bank_without_heads_has_none(tmp_path: Path) -> None:
    assert load_heads(tmp_path) is None


def test_the_shipped_heads_fit_the_shipped_bank() -> None:
    loaded = load_heads(DEFAULT_BANK)
    assert loaded is not None
    assert loaded.encoder == ENCODER.revision
    assert {name: heads.rubric for name, heads in loaded.questions.items()} == {
        question.id: rubric_hash(question) for question in load_bank().questions
    }


def test_a_question_without_contradictions_has_no_heads(small: Path) -> None:
    bank = load_bank(small)
    bare = [c.model_copy(update={"contradictions": ()}) for c in bank.questions[0].criteria]
    changed = bank.questions[0].model_copy(update={"criteria": tuple(bare)})
    without = type(bank)(bank.info, (changed,), bank.path)
    assert fit_heads(without, read_data(without, None), ENCODER) == {}


def test_data_faults_are_named(tmp_path: Path) -> None:
    (tmp_path / "statements").mkdir()
    file = tmp_path / "statements" / "11-zero-grad.jsonl"
    file.write_text('{"criterion": "accumulates", "verdict": "yes", "text": "x"}\nnot json\n', encoding="utf-8")
    with pytest.raises(BankError) as caught:
        read_data(load_bank(), tmp_path)
    assert [problem.line for problem in caught.value.problems] == [1, 2]


def test_the_training_data_hold_no_sample_of_the_bank() -> None:
    bank = load_bank()
    folder = Path(__file__).parents[2] / "training" / "data" / "pytorch"
    data: TrainingData = read_data(bank, folder)
    samples = {" ".join(sample.answer.split()) for question in bank.questions for sample in question.samples}
    answers: list[GradedAnswer] = [answer for part in data.answers.values() for answer in part]
    assert len(answers) > 2000
    assert not samples & {" ".join(answer.answer.split()) for answer in answers}
    assert 0.1 < sum(answer.set_aside for answer in answers) / len(answers) < 0.25
