"""The data that flows through the grader: Question -> Answer -> Segments -> Signals -> Judgements -> Grade.

Everything here is frozen and validated once, at the border. Offsets are half-open code points (`start` included,
`end` not) into the answer exactly as it was sent. This module knows no model, file or network.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Verdict = Literal["met", "partial", "not_met", "contradicted", "abstained"]
ExpectedVerdict = Literal["met", "partial", "not_met", "contradicted"]
Outcome = Literal["graded", "needs_review", "not_gradable"]
QuestionKind = Literal["concept", "comparison", "procedure", "open_ended", "experience"]
Level = Literal["junior", "mid", "senior"]
SampleKind = Literal[
    "excellent_short",
    "excellent_long",
    "good",
    "partial",
    "weak",
    "confidently_wrong",
    "keyword_list",
    "off_topic",
    "jargon_free",
    "code",
    "mixed",
    "transcript",
    "second_language",
]
FlagCode = Literal[
    "injection_suspected",
    "keyword_list",
    "off_topic",
    "question_echo",
    "copied_reference",
    "repetition",
    "self_contradiction",
    "not_english",
    "gibberish",
    "too_long",
    "too_short",
    "low_confidence",
    "judge_disagrees",
]

MAX_SCORE = 100
MAX_ANSWER_CHARS = 20_000  # code points; about 3,500 words, far above any answer of the bank

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=500)]


class Frozen(BaseModel):
    """Base of all data: immutable, and unknown fields are an error rather than a typo that goes unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ---- the bank ------------------------------------------------------------------------------------------------------


class Group(Frozen):
    """Any `any_of` of the criteria that name this group suffice for all of its points."""

    id: Identifier
    any_of: Annotated[int, Field(ge=1)]


class Criterion(Frozen):
    """A key concept: one checkable statement and what it is worth."""

    id: Identifier
    statement: Sentence
    points: Annotated[float, Field(gt=0, le=MAX_SCORE)]
    exemplars: tuple[Sentence, ...] = ()
    contradictions: tuple[Sentence, ...] = ()
    hint: Sentence | None = None
    group: Identifier | None = None


class Misconception(Frozen):
    """A wrong belief that costs points wherever it turns up."""

    id: Identifier
    statement: Sentence
    exemplars: tuple[Sentence, ...] = ()
    correction: Sentence
    penalty: Annotated[float, Field(ge=0, le=MAX_SCORE)]
    source: Url | None = None


class Sample(Frozen):
    """A graded answer that ships with a question: what a fair expert gives, from `score[0]` to `score[1]`."""

    id: Identifier
    kind: SampleKind
    answer: Text
    score: tuple[Annotated[float, Field(ge=0, le=MAX_SCORE)], Annotated[float, Field(ge=0, le=MAX_SCORE)]]
    verdicts: dict[Identifier, ExpectedVerdict] = Field(default_factory=dict)
    misconceptions: tuple[Identifier, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.score[0] > self.score[1]:
            raise ValueError(
                f"score goes from {self.score[0]:g} down to {self.score[1]:g}; write the lower number first"
            )
        return self


class Question(Frozen):
    """A question with all that is needed to grade an answer to it."""

    number: Annotated[int, Field(ge=0)] = 0
    id: Identifier
    prompt: Sentence
    kind: QuestionKind = "concept"
    level: Level = "mid"
    tags: tuple[Identifier, ...] = ()
    sources: tuple[Url, ...] = ()
    reference_answers: Annotated[tuple[Text, ...], Field(min_length=1)]
    groups: tuple[Group, ...] = ()
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=40)]
    misconceptions: tuple[Misconception, ...] = ()
    samples: tuple[Sample, ...] = ()
    draft: bool = False
    """Written by `grader bank draft` and not yet read by a person; remove the line once it is."""

    @property
    def uses_similarity(self) -> bool:
        """A personal story has no reference to be similar to."""
        return self.kind != "experience"

    @property
    def is_bare(self) -> bool:
        """Whether each criterion has its statement and no other wording, right or wrong."""
        return not any(criterion.exemplars or criterion.contradictions for criterion in self.criteria)

    def possible_points(self) -> float:
        """The most an answer can earn: ungrouped criteria plus `any_of` times the points of each group's members."""
        total = sum(criterion.points for criterion in self.criteria if criterion.group is None)
        for group in self.groups:
            members = sorted((c.points for c in self.criteria if c.group == group.id), reverse=True)
            total += sum(members[: group.any_of])
        return total


class BankInfo(Frozen):
    """What `bank.yaml` says about the bank as a whole."""

    id: Identifier
    title: Sentence
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")] = "1.0.0"
    language: Literal["en"] = "en"
    licence: str | None = None
    judge: Literal["encoder", "heads", "entailment"] = "encoder"
    """What its answers are meant to be judged by; a grade that had to do with less is marked `degraded`."""


class InlineCriterion(Frozen):
    """A criterion of a question that is sent along with the answer."""

    statement: Sentence
    # Points are scaled to 100; a smaller share than this would be scaled to nothing.
    points: Annotated[float, Field(ge=0.001, le=1_000_000)] = 1


class InlineQuestion(Frozen):
    """A question that comes with the answer instead of from the bank.

    Points may have any sum: they are scaled to 100. With no criteria, they are derived from the first reference answer.
    """

    prompt: Sentence
    reference_answers: Annotated[tuple[Text, ...], Field(min_length=1, max_length=8)]
    criteria: Annotated[tuple[InlineCriterion, ...], Field(max_length=40)] = ()
    misconceptions: Annotated[tuple[Sentence, ...], Field(max_length=40)] = ()


# ---- on the way to a grade -----------------------------------------------------------------------------------------


class EvidenceSpan(Frozen):
    """Words of the answer, verbatim: `text == answer[start:end]`."""

    start: int
    end: int
    text: str


class Judgement(Frozen):
    """A judge's opinion on one criterion: the probability of each verdict, and the words it rests on.

    The three probabilities and the remaining one (not met) sum to 1.
    """

    criterion_id: str
    p_met: Annotated[float, Field(ge=0, le=1)]
    p_partial: Annotated[float, Field(ge=0, le=1)] = 0.0
    p_contradicted: Annotated[float, Field(ge=0, le=1)] = 0.0
    evidence: tuple[EvidenceSpan, ...] = ()
    judged_by: Literal["encoder", "entailment", "llm"] = "encoder"
    abstained: bool = False


class MisconceptionFinding(Frozen):
    """How likely it is that the answer holds a misconception, and where."""

    misconception_id: str
    probability: Annotated[float, Field(ge=0, le=1)]
    evidence: tuple[EvidenceSpan, ...] = ()


class PointScale(Frozen):
    """Credit (P(met) + P(partial)/2) at or below `low` earns nothing, at or above `high` everything, linear between."""

    low: float
    high: float


class Interval(Frozen):
    """half-width = quantile * sqrt(floor**2 + sum(points**2 * variance of credit)), in score points."""

    quantile: float
    floor: float


# ---- the grade: names are a contract, see docs/architecture.md ------------------------------------------------------


class CriterionResult(Frozen):
    """One criterion in a grade. `statement` is null in the candidate's view; `hint` helps there instead."""

    id: str
    statement: str | None
    verdict: Verdict
    probability: Annotated[float, Field(ge=0, le=1)]
    points: float
    max_points: float
    evidence: tuple[EvidenceSpan, ...]
    judged_by: Literal["encoder", "entailment", "llm"]
    hint: str | None = None
    group: str | None = None


class MisconceptionResult(Frozen):
    """A wrong belief found in the answer, where it stands and what is right instead."""

    id: str
    statement: str | None
    evidence: tuple[EvidenceSpan, ...]
    penalty: float
    correction: str
    source: str | None = None


class Flag(Frozen):
    """Something a reader of the grade should know; with a place in the answer when it has one."""

    code: FlagCode
    message: str
    start: int | None = None
    end: int | None = None


class Feedback(Frozen):
    """The grade in words, for the candidate."""

    summary: str
    strengths: tuple[str, ...] = ()
    improvements: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()


class LlmUse(Frozen):
    """What a language model was asked for a grade and what that took, when it was first asked.

    `judgements` is a hash of all its opinions and of how far they may move a grade; `settled` counts those that entered it.
    Tokens and cost are those of the verdicts and of the feedback, where it words that, also when the replies were of no
    use. `cost` is in the currency of the configured prices.
    """

    model: str
    asked: tuple[str, ...]
    settled: int
    judgements: str
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class Provenance(Frozen):
    """The version of everything that decided the grade."""

    grader: str
    bank: str
    rubric: str
    encoder: str
    weights: str
    calibration: str
    judge: str
    degraded: str | None = None
    llm: LlmUse | None = None


class Grade(Frozen):
    """What the grader says of one answer. The same JSON everywhere: library, command line, HTTP."""

    id: str
    question_id: str
    outcome: Outcome
    score: Annotated[float, Field(ge=0, le=MAX_SCORE)] | None
    max_score: int = MAX_SCORE
    score_interval: tuple[float, float] | None
    similarity: Annotated[float, Field(ge=0, le=1)]
    coverage: Annotated[float, Field(ge=0, le=1)]
    criteria: tuple[CriterionResult, ...]
    misconceptions: tuple[MisconceptionResult, ...]
    flags: tuple[Flag, ...]
    review_reasons: tuple[str, ...]
    feedback: Feedback
    follow_up: str | None = Field(
        None, description="A question the interviewer could ask next; null for the candidate."
    )
    provenance: Provenance

    def for_candidate(self) -> Grade:
        """The same grade without what only a rubric's owner may see: statements of criteria and misconceptions."""
        return self.model_copy(
            update={
                "criteria": tuple(c.model_copy(update={"statement": None}) for c in self.criteria),
                "misconceptions": tuple(m.model_copy(update={"statement": None}) for m in self.misconceptions),
                "follow_up": None,
            }
        )
