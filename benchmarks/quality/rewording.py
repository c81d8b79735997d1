"""The same content in other words or another form: deterministic changes that must not move a grade.

Each function takes the answer and a random generator seeded by the answer itself. Code and names with dots or underscores
are left alone: a typo in them would change what is said.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from benchmarks.quality.data import stable_hash

Item = TypeVar("Item")
Change = Callable[[str, random.Random], str]

_PLAIN_WORD = re.compile(r"(?<![\w.`'-])[A-Za-z][a-z]{4,}(?![\w.`'(-])(?!\.\w)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_FILLERS = ("um,", "uh,", "you know,", "like,", "I mean,", "well,")
TYPO_EVERY = 12  # plain words of five letters or more
FILLER_EVERY = 14  # words


def typos(answer: str, chance: random.Random) -> str:
    """Of every twelve plain words one has two letters swapped, one dropped or one doubled; first letters stay."""
    found = list(_PLAIN_WORD.finditer(answer))
    for match in sorted(_some(found, TYPO_EVERY, chance), key=lambda match: -match.start()):
        answer = answer[: match.start()] + _slip(match.group(), chance) + answer[match.end() :]
    return answer


def _slip(word: str, chance: random.Random) -> str:
    at = chance.randrange(1, len(word) - 1)
    dropped, doubled = word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return chance.choice((dropped, doubled, swapped if swapped != word else dropped))


def _some(found: Sequence[Item], every: int, chance: random.Random) -> list[Item]:
    """One of every so many, at least one where there is any."""
    return chance.sample(found, -(-len(found) // every))


def unpunctuated(answer: str, chance: random.Random) -> str:
    """Lower case, without the marks at the end of words; dots inside names stay."""
    del chance
    return re.sub(r"[.,;:!?]+(?=\s|$)", "", answer).lower()


def fillers(answer: str, chance: random.Random) -> str:
    """Before one of every fourteen words a filler, as in speech that was written down."""
    words = answer.split(" ")
    for place in _some(range(len(words)), FILLER_EVERY, chance):
        words[place] = f"{chance.choice(_FILLERS)} {words[place]}"
    return " ".join(words)


def politeness(answer: str, chance: random.Random) -> str:
    """Thanks before, a hope behind."""
    del chance
    return f"Thank you for the question, I am happy to answer it. {answer} I hope this is clear, thanks for reading."


def sentence_order(answer: str, chance: random.Random) -> str:
    """The sentences in another order; an answer of fewer than three stays as it is."""
    sentences = _SENTENCE_END.split(answer)
    if len(sentences) >= 3:
        chance.shuffle(sentences)
    return " ".join(sentences)


CHANGES: dict[str, Change] = {
    "typos": typos,
    "lower case, no punctuation": unpunctuated,
    "fillers of speech": fillers,
    "politeness": politeness,
    "other order of sentences": sentence_order,
}


def is_plain_prose(answer: str) -> bool:
    """Whether an answer is running text, so that each of the changes leaves its content alone."""
    return "\n" not in answer.strip() and "```" not in answer


def changed(answer: str, change: Change) -> str:
    """The answer with the change, the same every time."""
    return change(answer, random.Random(stable_hash(answer)))
