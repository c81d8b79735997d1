"""The embedding cache: used when it fits, computed anew when it does not, never in the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from grader import load_bank
from grader.encoders import Vectors
from grader.encoders.hashing import HashingEncoder
from grader.index import build_index
from grader.judges.entailment import question_vectors

QUESTION = load_bank().question("zero-grad")


class CountingEncoder(HashingEncoder):
    """Hashing that counts how often it is asked."""

    def __init__(self, revision: str = "1") -> None:
        self.revision = revision
        self.calls = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.calls += 1
        return super().encode(texts)


def test_the_second_time_comes_from_the_disk(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    first, second = (build_index(QUESTION, encoder, tmp_path) for _ in range(2))
    assert encoder.calls == 1
    np.testing.assert_array_equal(first.references, second.references)
    np.testing.assert_array_equal(first.criteria[3].wrong, second.criteria[3].wrong)


def test_the_labels_of_the_entailment_network_come_from_the_disk_too(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    wanted = question_vectors(QUESTION, HashingEncoder())
    for _ in range(2):
        found = question_vectors(QUESTION, encoder, tmp_path)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    assert encoder.calls == 2  # right and wrong wordings, once
    reworded = QUESTION.criteria[0].model_copy(update={"exemplars": ("Another wording.",)})
    changed = QUESTION.model_copy(update={"criteria": (reworded, *QUESTION.criteria[1:])})
    assert not np.array_equal(question_vectors(changed, encoder, tmp_path)[0], wanted[0])


def test_another_rubric_or_model_is_computed_anew(tmp_path: Path) -> None:
    encoder, other = CountingEncoder(), CountingEncoder(revision="2")
    build_index(QUESTION, encoder, tmp_path)
    build_index(QUESTION.model_copy(update={"prompt": "Another prompt?"}), encoder, tmp_path)
    build_index(QUESTION, other, tmp_path)
    assert (encoder.calls, other.calls) == (2, 1)


def test_a_damaged_file_is_computed_anew(tmp_path: Path) -> None:
    encoder = CountingEncoder()
    good = build_index(QUESTION, encoder, tmp_path)
    (file,) = tmp_path.glob("*.npz")
    for damage in (b"", b"not a zip", file.read_bytes()[:500]):
        file.write_bytes(damage)
        again = build_index(QUESTION, encoder, tmp_path)
        np.testing.assert_array_equal(good.references, again.references)
    assert encoder.calls == 4


def test_a_folder_that_cannot_be_written_costs_only_speed(tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    encoder = CountingEncoder()
    assert build_index(QUESTION, encoder, blocked).references.shape[0] == len(QUESTION.reference_answers)
    assert list(tmp_path.iterdir()) == [blocked]


def test_shapes_follow_the_rubric() -> None:
    index = build_index(QUESTION, HashingEncoder())
    for criterion, vectors in zip(QUESTION.criteria, index.criteria, strict=True):
        assert vectors.right.shape == (1 + len(criterion.exemplars), 512)
        assert vectors.wrong.shape == (len(criterion.contradictions), 512)
        assert vectors.background < vectors.own <= 1.0 + 1e-6
    assert index.corrections.shape == (len(QUESTION.misconceptions), 512)
