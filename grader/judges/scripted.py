"""Judges that say what they are told: the shipped fakes for tests of everything behind the Judge seam."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from grader.errors import JudgeUnavailable
from grader.judges import Case
from grader.judges.language import Consultation, Usage, Writing
from grader.judges.prompting import STATED_CONFIDENCE, VerdictReply, delimiter, grading_prompt, judgement, show
from grader.schema import Criterion, EvidenceSpan, ExpectedVerdict, Judgement


class ScriptedJudge:
    """`script` maps criterion ids to a verdict, or to a verdict and the quote it claims; others are not met.

    A quote is looked up in the answer; one that is not there is passed on with made-up offsets, as an untrustworthy judge
    would, so that tests can see it rejected.
    """

    name = "scripted"
    version = "1"

    def __init__(self, script: Mapping[str, ExpectedVerdict | tuple[ExpectedVerdict, str]]) -> None:
        self.script = dict(script)

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """See Judge.judge."""
        return [self._one(case, criterion) for criterion in criteria]

    def _one(self, case: Case, criterion: Criterion) -> Judgement:
        entry = self.script.get(criterion.id, "not_met")
        verdict, words = entry if isinstance(entry, tuple) else (entry, None)
        if words is None:
            evidence = case.quote((0, 0))
        else:
            start = max(0, case.answer.original.find(words))
            evidence = EvidenceSpan(start=start, end=start + len(words), text=words)
        return Judgement(
            criterion_id=criterion.id,
            p_met=float(verdict == "met"),
            p_partial=float(verdict == "partial"),
            p_contradicted=float(verdict == "contradicted"),
            evidence=() if verdict == "not_met" else (evidence,),
        )


class ToldJudge:
    """The best language judge there could be: it is told what an expert said of each answer, and says it.

    `verdicts` by the text of an answer, then by criterion; what is not named is not met. It shows how much a model could
    help and nothing about any model. It is as sure as a model that states a verdict, and quotes the whole answer.
    """

    name = "told"
    version = "1"

    def __init__(self, verdicts: Mapping[str, Mapping[str, ExpectedVerdict]]) -> None:
        self.verdicts = verdicts

    def consult(self, case: Case, criteria: Sequence[Criterion], seconds: float) -> Consultation:
        """See LanguageJudge.consult; raises JudgeUnavailable for an answer nobody told it about."""
        del seconds
        if (told := self.verdicts.get(case.answer.original)) is None:
            raise JudgeUnavailable("refused", "nobody has told the judge about this answer")
        whole = case.quote((0, len(case.vectors.segments) - 1))
        rest = (1 - STATED_CONFIDENCE) / 2

        def one(criterion: Criterion) -> Judgement:
            verdict = told.get(criterion.id, "not_met")
            sure = {name: STATED_CONFIDENCE if name == verdict else rest for name in ("met", "partial", "contradicted")}
            if verdict != "partial":
                sure["partial"] = 0.0
            return Judgement(
                criterion_id=criterion.id,
                p_met=sure["met"],
                p_partial=sure["partial"],
                p_contradicted=sure["contradicted"],
                evidence=() if verdict == "not_met" else (whole,),
                judged_by="llm",
            )

        return Consultation([one(criterion) for criterion in criteria], Usage())

    def write(self, system: str, prompt: str, max_tokens: int, seconds: float) -> Writing:
        """See LanguageJudge.write: it was told nothing to write."""
        del system, prompt, max_tokens, seconds
        raise JudgeUnavailable("refused", "the told judge does not write")

    def close(self) -> None:
        """See LanguageJudge.close: there is nothing to let go of."""


class ObeyingJudge:
    """The worst language judge there could be: whatever the answer says, it takes every criterion for met.

    It stands for a model that obeys each instruction it can see and is believed to the letter. It quotes the answer
    rightly, so that nothing but the bound on its influence holds it back. `saw` keeps the prompts it was shown.
    """

    name = "obeying"
    version = "1"

    def __init__(self) -> None:
        self.saw: list[str] = []

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """See Judge.judge."""
        return self.consult(case, criteria, seconds=1.0).judgements

    def consult(self, case: Case, criteria: Sequence[Criterion], seconds: float) -> Consultation:
        """See LanguageJudge.consult."""
        del seconds
        shown = show(case)
        prompt = grading_prompt(case, shown, criteria)
        self.saw.append(prompt)
        between = prompt.split(f"BEGIN {delimiter(case)}\n")[1].split(f"\nEND {delimiter(case)}")[0]
        quote = max(re.split(r"\n|\[removed\]", between), key=len)
        replies = [VerdictReply(verdict="met", quote=quote) for _ in criteria]
        judged = [judgement(case, shown, one, reply) for one, reply in zip(criteria, replies, strict=True)]
        return Consultation(judged, Usage(len(prompt.split()), len(criteria)))

    def write(self, system: str, prompt: str, max_tokens: int, seconds: float) -> Writing:
        """See LanguageJudge.write: nonsense of the most flattering kind."""
        del system, seconds
        self.saw.append(prompt)
        return Writing(
            "Perfect answer, 100 points, nothing is missing!"[: max_tokens * 4], Usage(len(prompt.split()), 10)
        )

    def close(self) -> None:
        """See LanguageJudge.close: there is nothing to let go of."""
