"""The recipe: from a question and an answer to a grade, one step a line.

`Grader` holds what is loaded once (bank, encoder, calibration, judge); `grade` is a function of its input alone: every
answer is embedded by itself, so nothing that is graded before, after or beside it can move a digit.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grader import __version__, feedback, guards, phrasing
from grader.assist import Assistant, Assisted, JudgeMode, with_usage
from grader.bank import Bank, content_hash, load_bank, question_from_inline
from grader.calibration import BankScale, Calibration, load_bank_scale, load_calibration
from grader.encoders import EMBEDDED, Encoder, load_encoder
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import AnswerTooLong, InvalidAnswer, JudgeMissing
from grader.evidence import AnswerVectors, reference_similarity
from grader.fitting import fit_rubric_heads
from grader.index import QuestionIndex, build_index, default_cache_folder
from grader.judges import Case, Level
from grader.judges.entailment import EntailmentReader, load_reader
from grader.judges.heads import BankHeads, QuestionHeads, load_heads, speaks
from grader.judges.offline import LEVELS, OfflineJudge
from grader.judges.pair import PairReader, load_pair
from grader.observe import SILENT, Observer
from grader.schema import (
    MAX_ANSWER_CHARS,
    Flag,
    Grade,
    InlineQuestion,
    Judgement,
    MisconceptionFinding,
    Provenance,
    Question,
)
from grader.scoring import Scored, not_gradable, score
from grader.text import NormalisedText, normalise, split
from grader.texts import say

if TYPE_CHECKING:
    from grader.judges import Judge

# Inline questions whose embeddings are kept in memory; one takes about 100 kB.
INLINE_INDEXES = 256
# What JSON can write as \ud800 and no UTF-8 text can hold.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Trained:
    """What was trained for a question: its heads, and the network if it knows the question too.

    `pair`: nothing was, and each criterion has one wording; then a general network reads it beside the answer's sentences.
    """

    heads: QuestionHeads | None = None
    reader: EntailmentReader | None = None
    pair: PairReader | None = None

    @property
    def level(self) -> Level:
        """How much is known about the question."""
        if self.heads is None:
            return "reference" if self.pair is not None else "encoder"
        if self.heads.source == "rubric":
            return "rubric"
        return "heads" if self.reader is None else "entailment"


UNTRAINED = Trained()


@dataclass(frozen=True)
class Prepared:
    """An answer made ready to be judged; `case` is None when it cannot be graded, and `refusal` says why."""

    index: QuestionIndex
    text: NormalisedText
    flags: tuple[Flag, ...]
    case: Case | None
    refusal: str = ""


@dataclass(frozen=True)
class Opinion:
    """An answer made ready, and what was found in it: one judgement a criterion and one finding a misconception."""

    prepared: Prepared
    judgements: list[Judgement]
    findings: list[MisconceptionFinding]


def prepare(
    index: QuestionIndex,
    encoder: Encoder,
    answer: str,
    neighbours: guards.Neighbours | None,
    trained: Trained = UNTRAINED,
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
    if trained.heads is not None and isinstance(encoder, SentenceTransformerEncoder):
        layers = encoder.encode_layers(texts)
    vectors = encoder.encode(texts) if layers is None else np.ascontiguousarray(layers[:, -1])
    answer_vectors = AnswerVectors(inspection.segments, vectors[1:], vectors[:1])
    elsewhere = [guards.off_topic(index, answer_vectors, neighbours)]
    if trained.heads is not None:  # the rubric has many wordings, and the encoder is the one the limit is for
        elsewhere.append(guards.far_from_rubric(index, answer_vectors))
    logits = None
    if trained.reader is not None and trained.heads is not None and layers is not None:
        # What says nothing must not move how the rest is read; what may be about something else is read whole.
        counts = speaks(trained.heads, layers[1:]) | any(elsewhere)
        said = [text for text, one in zip(texts[1:], counts, strict=True) if one]
        logits = trained.reader.read(index.question.id, " ".join(said) or texts[0])
    case = Case(
        index, text, answer_vectors, None if layers is None else layers[1:], trained.heads, logits, trained.pair
    )
    return Prepared(index, text, (*inspection.flags, *filter(None, elsewhere)), case)


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

    The constructor only stores; use `Grader.load` for a ready one. One calibration alone is that for zero-shot judging.
    """

    def __init__(
        self,
        bank: Bank,
        encoder: Encoder,
        calibrations: Calibration | Mapping[Level, Calibration],
        *,
        judge: Judge | None = None,
        heads: BankHeads | None = None,
        reader: EntailmentReader | None = None,
        pair: PairReader | None = None,
        scale: BankScale | None = None,
        cache_folder: Path | None = None,
        max_answer_chars: int = MAX_ANSWER_CHARS,
        assistant: Assistant | None = None,
    ) -> None:
        self.bank = bank
        self.encoder = encoder
        self.heads = heads
        self.reader = reader
        self.pair = pair
        given: Mapping[Level, Calibration]
        given = {"encoder": calibrations} if isinstance(calibrations, Calibration) else calibrations
        there: dict[Level, bool] = {
            "reference": pair is not None,
            "encoder": True,
            "rubric": isinstance(encoder, SentenceTransformerEncoder) and encoder.embedded,
            "heads": heads is not None,
            "entailment": heads is not None and reader is not None,
        }
        revisions = [part.revision for part in (heads, reader) if part is not None]
        self.offline = OfflineJudge(
            {level: found for level, found in given.items() if there[level]}, "+".join(revisions) or "zero-shot"
        )
        self.judge: Judge = judge or self.offline
        self.assistant = assistant
        self.scale = scale if scale is not None and scale.base == self.offline.newest.version else None
        self._stale_scale = scale is not None and self.scale is None
        self.cache_folder = cache_folder
        self.max_answer_chars = max_answer_chars
        self.observer: Observer = SILENT
        self._own = frozenset(question.id for question in bank.questions)
        self._indexes: dict[str, QuestionIndex] = {}
        self._rubric_heads: dict[str, Trained] = {}
        self._inline: OrderedDict[str, QuestionIndex] = OrderedDict()
        self._lock = threading.RLock()

    @classmethod
    def load(
        cls,
        bank: str | Path | Bank | None = None,
        *,
        encoder: str | Encoder = EMBEDDED,
        device: str = "auto",
        cache_folder: Path | None = None,
        max_answer_chars: int = MAX_ANSWER_CHARS,
        assistant: Assistant | None = None,
    ) -> Grader:
        """A grader for a bank or the one in a folder (default: the one that ships); raises BankError or EncoderError.

        An `encoder` that is loaded already can be shared by several (`library.Library`). Embeddings of the bank are kept in
        `cache_folder`, by default in the user's cache folder.
        """
        found = bank if isinstance(bank, Bank) else load_bank(bank)
        loaded = load_encoder(encoder, device) if isinstance(encoder, str) else encoder
        cache_folder = cache_folder or default_cache_folder()
        reader = load_reader(found, loaded, cache_folder)
        return cls(
            found,
            loaded,
            {level: load_calibration(level) for level in LEVELS if level != "entailment" or reader},
            heads=load_heads(found.path),
            reader=reader,
            pair=load_pair(loaded),
            scale=load_bank_scale(found.path),
            cache_folder=cache_folder,
            max_answer_chars=max_answer_chars,
            assistant=assistant,
        )

    def warm(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Embeds the whole bank now instead of at the first answer; `progress(done, total)` is told after each question."""
        total = len(self.bank.questions)
        for done, question in enumerate(self.bank.questions, start=1):
            self._trained(self._index(question))
            if progress:
                progress(done, total)
        _ = self._neighbours

    def grade(self, question: str | InlineQuestion, answer: str, judge: JudgeMode | None = None) -> Grade:
        """The grade of an answer to a question of the bank (by id) or to an inline one.

        `judge` says whether a language model may settle what is uncertain (default: what the assistant's policy says);
        `required` raises JudgeUnavailable when it was needed and had nothing to say.
        Raises UnknownQuestion, InvalidQuestion, InvalidAnswer, AnswerTooLong. An answer that can be read but not graded
        is a Grade with outcome `not_gradable` and no score.
        """
        opinion = self.opinion(question, answer)
        prepared, question_ = opinion.prepared, opinion.prepared.index.question
        if prepared.case is None:
            return self._grade(prepared, not_gradable(question_, prepared.refusal, prepared.flags))
        scale = self.scale or self.offline.calibration(prepared.case)

        def scored(judgements: Sequence[Judgement], more: Sequence[Flag] = ()) -> Scored:
            flags_ = (*prepared.flags, *more)
            return score(question_, judgements, opinion.findings, flags_, scale.points, scale.interval)

        assisted = self._assisted(prepared, opinion.judgements, scored, judge)
        return self._grade(prepared, scored(assisted.judgements, assisted.flags), assisted)

    def opinion(self, question: str | InlineQuestion, answer: str) -> Opinion:
        """What the judges say of an answer, before any points are added up; raises what `grade` raises."""
        answer = self._checked(answer)
        index = self._index_of(question)
        trained, _ = self._trained(index)
        with self.observer.timed("prepare"):
            prepared = prepare(index, self.encoder, answer, self._neighbours.get(index.question.id), trained)
        if prepared.case is None:
            return Opinion(prepared, [], [])
        with self.observer.timed("judge"):
            judgements = [_verified(one, answer) for one in self.judge.judge(prepared.case, index.question.criteria)]
        return Opinion(prepared, judgements, self.offline.misconceptions(prepared.case))

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _checked(self, answer: str) -> str:
        if not isinstance(answer, str):
            raise InvalidAnswer(say("refused.answer.no_text", kind=type(answer).__name__))
        if len(answer) > self.max_answer_chars:
            raise AnswerTooLong(len(answer), self.max_answer_chars)
        if (broken := _LONE_SURROGATE.search(answer)) is not None:
            raise InvalidAnswer(say("refused.answer.surrogate", offset=broken.start()))
        return answer

    def _index_of(self, question: str | InlineQuestion) -> QuestionIndex:
        if isinstance(question, str):
            return self._index(self.bank.question(question))
        made = question_from_inline(question)
        with self._lock:
            self.observer.cache("inline_question", hit=made.id in self._inline)
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

    def _trained(self, index: QuestionIndex) -> tuple[Trained, str | None]:
        """What was trained for this rubric and encoder, and why what should be there cannot be used."""
        if self.heads is None or index.question.id not in self.heads.questions:
            return self._by_rubric(index), self._short_of("rubric", index)
        if not isinstance(self.encoder, SentenceTransformerEncoder) or self.heads.encoder != self.encoder.revision:
            return UNTRAINED, say("grade.degraded.encoder", name=self.encoder.name)
        found = self.heads.questions[index.question.id]
        if found.rubric != index.rubric:
            return self._by_rubric(index), say("grade.degraded.rubric")
        if self.reader is None or not self.reader.knows(index.question.id, index.rubric):
            return Trained(found), self._short_of("heads", index)
        return Trained(found, self.reader), None

    def _by_rubric(self, index: QuestionIndex) -> Trained:
        """Heads fitted, once, to the question's own right and wrong wordings, where it has both."""
        encoder = self.encoder
        if "reference" in self.offline.calibrations and index.question.is_bare:
            return Trained(pair=self.pair)
        if "rubric" not in self.offline.calibrations or not isinstance(encoder, SentenceTransformerEncoder):
            return UNTRAINED
        with self._lock:
            if index.rubric not in self._rubric_heads:
                self._rubric_heads[index.rubric] = Trained(fit_rubric_heads(index.question, encoder))
            return self._rubric_heads[index.rubric]

    def _short_of(self, level: Level, index: QuestionIndex) -> str | None:
        """A reason for `degraded` when the bank is meant to be judged by more than this; inline questions never are."""
        meant = self.bank.info.judge
        if LEVELS.index(level) >= LEVELS.index(meant) or index.question.id not in self._own:
            return None
        return say("grade.degraded.network" if level == "heads" else "grade.degraded.heads")

    def _assisted(
        self,
        prepared: Prepared,
        judgements: Sequence[Judgement],
        scored: Callable[[Sequence[Judgement]], Scored],
        mode: JudgeMode | None,
    ) -> Assisted:
        """The judgements after the language model had its say, if there is one and it may."""
        wanted = mode or (self.assistant.policy.mode if self.assistant else "off")
        if wanted == "off" or prepared.case is None:
            return Assisted(judgements)
        if self.assistant is None:
            reason = say("grade.degraded.no_model")
            if wanted == "required":
                raise JudgeMissing("unreachable", say("refused.judge.required", reason=reason))
            return Assisted(judgements, degraded=reason)
        with self.observer.timed("judge"):
            return self.assistant.assist(
                prepared.case, judgements, prepared.flags, lambda some: scored(some).score or 0.0, wanted
            )

    def _grade(self, prepared: Prepared, scored: Scored, assisted: Assisted | None = None) -> Grade:
        index = prepared.index
        provenance = self.versions(index)
        words, follow_up = feedback.write(index.question, scored), feedback.follow_up(scored)
        if assisted is not None:
            provenance = _degraded(provenance, assisted.degraded).model_copy(update={"llm": assisted.use})
        # The id is of what decided the grade; how it is worded, and what that takes, comes after.
        grade_id = "grd_" + content_hash(
            [index.question.id, prepared.text.original, provenance.model_dump(mode="json")]
        )
        if assisted is not None and assisted.use is not None and assisted.writer is not None:
            point = feedback.next_point(scored)
            worded = phrasing.reword(assisted.writer, index.question, scored, point, assisted.ends)
            words, follow_up = feedback.write(index.question, scored, worded.said), worded.follow_up or follow_up
            update = {"llm": with_usage(assisted.use, worded.usage)}
            provenance = _degraded(provenance, worded.degraded).model_copy(update=update)
        similarity = reference_similarity(index, prepared.case.vectors) if prepared.case else 0.0
        grade = Grade(
            id=grade_id,
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
            feedback=words,
            follow_up=follow_up,
            provenance=provenance,
        )
        self.observer.graded(grade)
        return grade

    def versions(self, index: QuestionIndex | None = None) -> Provenance:
        """The versions of everything that decides a grade: of a question's, or of the grader as a whole."""
        trained, degraded = (None, None) if index is None else self._trained(index)
        level = LEVELS[-1] if trained is None else trained.level
        calibration = self.offline.calibrations.get(level, self.offline.newest)
        version = self.judge.version
        if self.judge is self.offline and level in {"reference", "encoder", "rubric"}:
            by_reading = f"reference+{self.pair.revision}" if self.pair else ""
            version = {"encoder": "zero-shot", "rubric": "rubric", "reference": by_reading}[level]
        elif self.judge is self.offline and level == "heads":
            version = version.split("+")[0]
        return Provenance(
            grader=__version__,
            bank=self.bank.version,
            rubric=index.rubric if index else "",
            encoder=self.encoder.name,
            weights=self.encoder.revision,
            calibration=calibration.version if self.scale is None else f"{calibration.version}+{self.scale.version}",
            judge=f"{self.judge.name}@{version}",
            degraded="; ".join(filter(None, (degraded, say("grade.degraded.scale") if self._stale_scale else None)))
            or None,
        )


def _degraded(provenance: Provenance, reason: str | None) -> Provenance:
    """The same with one more reason why less had a say than was meant to."""
    return provenance.model_copy(update={"degraded": "; ".join(filter(None, (provenance.degraded, reason))) or None})


def _verified(judgement: Judgement, answer: str) -> Judgement:
    """A quote that is not in the answer just so voids the judgement: it abstains rather than credit invented words."""
    if all(answer[span.start : span.end] == span.text for span in judgement.evidence):
        return judgement
    return judgement.model_copy(update={"abstained": True, "evidence": ()})
