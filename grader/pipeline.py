"""The recipe: from a question and an answer to a grade, one step a line.

`Grader` holds what is loaded once (bank, encoder, calibration, judge); `grade` is a function of its input alone: every
answer is embedded by itself, so nothing that is graded before, after or beside it can move a digit.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grader import __version__, feedback, guards
from grader.bank import Bank, content_hash, load_bank, question_from_inline
from grader.calibration import Calibration, load_calibration
from grader.encoders import EMBEDDED, Encoder, load_encoder
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import AnswerTooLong, InvalidAnswer
from grader.evidence import AnswerVectors, reference_similarity
from grader.index import QuestionIndex, build_index, default_cache_folder
from grader.judges import Case
from grader.judges.heads import BankHeads, QuestionHeads, load_heads
from grader.judges.offline import OfflineJudge
from grader.schema import (
    MAX_ANSWER_CHARS,
    Flag,
    Grade,
    InlineQuestion,
    Judgement,
    Provenance,
    Question,
)
from grader.scoring import Scored, not_gradable, score
from grader.text import NormalisedText, normalise, split

if TYPE_CHECKING:
    from grader.judges import Judge

# Inline questions whose embeddings are kept in memory; one takes about 100 kB.
INLINE_INDEXES = 256
# What JSON can write as \ud800 and no UTF-8 text can hold.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Prepared:
    """An answer made ready to be judged; `case` is None when it cannot be graded, and `refusal` says why."""

    index: QuestionIndex
    text: NormalisedText
    flags: tuple[Flag, ...]
    case: Case | None
    refusal: str = ""


def prepare(
    index: QuestionIndex,
    encoder: Encoder,
    answer: str,
    neighbours: guards.Neighbours | None,
    heads: QuestionHeads | None = None,
) -> Prepared:
    """Cleans, splits, inspects and embeds an answer: everything that happens before anyone judges it."""
    text = normalise(answer)
    inspection = guards.inspect(index.question, text, split(text))
    if inspection.refusal is not None:
        return Prepared(index, text, inspection.flags, None, inspection.refusal)
    texts = [segment.text for segment in inspection.segments]
    texts = [" ".join(texts), *texts]
    # One call of the encoder holds one answer and nothing else: its vectors are a function of this answer alone.
    layers = None
    if heads is not None and isinstance(encoder, SentenceTransformerEncoder):
        layers = encoder.encode_layers(texts)
    vectors = encoder.encode(texts) if layers is None else np.ascontiguousarray(layers[:, -1])
    answer_vectors = AnswerVectors(inspection.segments, vectors[1:], vectors[:1])
    case = Case(index, text, answer_vectors, None if layers is None else layers[1:], heads)
    off_topic = guards.off_topic(index, case.vectors, neighbours)
    return Prepared(index, text, (*inspection.flags, *([off_topic] if off_topic else [])), case)


def neighbours_of(index: QuestionIndex, indexes: Sequence[QuestionIndex]) -> guards.Neighbours | None:
    """The reference answers of all other questions; None when there are no others."""
    others = [other for other in indexes if other.question.id != index.question.id]
    if not others:
        return None
    return guards.Neighbours(
        np.concatenate([other.references for other in others]),
        tuple(other.question.id for other in others for _ in other.references),
    )


class Grader:
    """Grades answers to the questions of a bank, or to questions that come with the answer. Safe to share by threads.

    The constructor only stores; use `Grader.load` for a ready one.
    """

    def __init__(
        self,
        bank: Bank,
        encoder: Encoder,
        calibration: Calibration,
        *,
        judge: Judge | None = None,
        heads: BankHeads | None = None,
        heads_calibration: Calibration | None = None,
        cache_folder: Path | None = None,
        max_answer_chars: int = MAX_ANSWER_CHARS,
    ) -> None:
        self.bank = bank
        self.encoder = encoder
        self.heads = heads
        self.offline = OfflineJudge(calibration, heads_calibration, heads)
        self.judge: Judge = judge or self.offline
        self.cache_folder = cache_folder
        self.max_answer_chars = max_answer_chars
        self._indexes: dict[str, QuestionIndex] = {}
        self._inline: OrderedDict[str, QuestionIndex] = OrderedDict()
        self._lock = threading.RLock()

    @classmethod
    def load(
        cls,
        bank: str | Path | Bank | None = None,
        *,
        encoder: str = EMBEDDED,
        device: str = "auto",
        cache_folder: Path | None = None,
        max_answer_chars: int = MAX_ANSWER_CHARS,
    ) -> Grader:
        """A grader for a bank or the one in a folder (default: the one that ships); raises BankError or EncoderError.

        Embeddings of the bank are kept in `cache_folder`, by default in the user's cache folder.
        """
        found = bank if isinstance(bank, Bank) else load_bank(bank)
        return cls(
            found,
            load_encoder(encoder, device),
            load_calibration("encoder"),
            heads=load_heads(found.path),
            heads_calibration=load_calibration("heads"),
            cache_folder=cache_folder or default_cache_folder(),
            max_answer_chars=max_answer_chars,
        )

    def warm(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Embeds the whole bank now instead of at the first answer; `progress(done, total)` is told after each question."""
        total = len(self.bank.questions)
        for done, question in enumerate(self.bank.questions, start=1):
            self._index(question)
            if progress:
                progress(done, total)
        _ = self._neighbours

    def grade(self, question: str | InlineQuestion, answer: str) -> Grade:
        """The grade of an answer to a question of the bank (by id) or to an inline one.

        Raises UnknownQuestion, InvalidQuestion, InvalidAnswer, AnswerTooLong. An answer that can be read but not graded
        is a Grade with outcome `not_gradable` and no score.
        """
        answer = self._checked(answer)
        index = self._index_of(question)
        heads, _ = self._heads(index)
        prepared = prepare(index, self.encoder, answer, self._neighbours.get(index.question.id), heads)
        if prepared.case is None:
            return self._grade(prepared, not_gradable(index.question, prepared.refusal, prepared.flags))
        judgements = [_verified(one, answer) for one in self.judge.judge(prepared.case, index.question.criteria)]
        findings = self.offline.misconceptions(prepared.case)
        calibration = self.offline.calibration(prepared.case)
        scored = score(index.question, judgements, findings, prepared.flags, calibration.points, calibration.interval)
        return self._grade(prepared, scored)

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _checked(self, answer: str) -> str:
        if not isinstance(answer, str):
            raise InvalidAnswer(f"The answer must be text, not {type(answer).__name__}.")
        if len(answer) > self.max_answer_chars:
            raise AnswerTooLong(len(answer), self.max_answer_chars)
        if (broken := _LONE_SURROGATE.search(answer)) is not None:
            raise InvalidAnswer(
                f"The answer holds half a character at offset {broken.start()} (a lone surrogate); send it as valid Unicode."
            )
        return answer

    def _index_of(self, question: str | InlineQuestion) -> QuestionIndex:
        if isinstance(question, str):
            return self._index(self.bank.question(question))
        made = question_from_inline(question)
        with self._lock:
            if made.id not in self._inline:
                self._inline[made.id] = build_index(made, self.encoder)
            self._inline.move_to_end(made.id)
            while len(self._inline) > INLINE_INDEXES:
                self._inline.popitem(last=False)
            return self._inline[made.id]

    def _index(self, question: Question) -> QuestionIndex:
        with self._lock:
            if question.id not in self._indexes:
                self._indexes[question.id] = build_index(question, self.encoder, self.cache_folder)
            return self._indexes[question.id]

    @cached_property
    def _neighbours(self) -> dict[str, guards.Neighbours | None]:
        indexes = [self._index(question) for question in self.bank.questions]
        return {index.question.id: neighbours_of(index, indexes) for index in indexes}

    def _heads(self, index: QuestionIndex) -> tuple[QuestionHeads | None, str | None]:
        """The heads that fit this rubric and encoder, or why those that are there do not."""
        if self.heads is None or index.question.id not in self.heads.questions:
            return None, None
        if not isinstance(self.encoder, SentenceTransformerEncoder) or self.heads.encoder != self.encoder.revision:
            return None, f"the bank's heads were not trained for the encoder {self.encoder.name}"
        found = self.heads.questions[index.question.id]
        if found.rubric != index.rubric:
            return None, "the bank's heads were trained for another version of this rubric; run `grader train`"
        return found, None

    def _grade(self, prepared: Prepared, scored: Scored) -> Grade:
        index = prepared.index
        provenance = self.versions(index)
        similarity = reference_similarity(index, prepared.case.vectors) if prepared.case else 0.0
        return Grade(
            id="grd_" + content_hash([index.question.id, prepared.text.original, provenance.model_dump(mode="json")]),
            question_id=index.question.id,
            outcome=scored.outcome,
            score=scored.score,
            score_interval=scored.interval,
            similarity=round(similarity, 4),
            coverage=scored.coverage,
            criteria=scored.criteria,
            misconceptions=scored.misconceptions,
            flags=scored.flags,
            review_reasons=scored.review_reasons,
            feedback=feedback.write(index.question, scored),
            provenance=provenance,
        )

    def versions(self, index: QuestionIndex | None = None) -> Provenance:
        """The versions of everything that decides a grade: of a question's, or of the grader as a whole."""
        heads, degraded = (None, None) if index is None else self._heads(index)
        zero_shot = index is not None and heads is None
        calibration = self.offline.zero_shot if zero_shot else self.offline.with_heads or self.offline.zero_shot
        version = "zero-shot" if zero_shot and self.judge is self.offline else self.judge.version
        return Provenance(
            grader=__version__,
            bank=self.bank.version,
            rubric=index.rubric if index else "",
            encoder=self.encoder.name,
            weights=self.encoder.revision,
            calibration=calibration.version,
            judge=f"{self.judge.name}@{version}",
            degraded=degraded,
        )


def _verified(judgement: Judgement, answer: str) -> Judgement:
    """A quote that is not in the answer just so voids the judgement: it abstains rather than credit invented words."""
    if all(answer[span.start : span.end] == span.text for span in judgement.evidence):
        return judgement
    return judgement.model_copy(update={"abstained": True, "evidence": ()})
