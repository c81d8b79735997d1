"""Every sentence of a grade and of a refusal: one TOML file a language, `en.toml` ships. `api/texts` adds those of the service.

Code names a sentence by its key: `say("grade.flag.echo")`. Grades and errors are English wherever a program reads or stores
them; a page in another language finds the sentence again by its English pattern (`Texts.translate`), so that neither an error
nor a grade of years ago has to carry more than its words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from string import Formatter

FOLDER = Path(__file__).parent
ENGLISH = "en"
# Keys of the sentences that code says in English; all others are only ever looked up by a page in its own language.
SAID = ("grade.", "refused.")
# Longer than anything that is said in sentences; only what somebody sent is, and that is not worth searching.
MOST_CHARS = 1_500
# What may be between two sentences or two reasons, and how many of them one entry of a file has at most.
BORDERS = ((re.compile(r"(?<=[.!?]) "), " "), (re.compile("; "), "; "))
MOST_PARTS = 8


class Texts:
    """The words of one language. `texts("home.title")` gives one; `texts.count("home.questions", 3)` minds the number."""

    def __init__(self, language: str, words: dict[str, str], english: Texts | None = None) -> None:
        self.language = language
        self.words = words
        self._english = english

    def __call__(self, key: str, **values: object) -> str:
        """The text behind a key, with `{names}` filled in; KeyError when there is none, so that no page ships without."""
        text = self.words[key]
        return text.format(**values) if values else text

    def get(self, key: str, default: str) -> str:
        """The text behind a key that need not be there."""
        return self.words.get(key, default)

    def count(self, key: str, number: int, **values: object) -> str:
        """The text for so many: `key.one` for 1, `key.other` for all else; `{n}` is the number."""
        return self(f"{key}.{'one' if number == 1 else 'other'}", n=number, **values)

    def translate(self, said: str) -> str:
        """What was said in English, in this language: each sentence that is in the files; all else stays as it is."""
        if self._english is None or len(said) > MOST_CHARS:
            return said
        return self._translated(said, self._english)

    def _translated(self, said: str, english: Texts) -> str:
        for border, joint in BORDERS:
            parts = border.split(said)
            if len(parts) > 1:
                return joint.join(self._by_parts(parts, joint, english))
        return self._sentence(said, english) or said

    def _by_parts(self, parts: list[str], joint: str, english: Texts) -> Iterator[str]:
        """The fewest parts that make a sentence of the files, again and again; a part that begins none is taken alone."""
        while parts:
            runs = (joint.join(parts[:size]) for size in range(1, min(len(parts), MOST_PARTS) + 1))
            tried = ((size, self._sentence(run, english)) for size, run in enumerate(runs, start=1))
            size, sentence = next(((size, found) for size, found in tried if found), (1, None))
            yield sentence or self._translated(parts[0], english)
            parts = parts[size:]

    def _sentence(self, said: str, english: Texts) -> str | None:
        for key, literal, pattern in english.patterns:
            if literal in said and (match := pattern.fullmatch(said)):
                values = {name: self._translated(value, english) for name, value in match.groupdict().items()}
                return self(key, **values)
        return None

    @cached_property
    def patterns(self) -> list[tuple[str, str, re.Pattern[str]]]:
        """Key, longest literal and pattern of every sentence that is said; those that leave least open come first."""
        said = [(key, list(Formatter().parse(text))) for key, text in self.words.items() if key.startswith(SAID)]
        said.sort(key=lambda entry: -sum(len(literal) for literal, *_ in entry[1]))
        return [(key, max((part[0] for part in parts), key=len), _pattern(parts)) for key, parts in said]


def _pattern(parts: list[tuple[str, str | None, str | None, str | None]]) -> re.Pattern[str]:
    pieces = [re.escape(literal) + (f"(?P<{name}>.+?)" if name else "") for literal, name, *_ in parts]
    # What a sentence begins with is one word, or it would take in the sentences before it.
    return re.compile("".join(pieces).replace(">.+?", r">\S+", 1 if parts[0][0] == "" else 0), re.S)


class Languages:
    """The languages of some folders, whose words come together; what a language lacks is said in English."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self._texts: dict[str, Texts] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The languages that are here."""
        return tuple(sorted({file.stem for folder in self.folders for file in folder.glob("*.toml")}))

    def texts(self, language: str) -> Texts:
        """The words of a language that is here; read once."""
        if language not in self._texts:
            english = None if language == ENGLISH else self.texts(ENGLISH)
            self._texts[language] = Texts(language, (english.words if english else {}) | self._words(language), english)
        return self._texts[language]

    def texts_for(self, accept_language: str) -> Texts:
        """The first language a browser asks for that is here, else English. Weights are taken from the order."""
        for part in accept_language.split(",")[:10]:
            wanted = part.split(";")[0].strip().lower().split("-")[0]
            if wanted in self.names:
                return self.texts(wanted)
        return self.texts(ENGLISH)

    def _words(self, language: str) -> dict[str, str]:
        import tomllib  # at the first sentence: `import grader` is to be quick

        files = [file for folder in self.folders if (file := folder / f"{language}.toml").is_file()]
        tables = [tomllib.loads(file.read_text(encoding="utf-8")) for file in files]
        return {key: text for table in tables for key, text in _flat(table)}


def _flat(table: dict[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


@cache
def english() -> Texts:
    """The grader's own English."""
    return Languages(FOLDER).texts(ENGLISH)


def say(key: str, **values: object) -> str:
    """A sentence of the grader in English, as grades and errors have it."""
    return english()(key, **values)
