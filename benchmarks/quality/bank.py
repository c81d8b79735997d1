"""Agreement with people on the bank that ships: by kind of answer, by question, with baselines, and how sure it may be.

Scores are points of 100. An answer that cannot be graded counts as 0 here, for that is what a reader would make of it;
how many there were is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.quality import measures
from benchmarks.quality.card import Figure, Section, Table, percent, ratio, with_interval
from benchmarks.quality.data import BankData
from benchmarks.quality.measures import Array
from grader.fitting import GradedAnswer
from grader.pipeline import Grader
from grader.schema import Grade

VERDICTS = ("met", "partial", "not_met", "contradicted")
# Points; a grade this close to the expert's is one nobody would argue about.
CLOSE = 15.0
AUTO_ACCURACY = 0.95
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Marked:
    """An answer with its expert's labels and the grade it was given."""

    graded: GradedAnswer
    grade: Grade

    @property
    def score(self) -> float:
        """0..100."""
        return self.grade.score or 0.0


def grade_all(grader: Grader, answers: Sequence[GradedAnswer]) -> list[Marked]:
    """Every answer graded, in order."""
    return [Marked(answer, grader.grade(answer.question_id, answer.answer)) for answer in answers]


def scores(marked: Sequence[Marked]) -> Array:
    """What the grader gave."""
    return np.array([one.score for one in marked])


def expected(marked: Sequence[Marked]) -> Array:
    """What the expert gave."""
    return np.array([one.graded.score for one in marked])


def questions_of(marked: Sequence[Marked]) -> list[str]:
    """The question of each answer."""
    return [one.graded.question_id for one in marked]


def agreement_section(data: BankData, unseen: Sequence[Marked], set_aside: Sequence[Marked]) -> Section:
    """Agreement on unseen writers and on answers set aside, beside the baselines."""
    figures: tuple[Figure, ...] = ()
    rows: list[tuple[str, ...]] = []
    for title, marked, goal in (("unseen writers", unseen, True), ("set aside from training", set_aside, False)):
        if not marked:
            continue
        wanted, groups = expected(marked), questions_of(marked)
        columns = {f"**grader**, {title} ({len(marked)})": scores(marked), **_baselines(data, marked)}
        rows += [_agreement_row(name, found, wanted, groups) for name, found in columns.items()]
        if goal:
            rho = measures.interval(measures.spearman, scores(marked), wanted, groups)
            error = measures.interval(measures.mean_error, scores(marked), wanted, groups)
            figures += (
                Figure("unseen writers: Spearman", rho.value, with_interval(rho), 0.93),
                Figure("unseen writers: mean error, points", error.value, with_interval(error, "points"), 8, "lower"),
            )
            figures += _excerpt_figures(marked)
    return Section(
        "Agreement with people",
        figures,
        (
            "Unseen writers had read the statements of the criteria, and neither the bank's other wordings nor the training "
            "data. On answers set aside from training no head was fitted, but the calibration was. QWK: quadratically "
            "weighted kappa on five bands of 20 points. The baselines see the same answers; tf-idf ridge learns from "
            "the training answers of the same question.",
            Table(("", "Spearman", "Pearson", "mean error", "QWK"), tuple(rows)),
            "Unseen writers, by kind of answer:",
            _by(unseen, [one.graded.quality for one in unseen]),
            "Unseen writers, by question:",
            _by(unseen, questions_of(unseen), agreement=True),
        ),
    )


def _excerpt_figures(marked: Sequence[Marked]) -> tuple[Figure, ...]:
    real = [one for one in marked if one.graded.quality == "excerpt"]
    if not real:
        return ()
    found, wanted, groups = scores(real), expected(real), questions_of(real)
    rho = measures.interval(measures.spearman, found, wanted, groups)
    error = measures.interval(measures.mean_error, found, wanted, groups)
    return (
        Figure("texts like documentation and blogs: Spearman", rho.value, with_interval(rho), 0.80),
        Figure("the same: mean error, points", error.value, with_interval(error, "points"), 10, "lower"),
    )


def _agreement_row(name: str, found: Array, wanted: Array, groups: Sequence[str]) -> tuple[str, ...]:
    rank_only = "grader" not in name and "tf-idf" not in name  # a length and a cosine are in no unit of points
    return (
        name,
        with_interval(measures.interval(measures.spearman, found, wanted, groups)),
        with_interval(measures.interval(measures.pearson, found, wanted, groups)),
        "" if rank_only else with_interval(measures.interval(measures.mean_error, found, wanted, groups), "points"),
        "" if rank_only else ratio(measures.weighted_kappa(found, wanted)),
    )


def _baselines(data: BankData, marked: Sequence[Marked]) -> dict[str, Array]:
    answers = [one.graded for one in marked]
    return {
        "length only": np.array([float(len(answer.answer.split())) for answer in answers]),
        "plain cosine to the reference": np.array([one.grade.similarity for one in marked]),
        "tf-idf ridge, one a question": tfidf_ridge(data.learnt_from, answers),
    }


def tfidf_ridge(learnt_from: Sequence[GradedAnswer], answers: Sequence[GradedAnswer]) -> Array:
    """Scores by a ridge regression on tf-idf of words and pairs of words, one for each question."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    found = np.full(len(answers), 50.0)
    for name in {answer.question_id for answer in answers}:
        known = [answer for answer in learnt_from if answer.question_id == name]
        here = [place for place, answer in enumerate(answers) if answer.question_id == name]
        if known:
            model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), Ridge(alpha=1.0))
            model.fit([answer.answer for answer in known], [answer.score for answer in known])
            found[here] = np.clip(model.predict([answers[place].answer for place in here]), 0, 100)
    return found


def _by(marked: Sequence[Marked], names: Sequence[str], *, agreement: bool = False) -> Table:
    rows: list[tuple[str, ...]] = []
    for name in sorted(set(names)):
        here = [one for one, its_name in zip(marked, names, strict=True) if its_name == name]
        found, wanted = scores(here), expected(here)
        error = measures.mean_error(found, wanted)
        row = (name, str(len(here)), f"{wanted.mean():.1f}", f"{found.mean():.1f}", f"{error:.1f}")
        rows.append((*row, *([ratio(measures.spearman(found, wanted))] if agreement else [])))
    header = ("", "answers", "expected", "given", "mean error", *(("Spearman",) if agreement else ()))
    return Table(header, tuple(rows))


def verdict_section(unseen: Sequence[Marked]) -> Section:
    """How well single verdicts and misconceptions are found."""
    pairs: list[tuple[str, str]] = [
        (result.verdict, one.graded.verdicts.get(result.id, "not_met"))
        for one in unseen
        for result in one.grade.criteria
    ]
    found, wanted = [f for f, _ in pairs], [w for _, w in pairs]
    rows = []
    for name in VERDICTS:
        hits = sum(f == w == name for f, w in pairs)
        f1, count = measures.class_f1(found, wanted, name)
        recall, precision = hits / max(1, count), hits / max(1, found.count(name))
        rows.append((name.replace("_", " "), str(count), ratio(recall), ratio(precision), ratio(f1)))
    held = [(one, set(one.graded.misconceptions)) for one in unseen if one.graded.misconceptions is not None]
    charged = [(m.id in wanted_ones) for one, wanted_ones in held for m in one.grade.misconceptions]
    total = sum(len(wanted_ones) for _, wanted_ones in held)
    return Section(
        "Verdicts on single criteria (unseen writers)",
        (),
        (
            Table(("verdict", "wanted", "recall", "precision", "F1"), tuple(rows)),
            f"Misconceptions: {sum(charged)} of {total} found, {len(charged) - sum(charged)} wrongly charged.",
        ),
    )


def certainty_section(unseen: Sequence[Marked]) -> Section:
    """Whether probabilities and intervals mean what they say, and how much could go out without a person."""
    said = np.array([result.probability for one in unseen for result in one.grade.criteria])
    true = np.array(
        [one.graded.verdicts.get(result.id) == "met" for one in unseen for result in one.grade.criteria], dtype=float
    )
    bins = measures.reliability(said, true)
    error = measures.calibration_error(bins)
    intervals = np.array([one.grade.score_interval or (0.0, 100.0) for one in unseen])
    wanted = expected(unseen)
    covered = float(((intervals[:, 0] <= wanted) & (wanted <= intervals[:, 1])).mean())
    close = (np.abs(scores(unseen) - wanted) <= CLOSE).astype(float)
    width = intervals[:, 1] - intervals[:, 0]
    auto = measures.share_at_accuracy(width, close, AUTO_ACCURACY)
    alone = np.array([one.grade.outcome == "graded" for one in unseen])
    return Section(
        "How sure it is, and whether rightly (unseen writers)",
        (
            Figure("expected calibration error of criterion probabilities", error, ratio(error), 0.05, "lower"),
            Figure("90 % interval holds the expert's score", covered, percent(covered), 0.88),
        ),
        (
            f"Probability that a criterion is met, against how often it was: expected calibration error {ratio(error)}.",
            Table(
                ("probability", "criteria", "said", "was so"),
                tuple((_range(b.said), str(b.count), ratio(b.said), ratio(b.true)) for b in bins),
            ),
            f"The 90 % interval holds the expert's score in {percent(covered)} of the answers and is {width.mean():.0f} "
            "points wide on average.",
            f"A grade is called right when it is within {CLOSE:g} points of the expert's; {percent(float(close.mean()))} are. "
            f"Taking answers from the narrowest interval on, {percent(auto)} can be graded with {percent(AUTO_ACCURACY)} of "
            f"them right. The grader itself lets {percent(float(alone.mean()))} pass without asking for a person; of those "
            f"{percent(float(close[alone].mean()) if alone.any() else 0.0)} are right.",
        ),
    )


def _range(said: float) -> str:
    low = min(9, int(said * 10)) / 10
    return f"{low:.1f} to {low + 0.1:.1f}"
