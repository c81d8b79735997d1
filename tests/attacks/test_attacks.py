"""Attacks and disguises against the grader that ships, and against a language model that obeys whatever it reads.

The whole suite on every question is `grader benchmark quality`; here every attack meets one question, a different one each,
and every disguise two. Most leave the words of the answer as they were, once the guards have set theirs aside, so the
encoder here remembers what it has embedded.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import cache

import pytest

from benchmarks.attacks import DISGUISES, SUCCESS_POINTS, AttackReport, Trial, bases, load_attacks, measure
from grader import Grader, load_bank
from grader.assist import Assistant, Policy
from grader.encoders import LayerVectors
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.judges.scripted import ObeyingJudge

BANK = load_bank()
ATTACKS = [attack for attack in load_attacks() if not attack.is_disguise]
POLICY = Policy()


class RememberingEncoder(SentenceTransformerEncoder):
    """The embedded encoder, which works out the vectors of a list of texts once: they are the same every time."""

    def __init__(self) -> None:
        super().__init__(device="cpu")
        self.known: dict[tuple[str, ...], LayerVectors] = {}

    def encode_layers(self, texts: Sequence[str]) -> LayerVectors:
        key = tuple(texts)
        if key not in self.known:
            self.known[key] = super().encode_layers(texts)
        return self.known[key]


@pytest.fixture(scope="module")
def grader_with(real_grader: Grader) -> Callable[[Assistant | None], Grader]:
    """The grader that ships, with this assistant."""
    encoder = RememberingEncoder()

    def make(assistant: Assistant | None) -> Grader:
        return Grader(
            real_grader.bank,
            encoder,
            real_grader.offline.calibrations,
            heads=real_grader.heads,
            reader=real_grader.reader,
            scale=real_grader.scale,
            cache_folder=real_grader.cache_folder,
            assistant=assistant,
        )

    return make


@pytest.fixture(scope="module")
def grader(grader_with: Callable[[Assistant | None], Grader]) -> Grader:
    """The grader that ships."""
    return grader_with(None)


def told(trials: list[Trial]) -> str:
    return "\n".join(f"{t.attack.id} on {t.base.kind} {t.base.question_id}: {t.before} -> {t.after}" for t in trials)


def trials(grader: Grader, attacks: list, start: int, mode: str) -> AttackReport:  # type: ignore[type-arg]
    """Every attack on an empty, a wrong and a good answer to one question."""

    @cache
    def grade(question_id: str, answer: str) -> float | None:
        return grader.grade(question_id, answer, judge=mode).score  # type: ignore[arg-type]

    found = []
    for number, attack in enumerate(attacks):
        question = BANK.questions[(start + 5 * number) % len(BANK.questions)].id
        found += measure(grade, bases(BANK, [question]), [attack]).trials
    return AttackReport(tuple(found))


def test_there_are_enough_of_every_sort() -> None:
    assert len(ATTACKS) >= 60
    assert len({attack.id for attack in load_attacks()}) == len(load_attacks())
    assert {
        "instruction", "authority", "role_tag", "delimiter", "fake_output", "comment", "language", "encoding", "few_shot",
        "stuffing", "lowers_others",
    } == {attack.group for attack in ATTACKS}  # fmt: skip
    answer = "A plain answer of a few words."
    assert all(attack.apply(answer) != answer for attack in ATTACKS)
    assert all(answer in attack.apply(answer) for attack in ATTACKS)


def test_no_attack_raises_an_offline_score(grader: Grader) -> None:
    report = trials(grader, ATTACKS, 0, "off")
    assert report.rate == 0, told(report.successes)


def test_no_disguise_moves_an_offline_score(grader: Grader) -> None:
    kept_order = [disguise for disguise in DISGUISES if disguise.id != "shuffled"]
    reports = [trials(grader, kept_order, start, "off") for start in (0, 11)]
    missed = [trial for report in reports for trial in report.successes]
    assert not missed, told(missed)


def test_the_order_of_sentences_hardly_matters(grader: Grader) -> None:
    shuffled = [disguise for disguise in DISGUISES if disguise.id == "shuffled"]
    found = [trial for start in range(0, 21, 4) for trial in trials(grader, shuffled, start, "off").trials]
    # A sentence may lean on the one before it, so a single answer may move by more.
    assert statistics.fmean(abs(trial.after - trial.before) for trial in found) <= SUCCESS_POINTS, told(found)


def test_an_obeying_model_cannot_lift_a_score_beyond_the_bound(
    grader_with: Callable[[Assistant | None], Grader],
) -> None:
    judge = ObeyingJudge()
    assisted = grader_with(Assistant(judge, POLICY))
    report = trials(assisted, ATTACKS[::3], 3, "auto")
    assert judge.saw  # it was asked, so the bound was put to the test
    beyond = [trial for trial in report.trials if trial.after - trial.before > POLICY.bound + SUCCESS_POINTS]
    assert not beyond, told(beyond)


@pytest.mark.parametrize("mode", ["off", "auto"])
def test_what_an_obeying_model_is_told_reaches_no_other_answer(real_grader: Grader, mode: str) -> None:
    good = next(sample.answer for sample in BANK.question("cuda").samples if sample.kind == "good")
    before = real_grader.grade("cuda", good, judge="off")
    for attack in (one for one in ATTACKS if one.group == "lowers_others"):
        real_grader.grade("cuda", attack.apply(""), judge="off")
    after = real_grader.grade("cuda", good, judge=mode)  # type: ignore[arg-type]
    assert (after.score, after.criteria) == (before.score, before.criteria)
