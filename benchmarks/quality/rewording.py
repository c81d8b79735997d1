"""The same content in other words or another form: deterministic changes that must not move a grade.

Each function takes the answer and a random generator seeded by the answer itself. Code and names with dots or underscores
are left alone: a typo in them would change what is said.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from benchmarks.quality.data import stable_hash

Change = Callable[[str, random.Random], str]

_PLAIN_WORD = re.compile(r"(?<![\w.`'-])[A-Za-z][a-z]{4,}(?![\w.`'(-])(?!\.\w)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_FILLERS = ("um,", "uh,", "you know,", "like,", "I mean,", "well,")
TYPO_EVERY = 12  # plain words of five letters or more
FILLER_EVERY = 14  # words


def typos(answer: str, chance: random.Random) -> str:
    """One plain word in twelve gets two letters swapped, one dropped or one doubled; its first letter stays."""

    def slip(match: re.Match[str]) -> str:
        word = match.group()
        if chance.random() >= 1 / TYPO_EVERY:
            return word
        at = chance.randrange(1, len(word) - 1)
        return chance.choice(
            (
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
            )
        )

    return _PLAIN_WORD.sub(slip, answer)


def unpunctuated(answer: str, chance: random.Random) -> str:
    """Lower case, without the marks at the end of words; dots inside names stay."""
    del chance
    return re.sub(r"[.,;:!?]+(?=\s|$)", "", answer).lower()


def fillers(answer: str, chance: random.Random) -> str:
    """A filler before about every fourteenth word, as in speech that was written down."""
    words = answer.split(" ")
    return " ".join(
        f"{chance.choice(_FILLERS)} {word}" if word and chance.random() < 1 / FILLER_EVERY else word for word in words
    )


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
