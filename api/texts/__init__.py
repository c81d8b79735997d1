"""Every word of the pages that is not a bank's: one TOML file a language, `en.toml` ships; `grader/texts` has those of a grade.

To translate, copy both `en.toml` to `<language>.toml` and write other words behind the same keys; the language of a page
follows the browser's Accept-Language among the files that are here. Nothing else has to change.
"""

from __future__ import annotations

from pathlib import Path

from grader import texts
from grader.texts import ENGLISH, Languages

SHIPPED = Languages(texts.FOLDER, Path(__file__).parent)


def say(key: str, **values: object) -> str:
    """A sentence in English, as programs get it; `Texts.translate` finds it again for a page."""
    return SHIPPED.texts(ENGLISH)(key, **values)
