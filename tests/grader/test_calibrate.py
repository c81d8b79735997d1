"""A bank's own point scale: fitted to people who are stricter than the shipped one, refused when nothing supports it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from grader.bank import DEFAULT_BANK, load_bank
from grader.calibrate import FEWEST, Fit, GradedOpinion, fit, read_graded, write
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.errors import CalibrationError
from grader.pipeline import Grader
from grader.texts import say


def samples_csv(file: Path, strictness: float = 1.0, limit: int | None = None) -> Path:
    """The shipped samples, graded by somebody who gives `strictness` times what they are worth."""
    rows = [
        (question.id, sample.answer, round(sum(sample.score) / 2 * strictness, 1))
        for question in load_bank().questions
        for sample in question.samples
        if sample.kind != "off_topic"
    ]
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(("question_id", "answer", "score"))
        writer.writerows(rows[:limit])
    return file


@pytest.fixture(scope="module")
def opinions(real_grader: Grader, tmp_path_factory: pytest.TempPathFactory) -> list[GradedOpinion]:
    file = samples_csv(tmp_path_factory.mktemp("graded") / "graded.csv", limit=60)
    return read_graded(real_grader, file)


def regraded(rows: list[GradedOpinion], factor: float) -> list[GradedOpinion]:
    return [GradedOpinion(row.opinion, row.expected * factor) for row in rows]


@pytest.fixture(scope="module")
def found(real_grader: Grader, opinions: list[GradedOpinion]) -> Fit:
    """Fitted to people who are much stricter."""
    return fit(real_grader, regraded(opinions, 0.6))


def test_strict_graders_get_a_stricter_scale(real_grader: Grader, opinions: list[GradedOpinion], found: Fit) -> None:
    shipped = real_grader.offline.newest.points
    assert found.gain > 1
    assert found.scale.points.high > shipped.high
    assert found.answers == len(opinions)
    assert found.inside >= 0.85


def test_a_fitted_scale_is_used_and_versioned(
    real_grader: Grader, opinions: list[GradedOpinion], found: Fit, tmp_path: Path
) -> None:
    bank = shutil.copytree(DEFAULT_BANK, tmp_path / "bank")
    write(bank, found.scale)
    stricter = Grader.load(bank, encoder=real_grader.encoder)
    row = max(opinions, key=lambda row: row.expected)
    question, answer = row.opinion.prepared.index.question.id, row.opinion.prepared.text.original
    before, after = real_grader.grade(question, answer), stricter.grade(question, answer)
    assert before.score is not None and after.score is not None
    assert after.score < before.score
    assert after.provenance.calibration == f"{before.provenance.calibration}+{found.scale.version}"
    assert after.provenance.degraded is None


def test_a_scale_of_another_version_is_not_used(tmp_path: Path, opinions: list[GradedOpinion]) -> None:
    del opinions
    calibration = load_calibration()
    grader = Grader(load_bank(), HashingEncoder(), calibration)
    rows = read_graded(grader, samples_csv(tmp_path / "graded.csv", limit=40))
    found = fit(grader, rows).scale.model_copy(update={"base": "0" * 12})
    stale = Grader(load_bank(), HashingEncoder(), calibration, scale=found)
    grade = stale.grade("tensors", "A tensor is an array of numbers that can live on a GPU.")
    assert grade.provenance.degraded is not None
    assert say("grade.degraded.scale") in grade.provenance.degraded


def test_too_few_answers_are_refused(real_grader: Grader, opinions: list[GradedOpinion]) -> None:
    with pytest.raises(CalibrationError, match=f"at least {FEWEST}"):
        fit(real_grader, opinions[: FEWEST - 1])


def test_scores_that_do_not_differ_are_refused(real_grader: Grader, opinions: list[GradedOpinion]) -> None:
    with pytest.raises(CalibrationError, match="hardly differ"):
        fit(real_grader, [GradedOpinion(row.opinion, 50.0) for row in opinions])


def test_graders_who_turn_everything_round_are_refused(real_grader: Grader, opinions: list[GradedOpinion]) -> None:
    with pytest.raises(CalibrationError, match="no scale can mend"):
        fit(real_grader, [GradedOpinion(row.opinion, 100 - row.expected) for row in opinions])


def test_every_bad_row_is_named(real_grader: Grader, tmp_path: Path) -> None:
    file = tmp_path / "graded.csv"
    file.write_text(
        "question_id,answer,score\ntensors,An array.,40\nnothing,An array.,40\ntensors,An array.,400\ntensors,,5\n",
        encoding="utf-8",
    )
    with pytest.raises(CalibrationError) as caught:
        read_graded(real_grader, file)
    message = str(caught.value)
    assert "3 rows cannot be used" in message
    assert all(f"row {number}" in message for number in (2, 3, 4))


def test_other_maximum(real_grader: Grader, tmp_path: Path) -> None:
    file = tmp_path / "graded.csv"
    file.write_text("question_id,answer,score\ntensors,A tensor is an array of numbers.,4\n", encoding="utf-8")
    (row,) = read_graded(real_grader, file, out_of=5)
    assert row.expected == 80.0
