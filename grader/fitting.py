"""Fits a bank's criterion heads from sentences and answers written for it: `grader train BANK --data FOLDER`.

Data, all optional but the bank itself: the exemplars and contradictions of the rubric; `statements/*.jsonl`, sentences
with what they say of one criterion; `answers/*.jsonl` and `graded_answers.jsonl`, whole answers with a verdict per
criterion; `asides.txt`, a line a text that says nothing about any question. From an answer the head learns by its best
span: where the criterion is met, the span that looks most right is one more right wording; where it is not, the spans that
look most right or wrong are neither (multiple-instance learning as in MI-SVM, Andrews et al. 2002). The encoder stays as
it is; a bank of 21 questions takes about two minutes on two cores.

The bank's samples are never used: they are its test. Every sixth answer is set aside for the calibration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from grader.bank import Bank, content_hash, rubric_hash
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import BankError, Problem
from grader.evidence import span_ranges
from grader.judges.heads import PARTS, QuestionHeads, Source, span_features
from grader.judges.wording import WordingHead, fit_wording
from grader.schema import ExpectedVerdict, Frozen, Question
from grader.text import normalise, split, words

# Chosen on the answers set aside (benchmarks/LOG.md).
COMPONENTS = 300  # principal components that a head is fitted in; it is written out in the encoder's own dimensions
STRENGTH = 0.02  # inverse regularisation C of the logistic regressions
ROUNDS = 2  # times that the best spans of the answers are looked for again
FEWEST = 2  # right and wrong sentences without which a criterion has no head
NEGATIVES = 2  # spans of an answer that lacks a criterion which become counter-examples, per side
ANSWER_WEIGHT = 2.0  # of a span of an answer, beside 1 of a single sentence
ASIDES = 60  # texts about nothing that a question's heads see, as answers that meet nothing
ALIKE = 0.6  # share of common words from which on an answer is nearly a sample of the bank

Matrix = NDArray[np.float64]


class Statement(Frozen):
    """A sentence and what it says of one criterion; twins (one true, one false) share `pair`."""

    criterion: str
    verdict: ExpectedVerdict
    text: str
    pair: int | None = None


class GradedAnswer(Frozen):
    """A whole answer with its labels; `misconceptions` is None when nobody looked for them."""

    question_id: str
    id: str
    quality: str
    answer: str
    verdicts: dict[str, ExpectedVerdict]
    misconceptions: tuple[str, ...] | None = None
    score: float
    voice: str = ""

    @property
    def set_aside(self) -> bool:
        """Every sixth answer, by a hash of its id: not for the heads, for the calibration."""
        return hashlib.sha256(f"{self.question_id}/{self.id}".encode()).digest()[0] % 6 == 0


@dataclass(frozen=True)
class TrainingData:
    """All that was written for a bank, by question id, texts that say nothing about any of it, and the hash of it all."""

    statements: dict[str, list[Statement]]
    answers: dict[str, list[GradedAnswer]]
    version: str
    asides: tuple[str, ...] = ()


def read_data(bank: Bank, folder: Path | None) -> TrainingData:
    """The training data of a bank; raises BankError with file and line of what is wrong."""
    statements: dict[str, list[Statement]] = {question.id: [] for question in bank.questions}
    answers: dict[str, list[GradedAnswer]] = {question.id: [] for question in bank.questions}
    problems: list[Problem] = []
    for question in bank.questions:
        name = f"{question.number:02}-{question.id}.jsonl"
        known = {criterion.id for criterion in question.criteria}
        for statement in _rows(folder, f"statements/{name}", Statement, {}, problems):
            if statement.criterion in known:
                statements[question.id].append(statement)
            else:
                problems.append(Problem(name, 0, "criterion", f"there is no criterion {statement.criterion!r}"))
        answers[question.id] += _rows(folder, f"answers/{name}", GradedAnswer, {"question_id": question.id}, problems)
    for answer in _rows(folder, "graded_answers.jsonl", GradedAnswer, {}, problems):
        if answer.question_id in answers:
            answers[answer.question_id].append(answer)
    asides: tuple[str, ...] = ()
    if folder is not None and (folder / "asides.txt").is_file():
        lines = (folder / "asides.txt").read_text(encoding="utf-8").splitlines()
        asides = tuple(line.strip() for line in lines if line.strip())
    if problems:
        raise BankError(problems)
    for question in bank.questions:
        answers[question.id] = [answer for answer in answers[question.id] if not _is_sample(question, answer.answer)]
    everything = [s.model_dump() for part in statements.values() for s in part]
    everything += [a.model_dump(mode="json") for part in answers.values() for a in part]
    return TrainingData(statements, answers, content_hash([*everything, *asides]), asides)


def fit_rubric_heads(question: Question, encoder: SentenceTransformerEncoder) -> QuestionHeads | None:
    """Heads from a question's own exemplars and contradictions, in half a second; None when it has too few of them."""
    if any(len(criterion.contradictions) < FEWEST for criterion in question.criteria):
        return None
    return _QuestionFit(question, [], [], encoder).fit()


def fit_heads(
    bank: Bank,
    data: TrainingData,
    encoder: SentenceTransformerEncoder,
    *,
    use_all: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, QuestionHeads]:
    """Heads for every question that has anything to learn from; `use_all` also uses the answers set aside."""
    found = {}
    for done, question in enumerate(bank.questions, start=1):
        answers = [a for a in data.answers[question.id] if use_all or not a.set_aside]
        if data.statements[question.id] or answers:
            answers += _asides(question, data.asides)
        heads = _QuestionFit(question, data.statements[question.id], answers, encoder).fit()
        if heads is not None:
            found[question.id] = heads
        progress(done, len(bank.questions))
    return found


def _asides(question: Question, texts: Sequence[str]) -> list[GradedAnswer]:
    """Some of the texts, others for each question, as answers that meet and hold nothing."""
    step = max(1, len(texts) // ASIDES)
    return [
        GradedAnswer(
            question_id=question.id,
            id=f"aside-{number}",
            quality="off_topic",
            answer=text,
            verdicts={},
            misconceptions=(),
            score=0,
        )
        for number, text in enumerate(texts[question.number % step :: step])
    ]


class _QuestionFit:
    """The fit of one question: sentences and answers embedded, projected, and handed to logistic regressions."""

    def __init__(
        self,
        question: Question,
        statements: Sequence[Statement],
        answers: Sequence[GradedAnswer],
        encoder: SentenceTransformerEncoder,
    ) -> None:
        self.question = question
        self.answers = answers
        self.source: Source = "data" if statements or answers else "rubric"
        said = [(c.id, "met", text) for c in question.criteria for text in (c.statement, *c.exemplars)]
        said += [(c.id, "contradicted", text) for c in question.criteria for text in c.contradictions]
        said += [(s.criterion, s.verdict, s.text) for s in statements]
        beliefs = [(m.id, "held", text) for m in question.misconceptions for text in (m.statement, *m.exemplars)]
        beliefs += [(m.id, "denied", m.correction) for m in question.misconceptions]
        self.labels = [(name, verdict) for name, verdict, _ in (*said, *beliefs)]
        self.texts = [text for _, _, text in (*said, *beliefs)]
        sentences = _flat(encoder.encode_layers(self.texts))
        segments = [_segments(answer.answer) for answer in answers]
        self.span_texts = [[" ".join(one[a : b + 1]) for a, b in span_ranges(len(one))] for one in segments]
        spans = [span_features(encoder.encode_layers(one)) for one in segments]
        self._project(sentences, spans)

    def _project(self, sentences: NDArray[np.float32], spans: list[NDArray[np.float32]]) -> None:
        """Principal components of all that is there; sentences and spans in their coordinates, at unit scale on average."""
        everything = np.concatenate([sentences, *spans]).astype(np.float64)
        self.mean = everything.mean(axis=0)
        vectors, spread = _components(everything - self.mean, min(COMPONENTS, len(everything) - 1))
        self.basis = vectors / spread.mean()
        self.sentences: Matrix = (sentences - self.mean) @ self.basis
        self.spans: list[Matrix] = [(span - self.mean) @ self.basis for span in spans]

    def fit(self) -> QuestionHeads | None:
        """None when a criterion has no wrong version at all: there is nothing to tell right from wrong by."""
        right, wrong, held, wording = [], [], [], []
        for criterion in self.question.criteria:
            one = np.array([label == (criterion.id, "met") for label in self.labels], dtype=np.float64)
            other = np.array([label == (criterion.id, "contradicted") for label in self.labels], dtype=np.float64)
            if one.sum() < FEWEST or other.sum() < FEWEST:
                return None
            verdicts: list[str] = [a.verdicts.get(criterion.id, "not_met") for a in self.answers]
            first, second = self._fit_pair(one, other, verdicts)
            right.append(first)
            wrong.append(second)
            wording.append(self._fit_wording(criterion.id, first, second, verdicts))
        for misconception in self.question.misconceptions:
            one = np.array([label == (misconception.id, "held") for label in self.labels], dtype=np.float64)
            held_by = [_held(answer, misconception.id) for answer in self.answers]
            held.append(self._fit_pair(one, None, held_by)[0])
        parts = [part for heads in (right, wrong, held) for part in self._unprojected(heads)]
        weights = dict(zip(PARTS, parts, strict=True))
        return QuestionHeads(rubric_hash(self.question), **weights, wording=tuple(wording), source=self.source)

    def _fit_wording(self, name: str, first: Matrix, second: Matrix, verdicts: Sequence[str]) -> WordingHead:
        """From the criterion's sentences and from the span of each answer that says it, or says it wrongly."""
        own = [
            (text, verdict)
            for (owner, verdict), text in zip(self.labels, self.texts, strict=True)
            if owner == name and verdict in {"met", "contradicted"}
        ]
        texts, right = [text for text, _ in own], [verdict == "met" for _, verdict in own]
        for spans, said, verdict in zip(self.spans, self.span_texts, verdicts, strict=True):
            if verdict in {"met", "contradicted"}:
                head = first if verdict == "met" else second
                texts.append(said[int((spans @ head[:-1]).argmax())])
                right.append(verdict == "met")
        return fit_wording(texts, right)

    def _fit_pair(self, one: Matrix, other: Matrix | None, verdicts: Sequence[str]) -> tuple[Matrix, Matrix]:
        """Coefficients and bias of the `right` head and of the `wrong` one (a copy of it when there is no `other`)."""
        rows, weights = self.sentences, np.ones(len(self.sentences))
        first = _logistic(rows, one, weights)
        second = first if other is None else _logistic(rows, other, weights)
        for _ in range(ROUNDS):
            chosen, is_one, is_other = self._best_spans(first, second, verdicts)
            if not chosen:
                break
            more = np.concatenate([rows, np.array(chosen)])
            heavier = np.concatenate([weights, np.full(len(chosen), ANSWER_WEIGHT)])
            first = _logistic(more, np.concatenate([one, is_one]), heavier)
            second = first if other is None else _logistic(more, np.concatenate([other, is_other]), heavier)
        return first, second

    def _best_spans(
        self, first: Matrix, second: Matrix, verdicts: Sequence[str]
    ) -> tuple[list[Matrix], list[float], list[float]]:
        chosen: list[Matrix] = []
        is_one: list[float] = []
        is_other: list[float] = []
        for spans, verdict in zip(self.spans, verdicts, strict=True):
            looks_right, looks_wrong = (spans @ head[:-1] + head[-1] for head in (first, second))
            if verdict in {"met", "contradicted"}:
                place = int((looks_right if verdict == "met" else looks_wrong).argmax())
                chosen.append(spans[place])
                is_one.append(float(verdict == "met"))
                is_other.append(float(verdict == "contradicted"))
            elif verdict == "not_met":
                most = {*np.argsort(-looks_right)[:NEGATIVES].tolist(), *np.argsort(-looks_wrong)[:NEGATIVES].tolist()}
                chosen += [spans[place] for place in sorted(most)]
                is_one += [0.0] * len(most)
                is_other += [0.0] * len(most)
        return chosen, is_one, is_other

    def _unprojected(self, heads: list[Matrix]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same functions on the encoder's own vectors: weights (heads, layers * d) and biases (heads,)."""
        if not heads:
            return np.zeros((0, len(self.mean)), dtype=np.float32), np.zeros(0, dtype=np.float32)
        stacked = np.stack(heads)
        weights = stacked[:, :-1] @ self.basis.T
        return weights.astype(np.float32), (stacked[:, -1] - weights @ self.mean).astype(np.float32)


def _components(centred: Matrix, kept: int) -> tuple[Matrix, Matrix]:
    """The first principal components (d, kept) and the standard deviation along each, solved exactly: no random start."""
    rows, width = centred.shape
    if rows <= width:  # few sentences: their products among each other are the smaller matrix
        values, vectors = np.linalg.eigh(centred @ centred.T / rows)
        spread = np.sqrt(np.maximum(values[::-1][:kept], 1e-12))
        return centred.T @ vectors[:, ::-1][:, :kept] / (spread * np.sqrt(rows)), spread
    values, vectors = np.linalg.eigh(centred.T @ centred / rows)
    return vectors[:, ::-1][:, :kept], np.sqrt(np.maximum(values[::-1][:kept], 1e-12))


def _logistic(rows: Matrix, labels: Matrix, weights: Matrix) -> Matrix:
    """Coefficients and, last, the bias of a logistic regression in which both classes weigh the same."""
    from sklearn.linear_model import LogisticRegression

    ones = labels @ weights
    balanced = np.where(labels == 1, weights / ones, weights / (weights.sum() - ones)) * weights.sum() / 2
    model = LogisticRegression(C=STRENGTH, max_iter=200, tol=1e-3).fit(rows, labels, balanced)
    return np.concatenate([model.coef_[0], model.intercept_])


def _held(answer: GradedAnswer, misconception_id: str) -> str:
    if answer.misconceptions is None:
        return "unknown"
    return "met" if misconception_id in answer.misconceptions else "not_met"


def _segments(answer: str) -> list[str]:
    return [segment.text for segment in split(normalise(answer))] or ["-"]


def _flat(layers: NDArray[np.float32]) -> NDArray[np.float32]:
    return layers.reshape(len(layers), -1)


def _is_sample(question: Question, answer: str) -> bool:
    """Whether an answer is nearly one of the bank's samples, which must stay unseen."""
    said = set(words(answer))
    return any(
        len(said & other) > ALIKE * len(said | other)
        for other in (set(words(sample.answer)) for sample in question.samples)
    )


def _rows(
    folder: Path | None, name: str, model: type[Any], extra: dict[str, str], problems: list[Problem]
) -> list[Any]:
    """The objects of a JSONL file, none when there is no such file; what is wrong goes to `problems`."""
    if folder is None or not (folder / name).is_file():
        return []
    found = []
    for number, line in enumerate((folder / name).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(model.model_validate({**extra, **json.loads(line)}))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            problems.append(Problem(str(folder / name), number, field, str(first["msg"])))
        except ValueError as error:
            problems.append(Problem(str(folder / name), number, "", f"not JSON: {error}"))
    return found
