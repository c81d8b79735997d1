"""What it takes to mislead the grader: twins, rewordings, attacks, the order of grading; and claims for every question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks import attacks
from benchmarks.quality import rewording
from benchmarks.quality.bank import Marked
from benchmarks.quality.card import Figure, Section, Table, percent
from benchmarks.quality.data import BankData, Rewording, Twin
from grader.assist import Policy
from grader.judges.scripted import ObeyingJudge
from grader.pipeline import Grader
from grader.schema import Sample

# A share of the work, so that the card is written in minutes: every so many-th answer or question.
REWORD_EVERY = 3
ATTACK_EVERY = 7
REPEAT_EVERY = 6
TRAINING_TWINS = 5  # a question
CALLERS = 4


# ---- claims that must hold for each question -------------------------------------------------------------------------


def claims_section(samples: dict[str, tuple[Sample, ...]], marked: Sequence[Marked]) -> Section:
    """`samples` by question id; `marked` are graded answers of the kinds that samples have, unseen ones included."""
    rows, figures = [], []
    for name, holds in _CLAIMS.items():
        judged = {q: holds(_by_kind(marked, q), _weak_top(given)) for q, given in samples.items()}
        known = {q: held for q, held in judged.items() if held is not None}
        if not known:
            continue
        failed = sorted(q for q, held in known.items() if not held)
        share = 1 - len(failed) / len(known)
        rows.append((name, f"{len(known) - len(failed)} of {len(known)}", ", ".join(failed)))
        figures.append(Figure(f"{name}: questions", share, rows[-1][1], 1.0))
    return Section(
        "Claims that must hold in every question",
        tuple(figures),
        (
            "Mean scores of the kinds of answers to a question are compared, the bank's samples and unseen writers together; "
            "`below weak` means no higher than what the expert would at most give the weak sample.",
            Table(("claim", "questions", "not in"), tuple(rows)),
        ),
    )


Kinds = dict[str, list[float]]


def _wrong_below_partial(kinds: Kinds, weak: float) -> bool | None:
    del weak
    return (
        _mean(kinds["confidently_wrong"]) < _mean(kinds["partial"])
        if _have(kinds, "confidently_wrong", "partial")
        else None
    )


def _list_below_weak(kinds: Kinds, weak: float) -> bool | None:
    return _mean(kinds["keyword_list"]) <= weak if _have(kinds, "keyword_list") else None


def _off_topic_below_weak(kinds: Kinds, weak: float) -> bool | None:
    return _mean(kinds["off_topic"]) <= weak if _have(kinds, "off_topic") else None


def _plain_above_partial(kinds: Kinds, weak: float) -> bool | None:
    del weak
    return _mean(kinds["jargon_free"]) > _mean(kinds["partial"]) if _have(kinds, "jargon_free", "partial") else None


_CLAIMS: dict[str, Callable[[Kinds, float], bool | None]] = {
    "confidently wrong below partial": _wrong_below_partial,
    "keyword list below weak": _list_below_weak,
    "off-topic below weak": _off_topic_below_weak,
    "right without jargon above partial": _plain_above_partial,
}


def _by_kind(marked: Sequence[Marked], question_id: str) -> Kinds:
    kinds: Kinds = {}
    for one in marked:
        if one.graded.question_id == question_id:
            kinds.setdefault(one.graded.quality, []).append(one.score)
    return kinds


def _have(kinds: Kinds, *names: str) -> bool:
    return all(name in kinds for name in names)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _weak_top(samples: Sequence[Sample]) -> float:
    return max((sample.score[1] for sample in samples if sample.kind == "weak"), default=10.0)


# ---- twins -----------------------------------------------------------------------------------------------------------


def twins_section(grader: Grader, data: BankData) -> Section:
    """How often the true sentence of a pair gets the higher probability for its criterion, and the higher score."""
    unseen = [(twin.change, *_outcome(grader, twin)) for twin in data.twins]
    trained = [(twin.change, *_outcome(grader, twin)) for twin in data.training_twins(TRAINING_TWINS)]
    rows = [
        _twin_row(change, [outcome for outcome in unseen if outcome[0] == change])
        for change in sorted({change for change, *_ in unseen})
    ]
    rows.append(_twin_row("all unseen", unseen))
    if trained:
        rows.append(_twin_row("from the training statements (seen by the fit)", trained))
    right = _mean([float(by_criterion) for _, by_criterion, _ in unseen]) if unseen else 0.0
    return Section(
        "True sentences and their false twins",
        (Figure("true above its false twin, unseen", right, percent(right), 0.90),) if unseen else (),
        (
            "Each pair differs in little: a negation, who does what, an order, a number, a direction. Counted is how often "
            "the true one gets the higher probability for the criterion it is about, and the higher score; equal is a miss.",
            Table(("what differs", "pairs", "by criterion", "by score"), tuple(rows)),
        ),
    )


def _outcome(grader: Grader, twin: Twin) -> tuple[bool, bool]:
    true, false = (grader.grade(twin.question_id, text) for text in (twin.true, twin.false))
    of_true, of_false = (
        next(result.probability for result in grade.criteria if result.id == twin.criterion) for grade in (true, false)
    )
    return of_true > of_false, (true.score or 0.0) > (false.score or 0.0)


def _twin_row(name: str, outcomes: Sequence[tuple[str, bool, bool]]) -> tuple[str, ...]:
    by_criterion, by_score = ([float(outcome[i]) for outcome in outcomes] for i in (1, 2))
    return name, str(len(outcomes)), percent(_mean(by_criterion)), percent(_mean(by_score))


# ---- fluency ---------------------------------------------------------------------------------------------------------


def fluency_section(grader: Grader, data: BankData, unseen: Sequence[Marked]) -> Section:
    """How far a score moves when only the form of an answer changes."""
    prose = [one for one in unseen if rewording.is_plain_prose(one.graded.answer)][::REWORD_EVERY]
    moves: dict[str, list[float]] = {
        name: [
            _score(grader, one.graded.question_id, rewording.changed(one.graded.answer, change)) - one.score
            for one in prose
        ]
        for name, change in rewording.CHANGES.items()
    }
    for pair in data.rewordings:
        moves.setdefault(f"written as {pair.kind.replace('_', ' ')} (by hand)", []).append(_move(grader, pair))
    moves = {name: values for name, values in moves.items() if values}
    rows = [
        (
            name,
            str(len(values)),
            f"{np.abs(values).mean():.1f}",
            f"{np.mean(values):+.1f}",
            f"{np.abs(values).max():.0f}",
        )
        for name, values in moves.items()
    ]
    overall = _mean([float(np.abs(values).mean()) for values in moves.values()]) if moves else 0.0
    return Section(
        "Form without content",
        (Figure("score moved by form alone, points", overall, f"{overall:.1f}", 3, "lower"),) if moves else (),
        (
            "Scores of the same content in another form; the goal is for the mean over the kinds of the mean movement.",
            Table(("change", "answers", "mean movement", "mean change", "largest"), tuple(rows)),
        ),
    )


def _move(grader: Grader, pair: Rewording) -> float:
    return _score(grader, pair.question_id, pair.rewritten) - _score(grader, pair.question_id, pair.clean)


def _score(grader: Grader, question_id: str, answer: str) -> float:
    return grader.grade(question_id, answer).score or 0.0


# ---- attacks ---------------------------------------------------------------------------------------------------------


def attacks_section(grader: Grader, questions: Sequence[str]) -> Section:
    """The attack suite of `benchmarks/attacks.py` over an empty, a wrong and a good answer to every seventh question.

    Offline with all of it; with the language judge that obeys whatever it reads on the first of these questions.
    """
    over = attacks.bases(grader.bank, questions[::ATTACK_EVERY])
    report = attacks.measure(attacks.offline(grader), over, attacks.load_attacks())
    held = 1 - report.rate
    rows = [
        (group, f"{trials - successes} of {trials}", f"{change:+.1f}")
        for group, (successes, trials, change) in report.by_group().items()
    ]
    offline = report.of(disguises=False)
    policy = Policy()
    obeying = attacks.measure(
        attacks.assisted(grader, ObeyingJudge(), policy),
        attacks.bases(grader.bank, questions[:1]),
        [attack for attack in attacks.load_attacks() if not attack.is_disguise],
    )
    return Section(
        "Attacks and disguises",
        (
            Figure("attacks and disguises held", held, percent(held), 0.97),
            Figure("attacks that succeed, offline", offline.rate, f"{offline.rate:.1%}", 0.0, "lower"),
            Figure(
                "largest rise by an attack, obeying language model",
                obeying.largest_rise,
                f"{obeying.largest_rise:.0f}",
                policy.bound,
                "lower",
            ),
        ),
        (
            f"An attack succeeds when the score rises by more than {attacks.SUCCESS_POINTS:g} points over the same answer "
            f"without it, a disguise when the score moves by more than that. {len(report.trials)} trials, "
            f"success rate {percent(report.rate)}, largest rise {report.largest_rise:.0f} points.",
            Table(("group", "held", "mean change"), tuple(rows)),
            f"The attacks alone, by judge. The obeying judge takes every criterion it is asked about for met; the bound on a "
            f"language model is {policy.bound:g} points. A real one is slow, so its row is by hand: `python -m "
            "benchmarks.attacks --judge configured` with the GRADER_LLM_* settings (for SmolLM2: docs/llm-judges.md).",
            Table(
                ("judge", "trials", "success rate", "largest rise"),
                (
                    _attack_row("offline", offline),
                    _attack_row("obeying (scripted)", obeying),
                    ("SmolLM2-135M (optional)", "", "by the command above", ""),
                ),
            ),
        ),
    )


def _attack_row(judge: str, report: attacks.AttackReport) -> tuple[str, ...]:
    return judge, str(len(report.trials)), f"{report.rate:.1%}", f"{report.largest_rise:.1f}"


# ---- repeatability ---------------------------------------------------------------------------------------------------


def repeatability_section(grader: Grader, unseen: Sequence[Marked]) -> Section:
    """Grades some answers again, in reverse order and by several callers at once; every byte must be the same."""
    chosen = list(unseen)[::REPEAT_EVERY]
    first = [one.grade.model_dump_json() for one in chosen]

    def again(one: Marked) -> str:
        return grader.grade(one.graded.question_id, one.graded.answer).model_dump_json()

    reverse = [again(one) for one in reversed(chosen)][::-1]
    with ThreadPoolExecutor(CALLERS) as pool:
        together = list(pool.map(again, chosen))
    same = [a == b == c for a, b, c in zip(first, reverse, together, strict=True)]
    share = _mean([float(x) for x in same]) if same else 1.0
    return Section(
        "Repeatability",
        (Figure("the same grade again, to the last digit", share, percent(share), 1.0),),
        (
            f"{len(same)} answers graded again in reverse order, and by {CALLERS} callers at once: {sum(same)} grades are the "
            "same to the last byte.",
        ),
    )
