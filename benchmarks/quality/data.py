"""What the quality card is measured on, read from the repository: answers, twins and rewordings for one bank."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.bank import Bank, expected_score
from grader.errors import BankError, Problem
from grader.fitting import GradedAnswer, TrainingData, read_data

ROOT = Path(__file__).resolve().parent.parent.parent
WRITTEN = ROOT / "benchmarks" / "data"
TRAINING = ROOT / "training" / "data"


@dataclass(frozen=True)
class Twin:
    """Two sentences about one criterion that differ in little: one says what is true, the other what is false."""

    question_id: str
    criterion: str
    change: str  # what makes the difference: negation, role, order, number, direction, effect
    true: str
    false: str


@dataclass(frozen=True)
class Rewording:
    """The same content twice: written cleanly, and as a second-language writer or a speaker would put it."""

    question_id: str
    kind: str
    clean: str
    rewritten: str


@dataclass(frozen=True)
class BankData:
    """Everything that was written for one bank. `training` was seen by the fit, all else was not."""

    unseen: tuple[GradedAnswer, ...]
    samples: tuple[GradedAnswer, ...]
    twins: tuple[Twin, ...]
    rewordings: tuple[Rewording, ...]
    training: TrainingData

    @property
    def set_aside(self) -> list[GradedAnswer]:
        """Training answers that no head was fitted on; the calibration was."""
        return [answer for part in self.training.answers.values() for answer in part if answer.set_aside]

    @property
    def learnt_from(self) -> list[GradedAnswer]:
        """Training answers that heads were fitted on: what a baseline may learn from, too."""
        return [answer for part in self.training.answers.values() for answer in part if not answer.set_aside]

    def training_twins(self, a_question: int) -> list[Twin]:
        """At most `a_question` twins of the training statements for each question, chosen by a hash of their text."""
        found: list[Twin] = []
        for question_id, statements in self.training.statements.items():
            pairs: dict[tuple[str, int], dict[str, str]] = {}
            for one in statements:
                if one.pair is not None and one.verdict in {"met", "contradicted"}:
                    pairs.setdefault((one.criterion, one.pair), {})[one.verdict] = one.text
            whole = [
                Twin(question_id, criterion, "training", pair["met"], pair["contradicted"])
                for (criterion, _), pair in pairs.items()
                if len(pair) == 2
            ]
            found += sorted(whole, key=lambda twin: stable_hash(twin.true))[:a_question]
        return found


def read_bank_data(bank: Bank, questions: Sequence[str] | None = None) -> BankData:
    """All data of a bank, or of some of its questions; raises BankError when the repository holds none for it."""
    folder = WRITTEN / bank.info.id
    if not folder.is_dir():
        raise BankError([Problem(str(folder), 0, "", f"there is nothing to measure the bank {bank.info.id!r} with")])
    wanted = {question.id for question in bank.questions if questions is None or question.id in questions}
    training = read_data(bank, TRAINING / bank.info.id)
    return BankData(
        tuple(
            answer
            for file in sorted(folder.glob("unseen-*.jsonl"))
            for answer in map(GradedAnswer.model_validate, read_lines(file))
            if answer.question_id in wanted
        ),
        tuple(answer for answer in sample_answers(bank) if answer.question_id in wanted),
        tuple(Twin(**row) for row in read_lines(folder / "twins.jsonl") if row["question_id"] in wanted),
        tuple(Rewording(**row) for row in read_lines(folder / "fluency.jsonl") if row["question_id"] in wanted),
        TrainingData(
            {name: part for name, part in training.statements.items() if name in wanted},
            {name: part for name, part in training.answers.items() if name in wanted},
            training.version,
        ),
    )


def sample_answers(bank: Bank) -> list[GradedAnswer]:
    """The samples that ship with the bank, with the score their verdicts add up to, kept inside their range."""
    return [
        GradedAnswer(
            question_id=question.id,
            id=sample.id,
            quality=sample.kind,
            answer=sample.answer,
            verdicts=sample.verdicts,
            misconceptions=sample.misconceptions,
            score=min(max(expected_score(question, sample), sample.score[0]), sample.score[1]),
        )
        for question in bank.questions
        for sample in question.samples
    ]


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file; raises BankError with the line that is not JSON."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise BankError([Problem(str(file), number, "", f"not JSON: {error}")]) from error


def stable_hash(text: str) -> int:
    """A number that is the same on every machine and in every process, unlike `hash`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
