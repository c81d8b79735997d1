"""Measures all parts of the quality card and puts them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.quality import public, robustness
from benchmarks.quality.bank import (
    agreement_section,
    certainty_section,
    grade_all,
    verdict_section,
)
from benchmarks.quality.card import Card, Section
from benchmarks.quality.data import BankData, read_bank_data
from benchmarks.quality.unseen_question import left_out_section
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.pipeline import Grader

Progress = Callable[[str], None]


def quality_card(
    grader: Grader,
    data: Path | None = None,
    *,
    cache: Path | None = None,
    questions: Sequence[str] | None = None,
    progress: Progress = lambda _step: None,
) -> Card:
    """The card of a grader on its bank, and on the public sets in `data` where it is given.

    `questions` measures only some of the bank. `cache` keeps what the public sets cost most. `progress` is told each step.
    Raises BankError when the repository holds no data for the bank.
    """
    own = read_bank_data(grader.bank, questions)
    sections, skipped = _bank_sections(grader, own, progress), []
    if questions is None and isinstance(grader.encoder, SentenceTransformerEncoder):
        progress("questions left out")
        sections.append(left_out_section(grader.bank, grader.encoder, own.set_aside, own.unseen))
    else:
        skipped.append("a new question of the bank: needs the whole bank and the embedded encoder")
    if data is None:
        skipped.append("the public sets: give their folder with `--data DIR`")
    else:
        found, missing = public.sections(grader, data, cache, progress)
        sections += found
        skipped += missing
    return Card(_versions(grader, own), tuple(sections), tuple(skipped))


def _bank_sections(grader: Grader, own: BankData, progress: Progress) -> list[Section]:
    progress("answers of unseen writers")
    unseen = grade_all(grader, own.unseen)
    progress("answers set aside from training")
    set_aside = grade_all(grader, own.set_aside)
    progress("the bank's samples")
    samples = grade_all(grader, own.samples)
    measured = {answer.question_id for answer in own.samples}
    of_bank = {q.id: q.samples for q in grader.bank.questions if q.id in measured}
    sections = [
        agreement_section(own, unseen, set_aside),
        robustness.claims_section(of_bank, [*samples, *unseen]),
        verdict_section(unseen),
        certainty_section(unseen),
    ]
    steps: list[tuple[str, Callable[[], Section]]] = [
        ("twins", lambda: robustness.twins_section(grader, own)),
        ("rewordings", lambda: robustness.fluency_section(grader, own, unseen)),
        ("attacks", lambda: robustness.attacks_section(grader, list(of_bank))),
        ("repeatability", lambda: robustness.repeatability_section(grader, unseen)),
    ]
    for name, measure in steps:
        progress(name)
        sections.append(measure())
    return sections


def _versions(grader: Grader, own: BankData) -> dict[str, str]:
    versions = grader.versions()
    return {
        "grader": versions.grader,
        "bank": versions.bank,
        "encoder": f"{versions.encoder} {versions.weights}",
        "calibration": versions.calibration,
        "judge": versions.judge,
        "training data": own.training.version,
        "measured on": f"{len(own.unseen)} answers of unseen writers, {len(own.set_aside)} set aside, "
        f"{len(own.samples)} samples, {len(own.twins)} twins, {len(own.rewordings)} rewordings",
    }
