"""Leaves out what a speaker says while thinking: sounds of hesitation, words thrown in, a word begun again.

"So, um, the gradients they, you know, they add up" reads as "the gradients they add up". Only what is embedded is
changed, never what is quoted, so that speech and writing with the same content come close to the same score. What could carry
meaning stays: "actually" may take back what was said, "if you know the shape" is no aside. The kinds of disfluency are those
of Shriberg (1994): filled pauses, discourse markers, repetitions; repairs are not touched.
"""

from __future__ import annotations

import re

_SOUND = re.compile(r"(?<![\w'.-])(?:[Uu]h?m+|[Uu]h+|[Ee]rm?|[Hh]m+|[Mm]hm)(?![\w'-])[,.…]*+\s*")
# Thrown in between commas, before the first or behind the last one.
_THROWN_IN = (
    r"(?:(?:so |and )?(?:you know|i mean|you see|like|right|okay|ok|yeah|sure|well|basically|sort of|kind of|i guess|i suppose|"
    r"i'd say|let's say|let me think|how do you say|or so))"
)
_BETWEEN = re.compile(rf",\s*{_THROWN_IN}(?=\s*,)", re.IGNORECASE)
_BEFORE = re.compile(
    rf"^(?:{_THROWN_IN}\s*,\s*|(?:okay|ok|yeah|alright|well|right|now|so)\s+(?=(?:so|yeah|okay|ok|well|right)\b))+(?:so\s+)?",
    re.IGNORECASE,
)
_BEHIND = re.compile(rf",\s*{_THROWN_IN}(?=\s*[.!?]*$)", re.IGNORECASE)
# Without commas, as speech is often written down: only where the words around leave no other reading.
_PLAIN = re.compile(
    r"(?<!\bif )(?<!\bdo )(?<!\bas )(?<!\bdid )(?<!\bthat )(?<!\bwhat )(?<!\bwhen )(?<!\bonce )(?<!\bdon't )(?<!\bmust )"
    r"\b(?:you know|i mean)\b,?\s+(?!(?:that|what|how|the|a|an|which|when|where|if|why|who|whether|its?|by|about|in)\b)",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"(?<!\ba )(?<!\ban )(?<!\bthe )(?<!\bthis )(?<!\bthat )(?<!\bwhat )(?<!\bany )(?<!\bone )(?<!\bsome )(?<!\bwhich )"
    r"(?<!\beach )(?<!\bevery )(?<!\bof )(?<!\bsame )(?<!\bother )(?<!\bnew )\b(?:kind|sort) of\b\s*(?=[a-z])"
)
_AGAIN = re.compile(r"\b([A-Za-z]{1,6}),?\s+\1\b(?![.'(_])", re.IGNORECASE)
_COMMAS = re.compile(r"\s*,(?:\s*,)+")
_BEFORE_STOP = re.compile(r"[\s,]+(?=[.!?]+$)|\s+(?=,)")


def without_disfluencies(sentence: str) -> str:
    """The sentence without them; as it was when nothing else would be left."""
    found = _SOUND.sub("", sentence)
    for _ in range(2):  # a thing thrown in may stand beside another
        found = _BEFORE.sub("", _BEHIND.sub("", _BETWEEN.sub("", found)))
    found = _AGAIN.sub(r"\1", _HEDGE.sub("", _PLAIN.sub("", found)))
    if found == sentence:
        return sentence
    found = _BEFORE_STOP.sub("", _COMMAS.sub(",", found)).strip(" ,")
    return found if re.search(r"\w", found) else sentence
