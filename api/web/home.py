"""The first page: which questions there are, found by words, topic and level, and how far one has come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from grader.bank import Bank
from grader.schema import Level, Question

Order = Literal["number", "topic", "level"]
LEVELS: tuple[Level, ...] = ("junior", "mid", "senior")
# Questions that share a topic; a topic of its own for each question would be no order.
SMALLEST_TOPIC = 2


@dataclass(frozen=True)
class Progress:
    """How one question went so far: its number of attempts and the best score (None: none could be scored)."""

    attempts: int
    best: float | None


@dataclass(frozen=True)
class Choice:
    """What the visitor asked to see."""

    words: str = ""
    topic: str = ""
    level: str = ""
    order: Order = "topic"
    bank: str = ""

    @property
    def narrows(self) -> bool:
        return bool(self.words or self.topic or self.level or self.bank)


@dataclass(frozen=True)
class Section:
    """Questions under one heading; `name` is a topic or level, empty for those that share none."""

    name: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Shelf:
    """What fits of one bank."""

    bank: Bank
    sections: tuple[Section, ...]

    @property
    def count(self) -> int:
        return sum(len(section.questions) for section in self.sections)


def shelves(banks: Sequence[Bank], choice: Choice) -> list[Shelf]:
    """Bank by bank what fits; a bank of which nothing does is left out. Topics are each bank's own."""
    found = [
        Shelf(bank, tuple(sections(chosen(bank.questions, choice), bank.questions, choice.order)))
        for bank in of_bank(banks, choice.bank)
    ]
    return [shelf for shelf in found if shelf.count]


def of_bank(banks: Sequence[Bank], bank_id: str) -> list[Bank]:
    """The bank with this id; all of them when it is empty."""
    return [bank for bank in banks if bank_id in {"", bank.info.id}]


def chosen(questions: Sequence[Question], choice: Choice) -> list[Question]:
    """The questions that fit: every word in the prompt or a tag, the topic among the tags, the level."""
    wanted = choice.words.casefold().split()

    def fits(question: Question) -> bool:
        text = f"{question.prompt} {' '.join(question.tags)}".casefold()
        return (
            all(word in text for word in wanted)
            and (not choice.topic or choice.topic in question.tags)
            and (not choice.level or choice.level == question.level)
        )

    return [question for question in questions if fits(question)]


def sections(questions: Sequence[Question], every: Sequence[Question], order: Order) -> list[Section]:
    """The questions in the order asked for; topics are worked out over `every` question, so that filters don't move them."""
    if order == "number":
        return [Section("", tuple(questions))] if questions else []
    if order == "level":
        return _grouped(questions, {question.id: question.level for question in questions}, LEVELS)
    topics = topic_of(every)
    names = list(dict.fromkeys(topics[question.id] for question in every))
    return _grouped(questions, topics, [*(name for name in names if name), ""])


def topics(questions: Sequence[Question]) -> list[str]:
    """Tags that several questions share, most frequent first."""
    counted = Counter(tag for question in questions for tag in question.tags)
    return [tag for tag, times in counted.most_common() if times >= SMALLEST_TOPIC]


def topic_of(questions: Sequence[Question]) -> dict[str, str]:
    """One topic for each question: its first tag if another question leads with it, else one it shares, else ''."""
    first = Counter(question.tags[0] for question in questions if question.tags)
    found = {q.id: q.tags[0] for q in questions if q.tags and first[q.tags[0]] >= SMALLEST_TOPIC}
    left = [question for question in questions if question.id not in found]
    while left:
        shared = Counter(tag for question in left for tag in question.tags)
        tag, times = max(shared.items(), key=lambda item: item[1], default=("", 0))
        if times < SMALLEST_TOPIC:
            break
        found |= {question.id: tag for question in left if tag in question.tags}
        left = [question for question in left if question.id not in found]
    return found | {question.id: "" for question in left}


def _grouped(questions: Sequence[Question], names: Mapping[str, str], order: Sequence[str]) -> list[Section]:
    return [
        Section(name, found)
        for name in order
        if (found := tuple(question for question in questions if names[question.id] == name))
    ]
