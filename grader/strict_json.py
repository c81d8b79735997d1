"""JSON in which no object says the same key twice: readers differ in which of the two values they take."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


class DuplicateKey(json.JSONDecodeError):
    """An object has a key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(f"duplicate key {key[:100]!r}", "", 0)

    def __str__(self) -> str:
        return self.msg  # where it stands is not known


def loads(text: str | bytes) -> Any:
    """As `json.loads`; raises DuplicateKey, a ValueError like what it raises itself."""
    return json.loads(text, object_pairs_hook=unique)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these pairs, for `object_pairs_hook`; raises DuplicateKey."""
    found = dict(pairs)
    if len(found) < len(pairs):
        [(key, _), *_rest] = Counter(key for key, _ in pairs).most_common(1)
        raise DuplicateKey(key)
    return found
