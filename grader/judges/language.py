"""What a judge that is a large language model offers on top of the Judge seam: usage, free text, and a stored memory.

`transformers_llm` and `openai_compatible` are the backends, `scripted.ObeyingJudge` is the fake.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from grader.judges import Case
from grader.schema import Criterion, EvidenceSpan, Judgement

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Usage:
    """What a call took: tokens in and out, and its price in the currency of the configured prices."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens, self.cost + other.cost
        )

    @property
    def parts(self) -> tuple[int, int, float]:
        """Tokens in, tokens out, cost."""
        return self.input_tokens, self.output_tokens, self.cost


@dataclass(frozen=True)
class Consultation:
    """Judgements in the order of the criteria asked, and what they took when they were made."""

    judgements: list[Judgement]
    usage: Usage
    cached: bool = False


@dataclass(frozen=True)
class Writing:
    """Text that a model wrote."""

    text: str
    usage: Usage
    cached: bool = False


class LanguageJudge(Protocol):
    """A judge that is a large language model. `seconds` is how long a call may take; both raise JudgeUnavailable."""

    name: str
    version: str

    def consult(self, case: Case, criteria: Sequence[Criterion], seconds: float) -> Consultation:
        """A judgement a criterion; one whose quote is not in the answer abstains."""
        ...

    def write(self, system: str, prompt: str, max_tokens: int, seconds: float) -> Writing:
        """Free text, which nobody should believe unread."""
        ...

    def close(self) -> None:
        """Lets go of connections and files; what is needed again opens again."""
        ...


class Memory:
    """Judgements and texts that were made once, in a SQLite file, so that the same answer gets the same ones again.

    Keys are hashes and quotes are stored as offsets: the file holds no words of an answer. A file that cannot be read or
    written costs repetition, never a grade.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = str(file) if file else ":memory:"
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def get(self, key: str) -> Any | None:
        """What was stored under a key, or None."""
        try:
            with self._lock, closing(self._open().execute("SELECT value FROM memory WHERE key = ?", (key,))) as found:
                row = found.fetchone()
            return None if row is None else json.loads(row[0])
        except (sqlite3.Error, OSError, ValueError) as error:
            logger.warning("the memory of judgements cannot be read: %s", error)
            return None

    def put(self, key: str, value: Any) -> Any:
        """Stores a value and returns what is stored: the first one stays, of two askers at once as well."""
        try:
            with self._lock, self._open() as database:
                database.execute("INSERT OR IGNORE INTO memory VALUES (?, ?)", (key, json.dumps(value)))
                row = database.execute("SELECT value FROM memory WHERE key = ?", (key,)).fetchone()
            return json.loads(row[0])
        except (sqlite3.Error, OSError, ValueError) as error:
            logger.warning("the memory of judgements cannot be written: %s", error)
            return value

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            if self._file != ":memory:":
                Path(self._file).parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._file, timeout=5, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE IF NOT EXISTS memory (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
            self._database = database
        return self._database

    def close(self) -> None:
        """Closes the file; it opens again when it is needed."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None


class Remembering:
    """A language judge with a memory in front of it; failures are not remembered."""

    def __init__(self, judge: LanguageJudge, memory: Memory) -> None:
        self.judge_ = judge
        self.memory = memory
        self.name, self.version = judge.name, judge.version

    def consult(self, case: Case, criteria: Sequence[Criterion], seconds: float) -> Consultation:
        """See LanguageJudge.consult."""
        asked = [criterion.id for criterion in criteria]
        key = _key([self.name, self.version, case.index.rubric, asked, case.answer.original])
        if (stored := self.memory.get(key)) is not None:
            return _recalled(stored, case.answer.original, cached=True)
        made = self.judge_.consult(case, criteria, seconds)
        if all(one.abstained for one in made.judgements):
            return made
        new = {"judgements": [_stored(one) for one in made.judgements], "usage": vars(made.usage)}
        return _recalled(self.memory.put(key, new), case.answer.original, cached=False)

    def write(self, system: str, prompt: str, max_tokens: int, seconds: float) -> Writing:
        """See LanguageJudge.write. What was written is not stored: it may repeat words of the answer."""
        return self.judge_.write(system, prompt, max_tokens, seconds)

    def close(self) -> None:
        """See LanguageJudge.close."""
        self.judge_.close()
        self.memory.close()


def _key(parts: list[Any]) -> str:
    # The whole digest: whoever finds two answers with one key could have one judged as the other.
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _recalled(stored: dict[str, Any], answer: str, *, cached: bool) -> Consultation:
    return Consultation([_restored(one, answer) for one in stored["judgements"]], Usage(**stored["usage"]), cached)


def _stored(judgement: Judgement) -> dict[str, Any]:
    spans = [[span.start, span.end] for span in judgement.evidence]
    return judgement.model_dump(mode="json", exclude={"evidence"}) | {"evidence": spans}


def _restored(stored: dict[str, Any], answer: str) -> Judgement:
    spans = tuple(EvidenceSpan(start=a, end=b, text=answer[a:b]) for a, b in stored["evidence"])
    return Judgement.model_validate(stored | {"evidence": spans})


def priced(usage: Usage, price_input: float, price_output: float) -> Usage:
    """The same usage with its cost; prices are per million tokens."""
    cost = (usage.input_tokens * price_input + usage.output_tokens * price_output) / 1_000_000
    return replace(usage, cost=round(cost, 8))
