"""Every word of the pages that is not the bank's or the grader's: one TOML file a language, `en.toml` ships.

To translate, copy `en.toml` to `<language>.toml` and write other words behind the same keys; the language of a page
follows the browser's Accept-Language among the files that are here. Nothing else has to change.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

DEFAULT_LANGUAGE = "en"


class Texts:
    """The words of one language. `texts("home.title")` gives one; `texts.count("home.questions", 3)` minds the number."""

    def __init__(self, language: str, words: dict[str, str]) -> None:
        self.language = language
        self.words = words

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


@cache
def texts_in(language: str) -> Texts:
    """The words of a language that is here."""
    source = files(__package__).joinpath(f"{language}.toml").read_text(encoding="utf-8")
    return Texts(language, dict(_flat(tomllib.loads(source))))


@cache
def languages() -> tuple[str, ...]:
    """The languages that are here."""
    return tuple(
        sorted(file.name.removesuffix(".toml") for file in files(__package__).iterdir() if ".toml" in file.name)
    )


def texts_for(accept_language: str) -> Texts:
    """The first language a browser asks for that is here, else English. Weights are taken from the order."""
    for part in accept_language.split(",")[:10]:
        wanted = part.split(";")[0].strip().lower().split("-")[0]
        if wanted in languages():
            return texts_in(wanted)
    return texts_in(DEFAULT_LANGUAGE)


def _flat(table: dict[str, object], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", str(value))]
    return found
