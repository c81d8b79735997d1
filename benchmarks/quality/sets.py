"""The public sets of graded answers: where their files are, and their rows with general features, kept in a cache.

Every set is a folder of JSONL files, an answer a line: `question_id`, `question`, `reference` (a list), `answer`, `score`
(0..1), for label sets `label3` (incorrect, correct, contradictory), and `question_text_in_train` where a test question also
stands in the training file. docs/quality.md says where the originals are.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.data import read_lines
from benchmarks.quality.features import FEATURES, VERSION, comparison, features
from benchmarks.quality.measures import Array
from benchmarks.quality.views import view_texts
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import BankError, Problem
from grader.judges.pair import load_pair
from training.public import closest

FILES = {
    "scientsbank train": "scientsbank/train.jsonl",
    "scientsbank UQ": "scientsbank/test_unseen_questions.jsonl",
    "scientsbank UD": "scientsbank/test_unseen_domains.jsonl",
    "beetle train": "beetle/train.jsonl",
    "beetle UQ": "beetle/test_unseen_questions.jsonl",
    "mohler": "mohler/all.jsonl",
    "saf train": "saf_v2_en/train.jsonl",
    "saf UQ": "saf_v2_en/test_unseen_questions.jsonl",
    "digiklausur": "digiklausur/mandatory.jsonl",
}
FIELDS = ("question_id", "question", "reference", "answer", "score")
CHUNK = 1500  # rows whose token states are in memory at once

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PublicSet:
    """Answers of one file. `rows` (answers, FEATURES), `comparisons` (answers, 10 d) in half precision.

    `pair` (answers, LABELS): what the pair network says of each answer beside the closest reference.
    """

    name: str
    answers: tuple[dict[str, Any], ...]
    rows: Array
    comparisons: NDArray[np.float16]
    pair: Array

    @property
    def scores(self) -> Array:
        """Shape (answers,), 0..1."""
        return np.array([float(answer["score"]) for answer in self.answers])

    @property
    def groups(self) -> list[str]:
        """The question of each answer."""
        return [str(answer["question_id"]) for answer in self.answers]

    def column(self, name: str) -> Array:
        """One feature of all answers."""
        found: Array = self.rows[:, FEATURES.index(name)]
        return found

    def where(self, keep: Sequence[bool]) -> PublicSet:
        """The answers for which `keep` is true."""
        return self._at(np.flatnonzero(keep))

    def spread(self, count: int) -> PublicSet:
        """At most `count` answers, evenly spread over the file."""
        return self._at(np.linspace(0, len(self.answers) - 1, min(count, len(self.answers))).astype(np.intp))

    def _at(self, chosen: NDArray[np.intp]) -> PublicSet:
        return replace(
            self,
            answers=tuple(self.answers[i] for i in chosen),
            rows=self.rows[chosen],
            comparisons=self.comparisons[chosen],
            pair=self.pair[chosen],
        )


def missing(data: Path, names: Sequence[str]) -> list[str]:
    """Files of these sets that are not in the folder."""
    return [FILES[name] for name in names if not (data / FILES[name]).is_file()]


def load_set(
    data: Path,
    name: str,
    encoder: SentenceTransformerEncoder,
    cache: Path | None,
    limit: int | None = None,
    progress: Progress = lambda _step: None,
) -> PublicSet:
    """A set with its features, from the cache when the file, the encoder and the features are the same.

    `limit` takes only so many answers, spread evenly. Raises BankError when the file is not of the expected form.
    """
    file = data / FILES[name]
    content = file.read_bytes()
    answers = list(read_lines(file))
    _check(file, answers)
    if limit is not None:
        answers = [answers[int(i)] for i in np.linspace(0, len(answers) - 1, min(limit, len(answers)))]
    key = hashlib.sha256(content + f"{VERSION} {encoder.revision} {limit}".encode()).hexdigest()[:16]
    stored = cache / f"{name.replace(' ', '-')}-{key}.npz" if cache else None
    found = _read(stored, len(answers)) if stored else None
    if found is None:
        progress(f"features of {name} ({len(answers)} answers)")
        found = _measure(answers, encoder)
        if stored:
            _write(stored, rows=found[0], comparisons=found[1])
    return PublicSet(name, tuple(answers), *found, _pair(answers, encoder, cache, f"{name} {key}"))


def _check(file: Path, answers: Sequence[dict[str, Any]]) -> None:
    for number, answer in enumerate(answers, start=1):
        lacking = [field for field in FIELDS if field not in answer]
        if lacking:
            raise BankError([Problem(str(file), number, lacking[0], "is missing; docs/quality.md shows the form")])
        if not answer["reference"]:
            raise BankError([Problem(str(file), number, "reference", "is empty; there is nothing to compare with")])


def _measure(
    answers: Sequence[dict[str, Any]], encoder: SentenceTransformerEncoder
) -> tuple[Array, NDArray[np.float16]]:
    rows, comparisons = [], []
    for start in range(0, len(answers), CHUNK):
        chunk = answers[start : start + CHUNK]
        views = view_texts(encoder, (t for a in chunk for t in (a["question"], a["answer"], *a["reference"])))
        for answer in chunk:
            references = [views[text] for text in answer["reference"]]
            row, best = features(views[answer["question"]], references, views[answer["answer"]])
            rows.append(row)
            comparisons.append(comparison(references[best], views[answer["answer"]]).astype(np.float16))
    return np.stack(rows), np.stack(comparisons)


def _pair(
    answers: Sequence[dict[str, Any]], encoder: SentenceTransformerEncoder, cache: Path | None, key: str
) -> Array:
    """Probabilities of incorrect, correct and contradictory by the pair network, from the cache when it is the same."""
    reader = load_pair(encoder)
    assert reader is not None  # the encoder is the embedded one
    stored = cache / f"pair-{key.replace(' ', '-')}-{reader.revision}.pair" if cache else None
    kept = _arrays(stored, "pair") if stored else None
    if kept is not None and kept[0].shape == (len(answers), 3):
        return kept[0]
    odds = reader.read([(closest(answer["answer"], answer["reference"]), answer["answer"]) for answer in answers])
    met, contradicted = (1 / (1 + np.exp(-odds))).T
    found: Array = np.stack([np.maximum(0.0, 1 - met - contradicted), met, contradicted], axis=1)
    if stored:
        _write(stored, pair=found)
    return found


def _read(file: Path, count: int) -> tuple[Array, NDArray[np.float16]] | None:
    found = _arrays(file, "rows", "comparisons")
    if found is None:
        return None
    rows, comparisons = found
    return (rows, comparisons) if rows.shape == (count, len(FEATURES)) and len(comparisons) == count else None


def _arrays(file: Path, *names: str) -> list[NDArray[Any]] | None:
    """The arrays of these names, None when the file is missing, damaged or of another form."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write(file: Path, **arrays: NDArray[Any]) -> None:
    """Atomically, so that nobody reads half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
    with os.fdopen(descriptor, "wb") as stream:
        np.savez(stream, **arrays)
    Path(name).replace(file)
