"""Finds words that are meant for whoever grades instead of answering the question, plain or in disguise.

Three looks at a segment: fixed phrases no honest answer needs; how many words of the trade of grading it holds that the
question itself does not use; and the same two for the text behind an encoding (base64, hex, percent and HTML escapes,
rot13, letters swapped for digits, spaced out, spelt backwards or with shuffled letters). This module knows no model and
decides nothing about points.
"""

from __future__ import annotations

import base64
import codecs
import html
import re
import urllib.parse
from collections.abc import Iterator

from grader.text import words

_GRADER = r"(?:grader|examiner|evaluator|judge|assessor)"
_PHRASES = re.compile(
    rf"""
      \b(?:ignore|disregard|forget|override|bypass|skip)\b[^.\n]{{0,40}}
      \b(?:instructions?|rubrics?|criteria|prompts?|rules|guidelines|evaluation)\b
    | \b(?:disregard|forget|ignore)\b[^.\n]{{0,12}}\b(?:everything|all|anything)\b
      [^.\n]{{0,25}}\b(?:told|said|above|before|previous)\b
    | \b(?:give|award|assign|grant|grade|mark|rate|score)\b[^.\n]{{0,25}}
      \b(?:this\ (?:answer|response|submission)|my\ (?:answer|response)|the\ (?:candidate|student|answer))\b[^.\n]{{0,40}}
      \b(?:full|maximum|max|perfect|highest|top|100|10\s*/\s*10|excellent|correct|pass)\b
    | \b(?:give|award|assign|grant)\ me\b[^.\n]{{0,20}}
      \b(?:full|maximum|max|perfect|highest|top|100|10)\b[^.\n]{{0,12}}\b(?:marks?|points?|scores?|credit|grade|rating)\b
    | \b(?:full|maximum|perfect|100\ ?%?)\s+(?:marks?|points?|scores?|credit)\b[^.\n]{{0,30}}
      \b(?:please|to\ this|for\ this|to\ me|must)\b
    | \b(?:you\ are|act\ as|pretend\ to\ be|stay\ in)\b[^.\n]{{0,20}}
      \b(?:an?\ |the\ |this\ )?(?:{_GRADER}|ai\ (?:assistant|model)|language\ model|assistant|role)\b
    | \b(?:dear|note\ to(?:\ the)?|to\ the|attention|message\ (?:to|for)(?:\ the)?|hey)\ (?:ai\ )?
      (?:{_GRADER}|llm|ai|assistant)\b
    | ^\s*(?:system|assistant|developer|human|user)\s*(?:prompt|message)?\s*:
    | </?(?:system|assistant|instructions?|priority|tool_\w+|criteria\w*|answer)\b[^>]*>
    | <\|[^|\n]{{0,40}}\|> | <(?:start|end)_of_turn> | \[/?INST\]
    | (?:\#{{2,}}|\-{{3,}}|<{{2,}})\s*(?:(?:begin|end)\b\W*(?:of\W+)?)?(?:system|instructions?|new\ task|answer|prompt)\b
    | "?\b(?:score|verdict|grade|outcome|coverage)\b"?\s*[:=]\s*(?:"?(?:met|full|correct|pass|passed|graded)\b|\d)
    | \bp_(?:met|partial|contradicted)\b | ^\s*\[x\]
    | \ball\ (?:of\ )?(?:the\ )?criteria\ [^.\n]{{0,25}}\b(?:met|satisfied|fulfilled)\b
    | \b(?:decode|read\ backwards?)\b[^.\n]{{0,20}}\b(?:obey|follow|execute)\b | ^\s*(?:rot13|base64)\b\s*:
    | \bdo\ not\ (?:mark|subtract|mention|deduct)\b
    | \b(?:every|each|all|any)\ (?:of\ )?(?:the\ )?(?:key\ )?(?:criteri\w+|concepts?|points?|requirements?|rubric\ \w+)\b
      [^.\n]{{0,30}}\b(?:met|present|cover(?:ed|s)|fulfilled|satisfied|missing|answered|there|credited|contradicted)\b
    | \b(?:this|my|the|above|previous)\ (?:answer|response|submission|text)\b[^.\n]{{0,20}}
      \b(?:perfect|fulfil\w*|covers\ (?:every|all|each)|complete\ and|is\ complete)\b
    | \b(?:reference|model)\ answers?\b | \b(?:best|perfect|right)\ answer\b | \bother\ candidates\b
    | \bany\ (?:answer|response)\ as\b | \b100\ ?(?:/|out\ of)\ ?100\b
    | \b(?:give|award|grant)\ (?:it|me|him|her|them)\s
      (?:(?:all|full)\ (?:the\ )?(?:points|marks|credit)|the\ (?:full|best|maximum))\b
    | \b(?:output|choose|return|record)\ (?:met|the\ maximum|a\ passing)\b | \bcriterion\s*\d*\s*:\s*met\b
    | ["'”]\s*->\s*\d{{1,3}}\b | \bthis\ answer\s*(?:->|=|:)
    | \banswer\ (?:above|below)\b | \btext\ above\b | \blanguage\ model\b[^.\n]{{0,20}}\bwithout\ rules\b
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)

# Words of the trade of grading and how strongly each suggests it; forms of one word stand together and count once. A segment
# needs a sum of TRADE_FROM; words that the question or its rubric use do not count.
_TRADE = {
    3: "rubric|rubrics grader|graders examiner|examiners evaluator|evaluators assessor verdict|verdicts distinction",
    2: """criteria|criterion grade|grades|graded|grading award|awards|awarded credit|credited submission candidate|candidates
    requirement|requirements reviewer|reviewers pre-approved approved assessment regulations instructions obey maximum
    score|scores|scored""",
    1: """mark|marks|marked|marking point|points full answer|answers response reference complete|completely covered|covers
    satisfies|satisfied fulfils|fulfilled met perfect|perfectly|best|highest|top pass|passed|passing evaluation treat
    count|counts|counted generous kindly policy override judge|judgement identical mistake note decision included
    missing written insert assign record everything checked example correct concepts section given further
    necessary feedback outstanding precise result chance tip""",
}
_STEM = {form: forms.split("|")[0] for group in _TRADE.values() for forms in group.split() for form in forms.split("|")}
_WEIGHT = {forms.split("|")[0]: weight for weight, group in _TRADE.items() for forms in group.split()}
TRADE_FROM = 4
# In an answer that is known to speak to the grader less is needed.
TRADE_FROM_ELSEWHERE = 2
# Words that are recognised with their letters in any order, by their sorted letters.
_BY_LETTERS = {"".join(sorted(word)): word for word, stem in _STEM.items() if _WEIGHT[stem] >= 2}
_BY_LETTERS |= {"".join(sorted(word)): word for word in ("ignore", "give", "this", "answer", "full", "marks", "please")}
_LEET = str.maketrans("0134578@$", "oieastbas")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}")
_HEX = re.compile(r"\b(?:0x)?((?:[0-9a-fA-F]{2}){12,})\b")
_SPACED = re.compile(r"(?:\b\w\s+){6,}\w\b")


def speaks_to_grader(text: str, known: frozenset[str], trade_from: int = TRADE_FROM) -> bool:
    """Whether a stretch of text addresses the grader; `known` are the lower-case words of the question and its rubric."""
    return any(_addresses(view, known, trade_from) for view in views(text))


def views(text: str) -> Iterator[str]:
    """The text, and what stands behind it when it looks encoded."""
    yield text
    if "%" in text or "&" in text:
        yield html.unescape(urllib.parse.unquote(text, errors="replace"))
    for token in _BASE64.findall(text):
        yield base64.b64decode(token[: len(token) // 4 * 4]).decode("utf-8", "ignore")
    for token in _HEX.findall(text):
        yield bytes.fromhex(token).decode("utf-8", "ignore")
    if _SPACED.search(text):
        yield re.sub(r"\s{2,}", "\n", re.sub(r"(?<=\b\w)[ ](?=\w\b)", "", text))
    if re.search(r"[A-Za-z][0134578@$]|[0134578@$][A-Za-z]", text):
        yield re.sub(r"\b[\w@$]*[A-Za-z][\w@$]*\b|\b\d+[A-Za-z]\w*", lambda m: m.group().translate(_LEET), text)
    yield codecs.encode(text, "rot13")
    yield text[::-1]
    yield re.sub(r"[A-Za-z]{3,}", lambda m: _BY_LETTERS.get("".join(sorted(m.group().lower())), m.group()), text)


def _addresses(text: str, known: frozenset[str], trade_from: int) -> bool:
    if _PHRASES.search(text):
        return True
    spoken = {part for word in words(text) for part in (word, *word.split(".")) if part not in known}
    return sum(_WEIGHT[stem] for stem in {_STEM[word] for word in spoken if word in _STEM}) >= trade_from
