"""Public sets of graded answers, with the protocol of the literature: questions and domains that were never trained on.

Label sets (SciEntsBank, Beetle): a head on the general features is fitted on the training split and tested on unseen
questions and domains. The pair network has learnt from the same splits; it joins where it alone does as well as the head on
questions that neither has learnt from. Score sets: fitted on the other questions (Mohler, DigiKlausur) or on the training
split (SAF) without what the pair network has learnt from; its opinion is one more feature there.
Beside it stand what length, tf-idf and cosine alone do under the same protocol, and the grader as it ships, to which each
row is an inline question with its reference answers and nothing is fitted. A contradictory answer never earns credit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import measures
from benchmarks.quality.card import Figure, Section, Table, ratio, with_interval
from benchmarks.quality.measures import Array
from benchmarks.quality.models import LABELS, PAIR, SCORE_FEATURES, LabelModel, ScoreModel
from benchmarks.quality.sets import FILES, Progress, PublicSet, load_set, missing
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import InvalidQuestion
from grader.pipeline import Grader
from grader.schema import InlineQuestion
from training.public import for_the_network

CORRECT, CONTRADICTORY = LABELS.index("correct"), LABELS.index("contradictory")
MOHLER_POINTS = 5
# Of an answer of another set beside one of the own; chosen by leaving out questions of Mohler and of SAF's training split.
OTHER_WEIGHT = 0.3
SENTENCE_LIMIT = 2000  # characters that an inline question's prompt may have
SHIPPED_ANSWERS = 400  # of a set, spread evenly, for the grader as it ships: it takes longer than all else together
BASELINES = ("length only", "tf-idf cosine", "plain cosine")


def sections(
    grader: Grader, data: Path, cache: Path | None, progress: Progress, limit: int | None = None
) -> tuple[list[Section], list[str]]:
    """The parts whose files are there, and a line for each that is not."""
    encoder = grader.encoder
    if not isinstance(encoder, SentenceTransformerEncoder):
        return [], ["the public sets: they need the embedded encoder"]
    found, skipped = [], []

    def load(name: str) -> PublicSet:
        found = load_set(data, name, encoder, cache, limit, progress)
        if name != "saf train":
            return found
        return found.where([not is_learnt for is_learnt in learnt_from(found)])

    for title, names, also, measure in _PARTS:
        if lacking := missing(data, names):
            skipped.append(f"{title}: {', '.join(lacking)} not found in {data}")
            continue
        progress(title)
        others = [load(name) for name in also if not missing(data, [name])]
        found.append(measure(grader, *map(load, names), *([others] if also else [])))
    return found, skipped


# What is tested, by name: answers, goal of macro-F1, goal of the AUC where there is one.
Tested = dict[str, tuple[PublicSet, float, float | None]]


# ---- sets with labels ------------------------------------------------------------------------------------------------


def scientsbank(grader: Grader, train: PublicSet, questions: PublicSet, domains: PublicSet) -> Section:
    """3-way labels; unseen questions and unseen domains."""
    parts: Tested = {"unseen questions": (questions, 0.60, 0.85), "unseen domains": (domains, 0.57, 0.80)}
    return _label_section(grader, "SciEntsBank", train, parts)


def beetle(grader: Grader, train: PublicSet, questions: PublicSet) -> Section:
    """3-way labels; the unseen questions whose text really is not in the training split."""
    really = questions.where([not answer.get("question_text_in_train") for answer in questions.answers])
    return _label_section(grader, "Beetle", train, {"unseen questions": (really, 0.63, None)})


def _label_section(grader: Grader, title: str, train: PublicSet, parts: Tested) -> Section:
    model = LabelModel()
    model.fit(train.rows, train.comparisons, labels_of(train))
    joins = pair_joins(train)
    figures: list[Figure] = []
    rows: list[tuple[str, ...]] = []
    for part, (tested, goal, auc_goal) in parts.items():
        wanted = labels_of(tested).astype(float)
        found = model.probabilities(tested.rows, tested.comparisons)
        if joins:
            found = (found + balanced(tested.pair, train)) / 2
        f1 = measures.interval(measures.macro_f1, found.argmax(1).astype(float), wanted, tested.groups)
        auc = measures.interval(_auc, found[:, CORRECT] - found[:, CONTRADICTORY], wanted, tested.groups)
        figures.append(Figure(f"{title}, {part}: macro-F1 of 3", f1.value, with_interval(f1), goal))
        if auc_goal is not None:
            name = f"{title}, {part}: AUC correct over contradictory"
            figures.append(Figure(name, auc.value, with_interval(auc), auc_goal))
        two = measures.macro_f1(*_two(found.argmax(1).astype(float), wanted))
        name = f"**head on the general features{' and pair network' if joins else ''}**, {part} ({len(tested.answers)})"
        rows.append((name, with_interval(f1), ratio(two), with_interval(auc)))
        rows += _label_baselines(train, tested)
        rows.append(_shipped_label_row(grader, tested))
    return Section(
        title,
        tuple(figures),
        (
            f"Fitted on {len(train.answers)} answers of the training split. F1 is the mean over the labels; F1 of 2 takes "
            "incorrect and contradictory together; AUC is the chance that a correct answer ranks above a contradictory one.",
            Table(("", "F1 of 3", "F1 of 2", "AUC correct over contradictory"), tuple(rows)),
        ),
    )


def pair_joins(train: PublicSet) -> bool:
    """Whether the pair network alone does as well as a head on questions of the training split that neither learnt from."""
    learnt = learnt_from(train)
    known, new = train.where(learnt), train.where([not is_learnt for is_learnt in learnt])
    head = LabelModel().fit(known.rows, known.comparisons, labels_of(known))
    wanted = labels_of(new).astype(float)
    of_head, of_pair = (
        measures.macro_f1(found.argmax(1).astype(float), wanted)
        for found in (head.probabilities(new.rows, new.comparisons), new.pair)
    )
    return of_pair >= of_head


def learnt_from(train: PublicSet) -> list[bool]:
    """For each answer of a training split, whether the pair network has learnt from it."""
    return for_the_network(Path(FILES[train.name]).parent.name, train.answers)


def balanced(odds: Array, train: PublicSet) -> Array:
    """Probabilities as they would be if every label were as frequent, which is what F1 over the labels rewards."""
    shares = np.bincount(labels_of(train), minlength=len(LABELS)) / len(train.answers)
    weighed = odds / np.maximum(shares, 1e-6)
    found: Array = weighed / weighed.sum(axis=1, keepdims=True)
    return found


def labels_of(of: PublicSet) -> NDArray[np.int64]:
    """Shape (answers,): indices into LABELS."""
    return np.array([LABELS.index(answer["label3"]) for answer in of.answers], dtype=np.int64)


def _auc(margin: Array, wanted: Array) -> float:
    return measures.area_under_curve(margin[wanted == CORRECT], margin[wanted == CONTRADICTORY])


def _two(found: Array, wanted: Array) -> tuple[Array, Array]:
    return (found == CORRECT).astype(float), (wanted == CORRECT).astype(float)


def _label_baselines(train: PublicSet, tested: PublicSet) -> Iterator[tuple[str, ...]]:
    from sklearn.linear_model import LogisticRegression

    wanted = labels_of(tested).astype(float)
    for name, (known, new) in _baseline_columns(train, tested).items():
        model = LogisticRegression(class_weight="balanced").fit(known, labels_of(train))
        found = model.predict_proba(new)
        choice = found.argmax(1).astype(float)
        auc = _auc(found[:, CORRECT] - found[:, CONTRADICTORY], wanted)
        yield (
            name,
            ratio(measures.macro_f1(choice, wanted)),
            ratio(measures.macro_f1(*_two(choice, wanted))),
            ratio(auc),
        )


def _shipped_label_row(grader: Grader, tested: PublicSet) -> tuple[str, ...]:
    some = tested.spread(SHIPPED_ANSWERS)
    found, wanted = shipped_scores(grader, some), labels_of(some).astype(float)
    two = measures.macro_f1((found >= 0.5).astype(float), (wanted == CORRECT).astype(float))
    return (
        f"the grader as it ships, nothing fitted (correct from 50 points on; {len(some.answers)} answers)",
        "",
        ratio(two),
        ratio(_auc(found, wanted)),
    )


# ---- sets with scores ------------------------------------------------------------------------------------------------


def mohler(grader: Grader, answers: PublicSet, others: Sequence[PublicSet]) -> Section:
    """Computer science, scores 0..5 by two graders; each question left out."""
    found = _each_left_out(answers, head_fit(others))
    r = measures.interval(measures.pearson, found, answers.scores, answers.groups)
    error = measures.interval(
        measures.root_mean_square_error, MOHLER_POINTS * found, MOHLER_POINTS * answers.scores, answers.groups
    )
    figures = (
        Figure("Mohler, question left out: Pearson", r.value, with_interval(r), 0.65),
        Figure("Mohler, question left out: RMSE of 5 points", error.value, with_interval(error), 0.83, "lower"),
    )
    return _score_section(grader, "Mohler", answers, found, figures, None)


def digiklausur(grader: Grader, answers: PublicSet, others: Sequence[PublicSet]) -> Section:
    """An exam on neural networks; each question left out. Length alone goes far here."""
    found = _each_left_out(answers, head_fit(others))
    r = measures.interval(measures.pearson, found, answers.scores, answers.groups)
    figures = (Figure("DigiKlausur, question left out: Pearson", r.value, with_interval(r), 0.66),)
    return _score_section(grader, "DigiKlausur", answers, found, figures, None)


def saf(grader: Grader, train: PublicSet, questions: PublicSet, others: Sequence[PublicSet]) -> Section:
    """Computer networks, long answers; points differ by question and are brought to 0..1."""
    found = head_fit(others)(train, questions)
    r = measures.interval(measures.pearson, found, questions.scores, questions.groups)
    figures = (Figure("SAF, unseen questions: Pearson", r.value, with_interval(r), 0.60),)
    return _score_section(grader, "SAF", questions, found, figures, train)


Fit = Callable[[PublicSet, PublicSet], Array]


def _score_section(
    grader: Grader, title: str, tested: PublicSet, found: Array, figures: tuple[Figure, ...], train: PublicSet | None
) -> Section:
    columns = {f"**head on the general features and pair network** ({len(tested.answers)} answers)": found}
    for name in BASELINES:
        fit = _baseline_fit(name)
        columns[name] = _each_left_out(tested, fit) if train is None else fit(train, tested)
    rows = [_score_row(name, column, tested) for name, column in columns.items()]
    some = tested.spread(SHIPPED_ANSWERS)
    name = f"the grader as it ships, nothing fitted ({len(some.answers)} answers)"
    rows.append(_score_row(name, shipped_scores(grader, some), some))
    protocol = (
        "each question graded by what was fitted on the others"
        if train is None
        else (f"fitted on {len(train.answers)} answers of the training split")
    )
    return Section(
        title,
        figures,
        (
            f"{len(set(tested.groups))} questions; {protocol}. Within: mean of Pearson's r inside each question. "
            "RMSE on a scale of 5.",
            Table(("", "Pearson", "within", "RMSE"), tuple(rows)),
        ),
    )


def _score_row(name: str, found: Array, tested: PublicSet) -> tuple[str, ...]:
    r = measures.interval(measures.pearson, found, tested.scores, tested.groups)
    groups = np.array(tested.groups)
    within = [
        measures.pearson(found[groups == g], tested.scores[groups == g])
        for g in sorted(set(tested.groups))
        if np.ptp(tested.scores[groups == g]) > 0
    ]
    error = MOHLER_POINTS * measures.root_mean_square_error(found, tested.scores)
    return name, with_interval(r), ratio(float(np.mean(within))), f"{error:.2f}"


def head_fit(others: Sequence[PublicSet]) -> Fit:
    """The head on the general features, which also learns from other sets: these count less, and only around their mean."""

    def fit(known: PublicSet, new: PublicSet) -> Array:
        parts = [known, *others]
        rows = np.concatenate([_columns(part) for part in parts])
        shifted = [part.scores - part.scores.mean() + known.scores.mean() for part in parts]
        weights = np.concatenate([np.full(len(p.answers), 1.0 if p is known else OTHER_WEIGHT) for p in parts])
        model = ScoreModel((*SCORE_FEATURES, PAIR)).fit(rows, np.concatenate(shifted), weights)
        return model.predict(_columns(new))

    return fit


def _columns(of: PublicSet) -> Array:
    """FEATURES and PAIR: shape (answers, columns)."""
    return np.concatenate([of.rows, of.pair[:, [CORRECT]]], axis=1)


def _each_left_out(answers: PublicSet, fit: Fit) -> Array:
    """Shape (answers,): each answer scored by what was fitted on the other questions."""
    groups = np.array(answers.groups)
    found = np.zeros(len(groups))
    for name in sorted(set(answers.groups)):
        here = groups == name
        found[here] = fit(answers.where(~here), answers.where(here))
    return found


def _baseline_fit(name: str) -> Fit:
    from sklearn.linear_model import LinearRegression

    def fit(known: PublicSet, new: PublicSet) -> Array:
        before, after = _baseline_columns(known, new)[name]
        found: Array = LinearRegression().fit(before, known.scores).predict(after)
        return np.clip(found, 0, 1)

    return fit


def _baseline_columns(known: PublicSet, new: PublicSet) -> dict[str, tuple[Array, Array]]:
    """One number an answer, for answers to fit on and answers to test: shape (answers, 1) each."""
    return {
        "length only": (known.column("length")[:, None], new.column("length")[:, None]),
        "tf-idf cosine": (_tfidf(known, known), _tfidf(known, new)),
        "plain cosine": (known.column("max_cos6")[:, None], new.column("max_cos6")[:, None]),
    }


def _tfidf(known: PublicSet, new: PublicSet) -> Array:
    """Cosine of answer and closest reference, words weighted by how rare they are in `known`."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    model.fit([text for a in known.answers for text in (a["answer"], *a["reference"])])
    said = model.transform([a["answer"] for a in new.answers])
    wanted = {text: model.transform([text]) for a in new.answers for text in a["reference"]}
    return np.array(
        [[max(float((said[i] @ wanted[text].T).sum()) for text in a["reference"])] for i, a in enumerate(new.answers)]
    )


def shipped_scores(grader: Grader, tested: PublicSet) -> Array:
    """Shape (answers,), 0..1: the grader's score of each answer to an inline question; the best over the references.

    Without criteria the grader derives them from the first reference answer, so other references are asked one by one. What
    cannot be graded, and a reference of one word, count as 0.
    """
    return np.array(
        [max(_shipped(grader, answer, text) for text in answer["reference"][:2]) for answer in tested.answers]
    )


def _shipped(grader: Grader, answer: dict[str, Any], reference: str) -> float:
    prompt = answer["question"][:SENTENCE_LIMIT]
    try:
        grade = grader.grade(InlineQuestion(prompt=prompt, reference_answers=(reference,)), answer["answer"])
    except InvalidQuestion:
        return 0.0
    return (grade.score or 0.0) / 100


# Title, the files it needs, the sets it also learns from when they are there, and what measures it.
_PARTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], Callable[..., Section]], ...] = (
    ("SciEntsBank", ("scientsbank train", "scientsbank UQ", "scientsbank UD"), (), scientsbank),
    ("Beetle", ("beetle train", "beetle UQ"), (), beetle),
    ("Mohler", ("mohler",), ("saf train", "digiklausur"), mohler),
    ("SAF", ("saf train", "saf UQ"), ("mohler", "digiklausur"), saf),
    ("DigiKlausur", ("digiklausur",), ("mohler", "saf train"), digiklausur),
)
