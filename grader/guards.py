"""Looks at an answer before it is judged: what is not an answer at all, and what a reader should know.

Each guard gives a flag with a reason. Segments that are no answer (instructions to the grader, the question said again)
are set aside so that they earn nothing. A flag never changes points by itself, except that nothing is credited to an
answer that is off topic; `scoring` says when a flag sends a grade to review.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from grader.encoders import Vectors
from grader.evidence import FUNCTION_WORDS, AnswerVectors, function_share
from grader.index import QuestionIndex, closest
from grader.injections import TRADE_FROM_ELSEWHERE, speaks_to_grader
from grader.schema import Flag, FlagCode, Question
from grader.text import NormalisedText, Segment, words
from grader.texts import say

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# Words; an answer to an open question with fewer says nothing that could be judged well.
SHORT_ANSWER_WORDS = 4
# Share of an answer's different words that also stand in the question, from which on it is an echo.
ECHO_SHARE = 0.85
# Share of the answer's runs of COPY_RUN words that stand in a reference answer just so, from which on it is a copy.
COPY_SHARE = 0.5
COPY_RUN = 6
# A list of terms: few words an item and hardly a function word among them.
LIST_WORDS_PER_ITEM = 4.5
LIST_FUNCTION_SHARE = 0.12
# A sentence of at least so many words, of which the rubric and English grammar know less than this share, is looked up
# for its language by itself.
FOREIGN_WORDS = 5
FOREIGN_KNOWN_SHARE = 0.35
FOREIGN_GRAMMAR_SHARE = 0.1
# Different content words that a sentence shares with the rubric, below which it is not about the question.
TOPIC_WORDS = 2
NEAR_TOPIC_WORDS = 3  # in the same paragraph as words to the grader
# English function words that are words of other languages, too.
_SHARED_WORDS = frozenset("a am an as at be but do had he her him i in is me no on so up us was we who will".split())
# How much closer to another question's references than to its own an answer must be, and how far from its own.
OFF_TOPIC_MARGIN = 0.10
OFF_TOPIC_CLOSENESS = 0.60
UNRELATED_CLOSENESS = 0.15
# Below this no sentence comes near any wording of the rubric. Chosen on the answers set aside, unseen ones and samples:
# of 249 right ones the farthest is at .37; of six below it that earned something, one did so rightly.
FAR_FROM_RUBRIC = 0.38

_ITEM_BORDER = re.compile(r"[,;|/•\n]|->|=>|→|\s-\s|\.\s")


@dataclass(frozen=True)
class Inspection:
    """`flags` for the grade, the segments that count as an answer, and why nothing can be graded, if so."""

    flags: tuple[Flag, ...]
    segments: tuple[Segment, ...]
    refusal: str | None = None


@dataclass(frozen=True)
class Neighbours:
    """Reference answers of the other questions of the bank: what an answer to something else looks like."""

    vectors: Vectors  # (reference answers, d)
    question_ids: tuple[str, ...]


def inspect(question: Question, answer: NormalisedText, segments: Sequence[Segment]) -> Inspection:
    """Everything that can be said of an answer from its text alone."""
    spoken = words(answer.text)
    if not spoken:
        return _refuse("too_short", say("grade.flag.empty"))
    kept, flags = _without_injections(question, answer, segments)
    kept, echoed = _without_echo(question, kept)
    left = [word for segment in kept for word in segment.words]
    if not left and echoed:
        return _refuse("question_echo", say("grade.flag.only_echo"), flags)
    if not left:
        return _refuse("injection_suspected", say("grade.flag.only_injection"), flags)
    if echoed:
        flags.append(Flag(code="question_echo", message=say("grade.flag.echo")))
    kept, repeated = _without_repeats(kept)
    if (nonsense := _gibberish([word for segment in kept for word in segment.words])) is not None:
        return _refuse("gibberish", nonsense, flags)
    if (language := _foreign_language(kept)) is not None:
        return _refuse("not_english", say("grade.flag.other_language", language=language), flags)
    kept, foreign = _without_foreign(question, answer, kept)
    flags += [*repeated, *foreign]
    if not kept:
        return _refuse("not_english", say("grade.flag.no_english"), flags)
    left = [word for segment in kept for word in segment.words]
    if len(left) < SHORT_ANSWER_WORDS:
        flags.append(Flag(code="too_short", message=say("grade.flag.short", n=len(left))))
    if _is_keyword_list(kept):
        flags.append(Flag(code="keyword_list", message=say("grade.flag.keyword_list")))
    flags += _copied(question, left)
    return Inspection(tuple(flags), tuple(kept))


def off_topic(index: QuestionIndex, answer: AnswerVectors, neighbours: Neighbours | None) -> Flag | None:
    """Whether the answer seems to belong elsewhere; `scoring` drops the suspicion when it covers points."""
    if not index.question.uses_similarity:
        return None
    own = max(float(closest(answer.whole, index.references)[0]), float((answer.whole @ index.prompt.T)[0, 0]))
    if own < UNRELATED_CLOSENESS:
        return Flag(code="off_topic", message=say("grade.flag.elsewhere"))
    if neighbours is None or not len(neighbours.vectors):
        return None
    similarities = (answer.whole @ neighbours.vectors.T)[0]
    best = int(np.argmax(similarities))
    if own < OFF_TOPIC_CLOSENESS and float(similarities[best]) > own + OFF_TOPIC_MARGIN:
        message = say("grade.flag.other_question", question=neighbours.question_ids[best])
        return Flag(code="off_topic", message=message)
    return None


def far_from_rubric(index: QuestionIndex, answer: AnswerVectors) -> Flag | None:
    """Whether no sentence of the answer comes near any right wording of any criterion; `scoring` may drop the suspicion."""
    wordings = np.concatenate([criterion.right for criterion in index.criteria])
    if float(closest(answer.spans.vectors, wordings).max()) >= FAR_FROM_RUBRIC:
        return None
    return Flag(code="off_topic", message=say("grade.flag.far"))


def _refuse(code: FlagCode, message: str, flags: Iterable[Flag] = ()) -> Inspection:
    others = [flag for flag in flags if flag.code != code]
    return Inspection((*others, Flag(code=code, message=message)), (), message)


# ---- what is set aside -----------------------------------------------------------------------------------------------


def _without_injections(
    question: Question, answer: NormalisedText, segments: Sequence[Segment]
) -> tuple[list[Segment], list[Flag]]:
    known = vocabulary(question)
    ends = [0, *(segment.end for segment in segments)]
    # From the start of the line: a heading mark or a role before the segment is part of the message.
    texts = [
        answer.text[max(answer.text.rfind("\n", 0, segment.start) + 1, end) : segment.end]
        for segment, end in zip(segments, ends, strict=False)
    ]
    aside = [speaks_to_grader(text, known) for text in texts]
    if any(aside):
        beside = _same_paragraphs(answer.text, segments, aside)
        aside = [
            found
            or speaks_to_grader(text, known, TRADE_FROM_ELSEWHERE)
            or _is_beside_the_point(segment, known, near=number in beside)
            for number, (segment, text, found) in enumerate(zip(segments, texts, aside, strict=True))
        ]
        aside = _whole_sentences(answer.text, segments, aside)
    message = say("grade.flag.injection")
    spans = [answer.span(segment.start, segment.end) for segment, found in zip(segments, aside, strict=True) if found]
    flags = [Flag(code="injection_suspected", message=message, start=span.start, end=span.end) for span in spans]
    return [segment for segment, found in zip(segments, aside, strict=True) if not found], flags


def _is_beside_the_point(segment: Segment, known: frozenset[str], *, near: bool) -> bool:
    """Whether a segment has hardly a word of the rubric: what surrounds words to the grader often belongs to them."""
    about = {word for word in segment.words if word in known and word not in FUNCTION_WORDS and not word.isdigit()}
    return len(about) < (NEAR_TOPIC_WORDS if near else TOPIC_WORDS)


def _same_paragraphs(text: str, segments: Sequence[Segment], aside: Sequence[bool]) -> set[int]:
    """Numbers of the segments that share a paragraph with one that is set aside."""
    borders = [match.start() for match in re.finditer(r"\n[ \t]*\n", text)]
    paragraphs = [bisect_right(borders, segment.start) for segment in segments]
    tainted = {paragraph for paragraph, found in zip(paragraphs, aside, strict=True) if found}
    return {number for number, paragraph in enumerate(paragraphs) if paragraph in tainted}


def _whole_sentences(text: str, segments: Sequence[Segment], aside: Sequence[bool]) -> list[bool]:
    """Extends what is set aside to the other clauses of the same sentence."""
    spread = list(aside)
    order = range(1, len(segments))
    for here, before in [*((i, i - 1) for i in order), *((i - 1, i) for i in reversed(order))]:
        first, second = segments[min(here, before)], segments[max(here, before)]
        end_of_sentence = re.search(r"[.!?…]\W*$|\n", text[max(first.end - 3, 0) : second.start])
        spread[here] = spread[here] or (spread[before] and not end_of_sentence)
    return spread


def vocabulary(question: Question) -> frozenset[str]:
    """Lower-case words of everything a question and its rubric say."""
    texts = [question.prompt, *question.reference_answers]
    for criterion in question.criteria:
        texts += [criterion.statement, *criterion.exemplars, *criterion.contradictions]
    for misconception in question.misconceptions:
        texts += [misconception.statement, *misconception.exemplars, misconception.correction]
    return _words_of(tuple(texts))


@lru_cache(maxsize=512)
def _words_of(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word for text in texts for word in words(text))


def _without_foreign(
    question: Question, answer: NormalisedText, segments: Sequence[Segment]
) -> tuple[list[Segment], list[Flag]]:
    """Sets aside sentences of another language, or of none, inside an English answer."""
    known = vocabulary(question)
    kept: list[Segment] = []
    flags: list[Flag] = []
    for segment in segments:
        if segment.kind == "code" or not _is_foreign(segment, known):
            kept.append(segment)
            continue
        span = answer.span(segment.start, segment.end)
        message = say("grade.flag.foreign_words")
        flags.append(Flag(code="not_english", message=message, start=span.start, end=span.end))
    return kept, flags


def _is_foreign(segment: Segment, known: frozenset[str]) -> bool:
    letters = [character for character in segment.text if character.isalpha()]
    if sum(character.isascii() for character in letters) < 0.5 * len(letters):
        return len(letters) >= 6  # fewer may be symbols of a formula
    spoken = segment.words
    grammar = sum(word in FUNCTION_WORDS - _SHARED_WORDS for word in spoken)
    if len(spoken) < FOREIGN_WORDS or grammar >= FOREIGN_GRAMMAR_SHARE * len(spoken):
        return False
    if sum(word in known or word in FUNCTION_WORDS for word in spoken) >= FOREIGN_KNOWN_SHARE * len(spoken):
        return False
    language, probability = _identifier().classify(segment.text.lower())
    return bool(language != "en" and probability >= 0.5)


def _without_echo(question: Question, segments: Sequence[Segment]) -> tuple[list[Segment], bool]:
    asked = set(words(question.prompt))
    topic = asked - FUNCTION_WORDS
    kept: list[Segment] = []
    for segment in segments:
        said = set(segment.words)
        content = said - FUNCTION_WORDS
        echo = (
            bool(content) and len(said & asked) >= ECHO_SHARE * len(said) and len(content & topic) >= 0.6 * len(topic)
        )
        if not echo:
            kept.append(segment)
    return kept, len(kept) < len(segments)


def _without_repeats(segments: Sequence[Segment]) -> tuple[list[Segment], list[Flag]]:
    """Keeps the first of segments with the same words; said twice is worth no more than said once."""
    seen: Counter[tuple[str, ...]] = Counter()
    kept = []
    for segment in segments:
        key = tuple(segment.words)
        seen[key] += 1
        if seen[key] == 1:
            kept.append(segment)
    again = sum(count - 1 for key, count in seen.items() if len(key) >= 4)
    flags = []
    if again >= 2 or (again and again * 2 >= len(segments)):
        flags.append(Flag(code="repetition", message=say("grade.flag.repetition")))
    return kept, flags


# ---- what is not an answer -------------------------------------------------------------------------------------------


def _gibberish(spoken: Sequence[str]) -> str | None:
    plain = [word for word in spoken if word.isalpha() and word.isascii()]
    if len(spoken) >= 5 and len(set(spoken)) <= max(1, len(spoken) // 12):
        return say("grade.flag.same_words")
    if max(len(word) for word in spoken) > 60 and len(spoken) < 5:
        return say("grade.flag.no_words")
    if not plain or len("".join(plain)) < 8:
        return None
    strange = sum(_unpronounceable(word) for word in plain) / len(plain)
    if strange > 0.4 and not any(word in FUNCTION_WORDS for word in plain):
        return say("grade.flag.no_words")
    return None


def _unpronounceable(word: str) -> bool:
    """Keyboard noise: a long word without vowels, with a long run of consonants, or with one letter again and again."""
    if len(word) < 5:
        return False
    return not re.search(r"[aeiouy]", word) or bool(re.search(r"[^aeiouy]{5,}|(.)\1{3,}", word))


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _foreign_language(segments: Sequence[Segment]) -> str | None:
    """ISO 639-1 code of the language when it is surely not English; code and terse notes are given the benefit."""
    prose = " ".join(segment.text for segment in segments if segment.kind != "code")
    letters = [character for character in prose if character.isalpha()]
    if len(letters) < 12:
        return None
    latin = sum(character.isascii() for character in letters) / len(letters)
    if latin > 0.5 and (len(letters) < 40 or function_share(prose) >= 0.15):
        return None
    language, probability = _identifier().classify(prose.lower())
    if language == "en" or (latin > 0.9 and (probability < 0.8 or function_share(prose) >= 0.08)):
        return None
    return str(language)


def _is_keyword_list(segments: Sequence[Segment]) -> bool:
    texts = [segment.text for segment in segments if segment.kind != "code"]
    if len(texts) < len(segments):
        return False
    items = [words(item) for text in texts for item in _ITEM_BORDER.split(text)]
    items = [item for item in items if item]
    if len(items) < 5:
        return False
    total = sum(len(item) for item in items)
    few = total / len(items) <= LIST_WORDS_PER_ITEM
    return few and function_share(" ".join(texts)) <= LIST_FUNCTION_SHARE


def _copied(question: Question, spoken: Sequence[str]) -> list[Flag]:
    runs = [tuple(spoken[i : i + COPY_RUN]) for i in range(len(spoken) - COPY_RUN + 1)]
    if len(runs) < COPY_RUN:
        return []
    for reference in question.reference_answers:
        source = words(reference)
        known = {tuple(source[i : i + COPY_RUN]) for i in range(len(source) - COPY_RUN + 1)}
        if sum(run in known for run in runs) >= COPY_SHARE * len(runs):
            return [Flag(code="copied_reference", message=say("grade.flag.copied"))]
    return []
