"""Drafts a question for a bank: criteria, wordings, wrong versions, misconceptions and samples, for a person to mend.

A language model writes it where one is configured; from a reference answer alone it is made by taking the sentences apart.
What a model writes is checked part by part and completed from the reference; the result is always a question that
`grader bank check` accepts, marked `draft: true`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from grader.bank import BANK_FILE, expected_score, read_bank
from grader.errors import BankError, InvalidQuestion, JudgeUnavailable, Problem
from grader.judges.language import LanguageJudge, Usage
from grader.judges.prompting import InvalidReply, first_json
from grader.schema import (
    MAX_SCORE,
    Criterion,
    ExpectedVerdict,
    Identifier,
    Misconception,
    Question,
    Sample,
    SampleKind,
    Sentence,
    Text,
)
from grader.text import normalise, split, words
from grader.texts import say

MOST_CRITERIA = 10
MOST_TOKENS = 3_000
SECONDS = 180.0
MOST_FAULTS = 6  # named of a reply
# Characters of a fact, and of a wording: below the 2,000 of a `Sentence`, because all wrong versions together make a sample, a
# `Text` of 20,000.
LONGEST_FACT = 600
LONGEST_WORDING = 1_900
SAMPLE_TOLERANCE = 10.0  # points either way of what a sample's verdicts add up to

SYSTEM = """You help the author of a question bank. You write short, checkable facts in plain English."""
ASK = """Question: {prompt}
{reference}
Draft a rubric. Reply with JSON only:
{{"reference_answer": "80 to 120 words",
 "criteria": [{{"name": "two or three words", "statement": "one checkable fact that a good answer states",
   "exemplars": ["three other right ways to say it: plain, spoken, terse"],
   "contradictions": ["two wrong versions of it"], "hint": "a question that leads there without giving it away"}}],
 "misconceptions": [{{"name": "two or three words", "statement": "a common wrong belief", "correction": "what is right"}}]}}
Four to eight criteria, one to three misconceptions."""

HEADER = """# DRAFT of a question, written by `grader bank draft`{source}. Nobody has checked it yet: read every fact,
# mend points and wordings, write samples of your own, then remove the line `draft: true`.
"""


Name = Annotated[str, StringConstraints(min_length=2, max_length=80)]
Fact = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8, max_length=LONGEST_FACT)]
Wording = Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_WORDING)]


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _null_is_nothing(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class DraftCriterion(_Loose):
    """A criterion as a model writes it."""

    name: Name
    statement: Fact
    exemplars: list[Wording] = Field(default_factory=list, max_length=12)
    contradictions: list[Wording] = Field(default_factory=list, max_length=12)
    hint: Wording = ""


class DraftMisconception(_Loose):
    """A misconception as a model writes it."""

    name: Name
    statement: Fact
    correction: Fact


class Draft(_Loose):
    """All of a draft."""

    reference_answer: Annotated[str, StringConstraints(strip_whitespace=True, max_length=20_000)] = ""
    criteria: list[DraftCriterion] = Field(default_factory=list, max_length=MOST_CRITERIA)
    misconceptions: list[DraftMisconception] = Field(default_factory=list, max_length=6)

    def lacks(self, reference: str | None) -> list[str]:
        """Fields that a question cannot do without."""
        there = {"criteria": self.criteria, "reference_answer": reference or self.reference_answer}
        return [name for name, value in there.items() if not value]


class Drafted(NamedTuple):
    """A drafted question, why the model had no part in it if one was asked, and what its replies took."""

    question: Question
    reason: str | None
    usage: Usage


def draft_question(
    prompt: str, reference: str | None, judge: LanguageJudge | None, *, number: int = 1, question_id: str | None = None
) -> Drafted:
    """A question from a model, where one is given and writes something usable, or else from the reference.

    Raises InvalidQuestion when there is neither a usable reference nor a model that gave a usable reply, and when the prompt,
    the reference or the id is not one.
    """
    _check(Sentence, "prompt", prompt)
    _check(Text, "reference", reference or None)
    _check(Identifier, "id", question_id)
    written, reason, usage = (None, None, Usage()) if judge is None else _written(judge, prompt, reference)
    derived = _derived(reference) if reference else Draft()
    chosen = written or derived
    text = (reference or chosen.reference_answer).strip()
    if not chosen.criteria or not text:
        raise InvalidQuestion(say("refused.draft.nothing", reason=reason or say("grade.degraded.no_model")))
    question = _assembled(prompt, text, chosen, number, question_id or slug(prompt))
    return Drafted(question, reason if chosen is derived else None, usage)


def _check(kind: Any, part: str, value: str | None) -> None:
    """Raises InvalidQuestion when what the author gives is not what a question holds; better before a model is asked."""
    if value is None:
        return
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        raise InvalidQuestion(say(f"refused.draft.{part}", length=f"{len(value.strip()):,}")) from None


def write_draft(folder: Path, question: Question, by: str | None) -> Path:
    """Writes `NN-id.yaml` into a bank, which is made when it is not there; raises BankError rather than overwrite."""
    if not (folder / BANK_FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        info = {"id": slug(folder.resolve().name), "title": f"Questions of {folder.resolve().name}", "version": "0.1.0"}
        (folder / BANK_FILE).write_text(yaml.safe_dump(info, sort_keys=False), encoding="utf-8")
    file = folder / f"{question.number:02d}-{question.id}.yaml"
    if file.exists():
        raise BankError([Problem(str(file), 0, "", "is there already; give another id with --id")])
    body = yaml.safe_dump(
        question.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True, width=110
    )
    header = HEADER.format(source=f" with {by}" if by else "")
    file.write_text(header + body, encoding="utf-8")
    return file


def next_number(folder: Path) -> int:
    """One more than the highest number of a bank's questions; 1 where there is none."""
    bank, _ = read_bank(folder)
    return max((question.number for question in bank.questions), default=0) + 1 if bank else 1


def slug(text: str) -> str:
    """Text as an id: up to six of its words, lower case, with hyphens."""
    small = {"what", "is", "the", "a", "an", "of", "in", "and", "how", "does", "do", "why", "when", "to", "for", "it"}
    found = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join([word for word in found if word not in small][:6])[:60].strip("-") or "question"


# ---- by a model ------------------------------------------------------------------------------------------------------


def _written(judge: LanguageJudge, prompt: str, reference: str | None) -> tuple[Draft | None, str | None, Usage]:
    given = f"Reference answer of the author:\n{reference}\n" if reference else ""
    ask = ASK.format(prompt=prompt, reference=given)
    reason, usage = "", Usage()
    for _ in range(2):
        try:
            reply = judge.write(SYSTEM, ask, MOST_TOKENS, SECONDS)
        except JudgeUnavailable as error:
            return None, str(error), usage + Usage(*error.spent)
        usage += reply.usage
        draft, faults = _read(reply.text, reference)
        if draft:
            return draft, None, usage
        ask += f"\n\nThe last reply was not JSON of that form ({faults}). Reply with the JSON only."
        reason = say("refused.draft.unusable", faults=faults)
    return None, reason, usage


def _read(text: str, reference: str | None) -> tuple[Draft | None, str]:
    """A draft that can be used, or else what is wrong with it."""
    try:
        draft = Draft.model_validate(first_json(text))
        faults = draft.lacks(reference)
    except InvalidReply:
        faults = ["no JSON"]
    except ValidationError as error:
        faults = sorted({".".join(map(str, detail["loc"])) for detail in error.errors()})
    return (None, ", ".join(faults[:MOST_FAULTS])) if faults else (draft, "")


# ---- from a reference answer -----------------------------------------------------------------------------------------

_AUXILIARY = re.compile(r"\b(is|are|was|were|can|will|must|should|does|do|has|have|may)\b(?! not)")
_OPPOSITES = {
    "before": "after", "after": "before", "always": "never", "never": "always", "increases": "decreases",
    "decreases": "increases", "more": "less", "less": "more", "adds": "removes", "first": "last", "faster": "slower",
    "larger": "smaller", "smaller": "larger", "with": "without", "without": "with", "high": "low", "low": "high",
}  # fmt: skip


# Verbs that state facts, by which a sentence without an auxiliary can be denied.
_VERBS = re.compile(
    r"\b(absorb|add|allow|apply|attract|bind|block|break|bring|build|carry|cause|change|clear|compare|compute|connect|contain"
    r"|control|convert|copy|create|cross|decide|define|depend|describe|destroy|divide|drop|emit|expand|fall|form|give|grow"
    r"|guarantee|have|help|hold|increase|keep|last|lead|learn|limit|lock|make|mean|measure|move|need|open|pass|prevent|produce"
    r"|protect|provide|reach|read|record|reduce|reflect|release|remove|repeat|require|return|rise|rotate|run|scatter|send"
    r"|separate|share|show|slow|split|spread|start|stay|stop|store|take|transport|travel|turn|update|use|work|write)"
    r"(e?s)?\b"
)
_SMALL = re.compile(r"\b(?:the|an?|is|are|was|were|it|its|of|which|that|this|these)\s+", re.IGNORECASE)


def _derived(reference: str) -> Draft:
    """One criterion a sentence: a terse wording as exemplar, and as wrong versions what an opposite word or a negation makes.

    What people commonly get wrong, and other right wordings, no program can know: the author or a model adds them.
    """
    found = [segment.text[:LONGEST_FACT].strip() for segment in split(normalise(reference)) if len(segment.words) >= 4]
    sentences = [sentence for sentence in found if len(sentence) >= 8]
    criteria = []
    for sentence in sentences[:MOST_CRITERIA]:
        topic = [word for word in words(sentence) if len(word) > 3][
            :2
        ]  # an id is shown; more would give the point away
        terse = _SMALL.sub("", sentence)
        criteria.append(
            DraftCriterion(
                name=" ".join(topic)[:60] or "point",
                statement=sentence,
                exemplars=[terse] if terse != sentence and len(words(terse)) >= 3 else [],
                contradictions=[text for text in (_reversed(sentence), _negated(sentence)) if text],
            )
        )
    return Draft(criteria=criteria)


def _negated(sentence: str) -> str | None:
    if re.search(r"\b(?:not|never|no)\b|n't\b", sentence):
        return re.sub(r"\b(?:not|never) ", "", sentence, count=1) if re.search(r"\b(?:not|never) ", sentence) else None
    auxiliary, verb = _AUXILIARY.search(sentence), _VERBS.search(sentence)
    if verb and (auxiliary is None or verb.start() < auxiliary.start()):
        return f"{sentence[: verb.start()]}{'does' if verb[2] else 'do'} not {verb[1]}{sentence[verb.end() :]}"
    changed = _AUXILIARY.sub(r"\1 not", sentence, count=1)
    return changed if changed != sentence else f"It is not true that {sentence[0].lower()}{sentence[1:]}"


def _reversed(sentence: str) -> str | None:
    for word, opposite in _OPPOSITES.items():
        changed = re.sub(rf"\b{word}\b", opposite, sentence, count=1)
        if changed != sentence:
            return changed
    return None


# ---- putting it together ---------------------------------------------------------------------------------------------


def _assembled(prompt: str, reference: str, draft: Draft, number: int, question_id: str) -> Question:
    ids = _unique(slug(criterion.name) for criterion in draft.criteria)
    share = round(MAX_SCORE / len(ids), 2)
    points = [share] * (len(ids) - 1) + [round(MAX_SCORE - share * (len(ids) - 1), 2)]
    criteria = []
    for criterion_id, worth, one in zip(ids, points, draft.criteria, strict=True):
        right = {text.casefold() for text in (one.statement, *one.exemplars)}
        criteria.append(
            Criterion(
                id=criterion_id,
                statement=one.statement,
                points=worth,
                exemplars=tuple(text for text in one.exemplars if text),
                contradictions=tuple(t for t in one.contradictions if t and t.casefold() not in right),
                hint=one.hint or None,
            )
        )
    named = _unique(slug(misconception.name) for misconception in draft.misconceptions)
    misconceptions = tuple(
        Misconception(id=name, statement=one.statement, correction=one.correction, penalty=10)
        for name, one in zip(named, draft.misconceptions, strict=True)
    )
    question = Question(
        number=number,
        id=question_id,
        prompt=prompt,
        reference_answers=(reference,),
        criteria=tuple(criteria),
        misconceptions=misconceptions,
        draft=True,
    )
    return question.model_copy(update={"samples": _samples(question)})


def _samples(question: Question) -> tuple[Sample, ...]:
    """The reference, half of it, and its wrong versions, with the verdicts that these must have."""
    criteria = question.criteria
    half = criteria[: (len(criteria) + 1) // 2]
    wrong = [criterion for criterion in criteria if criterion.contradictions]
    made: list[tuple[str, SampleKind, str, dict[str, ExpectedVerdict]]] = [
        ("all-points", "excellent_short", " ".join(c.statement for c in criteria), {c.id: "met" for c in criteria}),
        ("half-the-points", "partial", " ".join(c.statement for c in half), {c.id: "met" for c in half}),
        ("nothing-said", "weak", "It is an important subject, and I have often read about it and used it.", {}),
    ]
    if wrong:
        text = " ".join(c.contradictions[0] for c in wrong)
        made.append(("wrong-versions", "confidently_wrong", text, {c.id: "contradicted" for c in wrong}))
    samples = []
    for name, kind, answer, verdicts in made:
        sample = Sample(id=name, kind=kind, answer=answer, score=(0, MAX_SCORE), verdicts=verdicts)
        value = expected_score(question, sample)
        low, high = max(0.0, value - SAMPLE_TOLERANCE), min(float(MAX_SCORE), value + SAMPLE_TOLERANCE)
        samples.append(sample.model_copy(update={"score": (low, high)}))
    return tuple(samples)


def _unique(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number, candidate = 2, name
        while candidate in found:
            candidate, number = f"{name}-{number}", number + 1
        found.append(candidate)
    return found
