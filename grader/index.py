"""A question's side of the comparison, embedded once and kept on disk.

The cache is keyed by the question's rubric hash and the encoder's name and revision, so a changed rubric or model never
meets old vectors; a damaged file is computed anew. Every question is embedded by itself: its vectors do not depend on
what else is in the bank.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from grader.bank import content_hash, rubric_hash
from grader.encoders import Encoder, Vectors
from grader.schema import Criterion, Misconception, Question

FORMAT = "1"  # of the cache file; a change makes old files unused


@dataclass(frozen=True)
class CriterionVectors:
    """`right`: statement and exemplars, `wrong`: contradictions; each (n, d), `wrong` may have no rows."""

    right: Vectors
    wrong: Vectors
    right_texts: tuple[str, ...]
    wrong_texts: tuple[str, ...]
    # How close the criterion's own wordings are to each other, and how close the other criteria's wordings are to it:
    # the top and the bottom of this criterion's private scale of similarity.
    own: float
    background: float


@dataclass(frozen=True)
class QuestionIndex:
    """All vectors of one question, in the order of its criteria and misconceptions."""

    question: Question
    rubric: str
    prompt: Vectors  # (1, d)
    references: Vectors  # (reference answers, d)
    criteria: tuple[CriterionVectors, ...]
    misconceptions: tuple[Vectors, ...]  # each (statement and exemplars, d)
    corrections: Vectors  # (misconceptions, d)


def default_cache_folder() -> Path:
    """Where embeddings are kept when nothing else is said."""
    return user_cache_path("answer-grader") / "embeddings"


def build_index(question: Question, encoder: Encoder, cache_folder: Path | None = None) -> QuestionIndex:
    """The index of a question, from the cache when it is there; with `cache_folder=None` nothing is kept."""
    texts = _texts(question)
    rubric = rubric_hash(question)
    vectors = kept(cache_folder, question.id, rubric, encoder, len(texts), lambda: encoder.encode(texts))
    return _assemble(question, rubric, vectors)


def kept(
    cache_folder: Path | None, name: str, content: object, encoder: Encoder, rows: int, make: Callable[[], Vectors]
) -> Vectors:
    """The (rows, d) vectors that `make` makes of `content` with this encoder, from the cache when they are there."""
    if cache_folder is None:
        return make()
    key = content_hash([FORMAT, content, encoder.name, encoder.revision, getattr(encoder, "device", "")])
    file = cache_folder / f"{name}-{key}.npz"
    vectors = _read(file, rows)
    if vectors is None:
        vectors = make()
        _write(file, vectors)
    return vectors


def _right(criterion: Criterion) -> tuple[str, ...]:
    return (criterion.statement, *criterion.exemplars)


def _misconception_texts(misconception: Misconception) -> tuple[str, ...]:
    return (misconception.statement, *misconception.exemplars)


def _texts(question: Question) -> list[str]:
    """Everything that is embedded, in the order in which `_assemble` takes it apart."""
    texts = [question.prompt, *question.reference_answers]
    for criterion in question.criteria:
        texts += [*_right(criterion), *criterion.contradictions]
    for misconception in question.misconceptions:
        texts += [*_misconception_texts(misconception), misconception.correction]
    return texts


def _assemble(question: Question, rubric: str, vectors: Vectors) -> QuestionIndex:
    position = 0

    def take(count: int) -> Vectors:
        nonlocal position
        position += count
        return vectors[position - count : position]

    prompt, references = take(1), take(len(question.reference_answers))
    sides = [(take(len(_right(c))), take(len(c.contradictions))) for c in question.criteria]
    misconceptions, corrections = [], []
    for misconception in question.misconceptions:
        misconceptions.append(take(len(_misconception_texts(misconception))))
        corrections.append(take(1))
    criteria = []
    for number, (criterion, (right, wrong)) in enumerate(zip(question.criteria, sides, strict=True)):
        others = [side[0] for place, side in enumerate(sides) if place != number]
        own, background = _scale(right, np.concatenate(others) if others else prompt)
        criteria.append(CriterionVectors(right, wrong, _right(criterion), criterion.contradictions, own, background))
    empty = np.zeros((0, vectors.shape[1]), dtype=np.float32)
    return QuestionIndex(
        question,
        rubric,
        prompt,
        references,
        tuple(criteria),
        tuple(misconceptions),
        np.concatenate(corrections) if corrections else empty,
    )


def _scale(right: Vectors, others: Vectors) -> tuple[float, float]:
    """Typical similarity of a right wording to its nearest sibling, and of another criterion's wording to this one."""
    background = float(np.median((others @ right.T).max(axis=1)))
    if len(right) < 2:
        return max(0.8, background + 0.2), background  # no siblings to measure with: a cautious constant
    siblings: NDArray[np.float32] = right @ right.T
    np.fill_diagonal(siblings, -1.0)
    return max(float(np.median(siblings.max(axis=1))), background + 0.1), background


# ---- the cache file --------------------------------------------------------------------------------------------------


def _read(file: Path, rows: int) -> Vectors | None:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            vectors: Vectors = stored["vectors"]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    good = (
        vectors.ndim == 2 and len(vectors) == rows and vectors.dtype == np.float32 and bool(np.isfinite(vectors).all())
    )
    return vectors if good else None


def _write(file: Path, vectors: Vectors) -> None:
    """Atomically, so that a second process never reads half a file; a full or read-only disk costs only speed."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                np.savez(stream, vectors=vectors)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError:
        return


def closest(vectors: Vectors, texts: Vectors) -> NDArray[np.float32]:
    """Shape (len(vectors),): similarity of each vector to the closest of `texts`; -1 where there are none."""
    if not len(texts):
        return np.full(len(vectors), -1.0, dtype=np.float32)
    best: NDArray[np.float32] = (vectors @ texts.T).max(axis=1)
    return best


__all__: Sequence[str] = ["CriterionVectors", "QuestionIndex", "build_index", "closest", "default_cache_folder", "kept"]
