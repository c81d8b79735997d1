"""Cells of the tables that people take home and open in a table program."""

from __future__ import annotations

# A table program would run a cell that begins like this as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain(text: str) -> str:
    """A text as a cell that stays text."""
    return f"'{text}" if text.startswith(FORMULA) else text
