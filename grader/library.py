"""Several banks graded side by side: every question by the grader of its own bank, all of them with one encoder.

A grade depends on its own bank alone (heads, reader, scale, the questions it could be mistaken for), so it is the same to the
last digit whatever else is loaded, and its `provenance.bank` names that bank. Question ids say which bank is meant; two banks
that share one are refused (`bank.load_banks`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from grader.assist import Assistant, JudgeMode
from grader.bank import Bank, check_together, load_banks, unknown_question
from grader.encoders import EMBEDDED, Encoder, load_encoder
from grader.pipeline import Grader
from grader.schema import MAX_ANSWER_CHARS, Grade, InlineQuestion, Question


class Library:
    """One grader a bank, at least one. Questions that come with an answer are graded by the first. Safe to share by threads."""

    def __init__(self, graders: Sequence[Grader]) -> None:
        """Raises BankError when two banks share an id or that of a question."""
        self.graders = tuple(graders)
        self.banks = tuple(grader.bank for grader in self.graders)
        check_together(self.banks)
        self.questions: tuple[Question, ...] = tuple(question for bank in self.banks for question in bank.questions)
        self._graders = {question.id: grader for grader in self.graders for question in grader.bank.questions}

    @classmethod
    def load(
        cls,
        banks: Sequence[str | Path | Bank] = (),
        *,
        encoder: str | Encoder = EMBEDDED,
        device: str = "auto",
        cache_folder: Path | None = None,
        max_answer_chars: int = MAX_ANSWER_CHARS,
        assistant: Assistant | None = None,
    ) -> Library:
        """The graders of these banks (default: the one that ships); takes and raises what `Grader.load` does."""
        found = load_banks(banks)
        shared = load_encoder(encoder, device) if isinstance(encoder, str) else encoder
        return cls(
            [
                Grader.load(
                    bank,
                    encoder=shared,
                    cache_folder=cache_folder,
                    max_answer_chars=max_answer_chars,
                    assistant=assistant,
                )
                for bank in found
            ]
        )

    @property
    def assistant(self) -> Assistant | None:
        """The language model that all of them share, if there is one."""
        return self.graders[0].assistant

    def warm(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Embeds every bank now instead of at the first answer; `progress(done, total)` counts all their questions."""
        before = 0
        for grader in self.graders:
            grader.warm(_from(before, len(self.questions), progress))
            before += len(grader.bank.questions)

    def grade(self, question: str | InlineQuestion, answer: str, judge: JudgeMode | None = None) -> Grade:
        """See Grader.grade."""
        return self.grader_of(question).grade(question, answer, judge)

    def question(self, question_id: str) -> Question:
        """The question with this id; raises UnknownQuestion with near matches from all banks."""
        return self.bank_of(question_id).question(question_id)

    def bank_of(self, question_id: str) -> Bank:
        """The bank that a question is of; raises UnknownQuestion."""
        return self.grader_of(question_id).bank

    def grader_of(self, question: str | InlineQuestion) -> Grader:
        """The grader that knows a question; raises UnknownQuestion."""
        if not isinstance(question, str):
            return self.graders[0]
        if question not in self._graders:
            raise unknown_question(question, self.banks)
        return self._graders[question]


def _from(before: int, total: int, progress: Callable[[int, int], None] | None) -> Callable[[int, int], None] | None:
    """Progress of one bank as progress of all: `before` questions are done already."""
    return None if progress is None else lambda done, _: progress(before + done, total)
