"""Cleans an answer up and splits it into segments, without ever losing where each character came from.

Candidates write prose, bullets, Markdown, code and transcripts of speech. A segment is about one sentence: a sentence, a
bullet, a few lines of code, a clause of a long unpunctuated transcript. Offsets of segments refer to the normalised
text; `NormalisedText.span` maps them to half-open code points of the answer as it was sent. This module knows nothing of
questions or models.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from grader.disfluency import without_disfluencies
from grader.schema import EvidenceSpan

SegmentKind = Literal["prose", "bullet", "code"]

# Units: words. A sentence longer than this is cut at clause borders, because a long embedding blurs its ideas.
MAX_SEGMENT_WORDS = 40
MIN_CLAUSE_WORDS = 5
# Fewer commas than one in so many words: the sentence is speech written down, and its ideas stand closer together than its
# length says.
SPOKEN_COMMA_WORDS = 25
SPOKEN_CLAUSE_WORDS = 12
NEAR_CHARS = 80  # characters within which three words are looked for on each side of a separator
# Code lines are joined up to this many characters, so that a two-word line is not a segment of its own.
MAX_CODE_CHARS = 110

_WORD = re.compile(r"[^\W_]+(?:[._'][^\W_]+)*", re.UNICODE)
_TAG = re.compile(
    r"<!--.*?-->|</?(?:a|b|i|u|em|strong|p|br|hr|div|span|ul|ol|li|h[1-6]|table|tr|td|th|font|small|sub|sup|mark|pre)"
    r"(?:\s[^<>]{0,300})?/?>",
    re.IGNORECASE | re.DOTALL,
)
# Only entities that stand for one printed character each; `a && b;` and `&grad;` are not.
_ENTITY = re.compile(r"&(?:#(?:3[2-9]|[4-9]\d|1[01]\d|12[0-6])|#[xX][2-7][0-9a-fA-F]|lt|gt|amp|quot|apos|nbsp);")
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*$", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*(?:[-*+•–—▪◦‣·]|\(?\d{1,2}[.)]|\(?[a-zA-Z][.)])[ \t]+")
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]+")
# Blanks are looked at once: `++` gives none back, `(?<!\s)` begins where a run of them does. Otherwise a line of 2,000 blanks
# takes minutes to be told from code, and an answer of 20,000 half a minute to be split.
_CODE_LINE = re.compile(
    r"^\s*+(?:(?:from\s+[\w.]+\s+)?import\s+\w|def\s+\w+\s*\(|class\s+\w++.*:\s*$|(?:for|while|if|elif|with)\s.+:\s*(?:#.*)?$"
    r"|else:\s*$|return\b(?!\s+to\b)|@\w+|>>>\s"
    # An assignment or comparison: names with commas before the sign, not the words of a sentence.
    r"|(?:(?:assert|if|elif|while|auto)\s)?[\w.\[\]]++(?:\s*+[,%]\s*+[\w.\[\]]++)*+\s*+[-+*/]?=\s*\S"
    r"|[\w.]+\([^)]*\)\s*(?:#.*)?$|#\s)"
)
_CODE_MARK = re.compile(r"[()\[\]{}=:#]")
_SENTENCE_END = re.compile(
    r"(?<=[.!?…])[\"')\]]*\s+(?=\S)|(?<=[.!?])[\"')\]]+\s+|;\s+|(?<!\s)(?:\s+[—–]\s+|\s*→\s*|\s+[•▪]\s+|\s+[|/]\s+)"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|resp|fig|eq|no|dr|mr|ms|prof|al|incl|excl)|\b[A-Za-z])\.$", re.IGNORECASE
)
_CLAUSE = re.compile(
    r",\s+(?=(?:and|but|so|because|which|while|whereas|then|or|since|although|meaning)\b)"
    r"|(?<!\s)\s+(?=(?:and then|and so|so then|but then|because|whereas|um|uh|okay so|right so)\b)|:\s+|,\s+",
    re.IGNORECASE,
)
# Where a speaker goes on whose words were written down without a comma.
_GOING_ON = re.compile(
    r"(?<!\s)\s+(?=(?:and|so|but|because|which|if|while|whereas|then|otherwise|also|although|since)\b)", re.IGNORECASE
)
_REPLACED = {
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-",
    "\u00a0": " ", "\u2028": "\n", "\u2029": "\n", "\r": "\n", "\x0b": "\n", "\x0c": "\n", "\u0085": "\n",
}  # fmt: skip
# Letters of other scripts that nobody can tell from a Latin one, and the Latin one.
_CYRILLIC = "асеорхуіјѕһԁԛԝвкмнтАВСЕНІЈКМОРЅТХУ"
_GREEK = "αονιρυκΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"
_LOOK_ALIKES = str.maketrans(_CYRILLIC + _GREEK, "aceopxyijshdqwbkmhtABCEHIJKMOPSTXY" + "aovipukABEZHIKMNOPTYX")
# A run of letters, with the invisible characters that may stand between them.
_LETTERS = re.compile(r"[^\W\d_](?:[^\W\d_]|[\u00ad\u034f\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff])*")
_EMOJI = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff]")
# Share of letters; genuine Russian or Greek text stays far below it when its look-alikes count as Latin.
MOSTLY_LATIN = 0.9
# Marks that show nothing and are no combining accents of a living script: variation selectors, Hangul fillers.
_BLANKS = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), 0x115F, 0x1160, 0x3164, 0xFFA0)))


@dataclass(frozen=True)
class NormalisedText:
    """Cleaned text and, for each of its characters, the offset it had in `original`."""

    original: str
    text: str
    origins: tuple[int, ...]
    lengths: Mapping[int, int] = field(default_factory=dict)  # of what stood at an offset, where that is not 1

    def span(self, start: int, end: int) -> EvidenceSpan:
        """The words as they were sent that `text[start:end]` came from."""
        first, last = self.origins[start], self.origins[end - 1]
        last += self.lengths.get(last, 1)
        return EvidenceSpan(start=first, end=last, text=self.original[first:last])


@dataclass(frozen=True)
class Segment:
    """About one sentence: `text` is what is embedded, `start:end` are offsets into the normalised text."""

    start: int
    end: int
    text: str
    kind: SegmentKind

    @property
    def words(self) -> list[str]:
        return words(self.text)


def words(text: str) -> list[str]:
    """Lower-case words of a text; `loss.backward` and `don't` are one word each."""
    return [match.group().lower() for match in _WORD.finditer(text)]


def normalise(answer: str) -> NormalisedText:
    """Full-width letters, look-alike letters, ligatures, odd spaces, curly quotes, invisible characters and HTML tags
    made plain.

    The number of characters may change; every one keeps the offset it came from.
    """
    tagged = [False] * len(answer)
    for match in _TAG.finditer(answer):
        tagged[match.start() : match.end()] = [True] * (match.end() - match.start())
    entities = {match.start(): match for match in _ENTITY.finditer(answer)} if "&" in answer else {}
    characters: list[str] = []
    origins: list[int] = []
    resume = 0
    for offset, character in enumerate(_unmasked(answer)):
        if offset < resume:
            continue
        if character == "\r" and answer[offset + 1 : offset + 2] == "\n":
            continue  # a Windows line end is one line end
        if offset in entities:
            character = html.unescape(entities[offset].group())
            resume = entities[offset].end()
        for plain in " " if tagged[offset] else "".join(map(_plain, character)):
            characters.append(plain)
            origins.append(offset)
    lengths = {start: match.end() - start for start, match in entities.items()}
    return NormalisedText(answer, "".join(characters), tuple(origins), lengths)


def _unmasked(answer: str) -> str:
    """Latin letters for the Cyrillic and Greek ones that look just like them, one for one, in words that pose as Latin.

    A word poses when it mixes the scripts, or when the text as a whole reads as Latin once look-alikes count as such.
    """
    if answer.isascii():
        return answer
    folded = answer.translate(_LOOK_ALIKES)
    letters = [character for character in folded if character.isalpha()]
    latin = sum(character.isascii() for character in letters) >= MOSTLY_LATIN * len(letters)
    characters = list(answer)
    for word in _LETTERS.finditer(answer):
        start, end = word.span()
        visible = "".join(c for c in folded[start:end] if c.isalpha())
        mixed = any(c.isascii() and c.isalpha() for c in word.group())
        # A lone small Greek letter is mathematics.
        if visible.isascii() and (
            mixed or (latin and (len(visible) > 1 or visible.isupper() or word.group() in _CYRILLIC))
        ):
            characters[start:end] = folded[start:end]
    return "".join(characters)


def _plain(character: str) -> str:
    if character in "\n\t ":
        return character
    if character in _REPLACED:
        return _REPLACED[character]
    if character.isascii() and character.isprintable():
        return character
    category = unicodedata.category(character)
    # Zero-width and direction marks, variation selectors and other marks on letters, lone surrogates, unassigned.
    if (
        category in {"Cf", "Cs", "Co", "Cn", "Me"}
        or (category == "Mn" and character < "\u0900")
        or character in _BLANKS
    ):
        return ""
    if category == "Cc" or (category == "So" and _EMOJI.match(character)):
        return " "
    return unicodedata.normalize("NFKC", character)


def split(normalised: NormalisedText) -> list[Segment]:
    """Segments in the order of the text; together they hold every word of it."""
    segments: list[Segment] = []
    for start, end, kind in _blocks(normalised.text):
        pieces = [(start, end)] if kind == "code" else _sentences(normalised.text, start, end)
        for first, last in pieces:
            segment = _trimmed(normalised.text, first, last, kind)
            if segment is not None:
                segments.append(segment)
    return segments


def _trimmed(text: str, start: int, end: int, kind: SegmentKind) -> Segment | None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    raw = text[start:end]
    if not _WORD.search(raw):
        return None
    plain = re.sub(r"(\*{1,3}|`{1,2})(?=\S)(.+?)(?<=\S)\1", r"\2", raw) if kind != "code" else raw
    plain = re.sub(r"\s+", " ", plain)
    return Segment(start, end, plain if kind == "code" else without_disfluencies(plain), kind)


# ---- blocks: fenced code, lines of code, bullets, paragraphs ---------------------------------------------------------


def _blocks(text: str) -> Iterator[tuple[int, int, SegmentKind]]:
    position = 0
    while (fence := _FENCE.search(text, position)) is not None:
        yield from _prose_blocks(text, position, fence.start())
        mark = fence.group(1)
        closing = re.compile(rf"^[ \t]*{re.escape(mark)}[ \t]*$", re.MULTILINE).search(text, fence.end())
        end = closing.start() if closing else len(text)
        yield from _code_blocks(text, _lines(text, fence.end(), end))
        position = closing.end() if closing else len(text)
    yield from _prose_blocks(text, position, len(text))


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        yield start, stop
        start = stop + 1


def _looks_like_code(line: str) -> bool:
    if not _CODE_LINE.match(line) or not _CODE_MARK.search(line):
        return False
    # "x = y" inside a sentence is prose: code outside a fence has few plain words before its comment.
    before_comment = line.split("#")[0]
    return len(re.findall(r"(?<![\w.(])[A-Za-z]{3,}(?=\s|$)", before_comment)) <= 4 or line.lstrip().startswith(">>>")


def _prose_blocks(text: str, start: int, end: int) -> Iterator[tuple[int, int, SegmentKind]]:
    """Joins hard-wrapped lines into paragraphs; bullets, headings, blank lines and lines of code end one."""
    paragraph: tuple[int, int, SegmentKind] | None = None
    code: list[tuple[int, int]] = []
    for first, last in _lines(text, start, end):
        line = text[first:last]
        # A wrapped sentence may go on with the end of a call.
        goes_on = paragraph is not None and line.count(")") > line.count("(")
        if _looks_like_code(line) and not goes_on:
            if paragraph:
                yield paragraph
                paragraph = None
            code.append((first, last))
            continue
        yield from _code_blocks(text, code)
        code = []
        marker = _BULLET.match(line) or _HEADING.match(line)
        if marker or not line.strip():
            if paragraph:
                yield paragraph
            paragraph = (first + marker.end(), last, "bullet") if marker else None
        elif paragraph:
            paragraph = (paragraph[0], last, paragraph[2])
        else:
            paragraph = (first, last, "prose")
    if paragraph:
        yield paragraph
    yield from _code_blocks(text, code)


def _code_blocks(text: str, lines: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int, SegmentKind]]:
    """Neighbouring lines of code up to MAX_CODE_CHARS together; a line with a comment ends a block."""
    block: tuple[int, int] | None = None
    for start, end in lines:
        line = text[start:end]
        if not line.strip():
            if block:
                yield (*block, "code")
            block = None
            continue
        if block and end - block[0] > MAX_CODE_CHARS:
            yield (*block, "code")
            block = None
        block = (block[0], end) if block else (start, end)
        if "#" in line and not line.lstrip().startswith("#"):
            yield (*block, "code")
            block = None
    if block:
        yield (*block, "code")


# ---- sentences and clauses ------------------------------------------------------------------------------------------


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    first = start
    for match in _SENTENCE_END.finditer(text, start, end):
        if _ABBREVIATION.search(text, max(first, match.start() - 8), match.start()):
            continue
        if match.group().lstrip()[:1] in {";", "|", "/", "-", "→"} and not _both_sides_say_something(
            text, first, match, end
        ):
            continue
        yield from _clauses(text, first, match.start() + (1 if match.group().startswith(";") else 0))
        first = match.end()
    yield from _clauses(text, first, end)


def _both_sides_say_something(text: str, first: int, match: re.Match[str], end: int) -> bool:
    """Looks no further than three words reach: over thousands of separators the whole rest each time takes seconds."""
    before = text[first : min(match.start(), first + NEAR_CHARS)]
    after = text[match.end() : min(end, match.end() + NEAR_CHARS)]
    return len(words(before)) >= 3 and len(words(after)) >= 3


def _clauses(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cuts a sentence of more than MAX_SEGMENT_WORDS words at clause borders; without any, at word borders."""
    begins = [match.start() for match in _WORD.finditer(text, start, end)]
    if len(begins) <= MAX_SEGMENT_WORDS:
        yield start, end
        return
    first = start
    spoken = text.count(",", start, end) * SPOKEN_COMMA_WORDS < len(begins)
    borders, least = (_GOING_ON, SPOKEN_CLAUSE_WORDS) if spoken else (_CLAUSE, MAX_SEGMENT_WORDS // 2)
    for match in borders.finditer(text, start, end):
        here = bisect_left(begins, match.start()) - bisect_left(begins, first)
        rest = len(begins) - bisect_left(begins, match.end())
        if here >= least and rest >= MIN_CLAUSE_WORDS:
            yield from _by_words(text, first, match.start())
            first = match.end()
    yield from _by_words(text, first, end)


def _by_words(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    found = list(_WORD.finditer(text, start, end))
    first = start
    for number in range(MAX_SEGMENT_WORDS, len(found), MAX_SEGMENT_WORDS):
        border = found[number].start()
        yield first, border
        first = border
    yield first, end
