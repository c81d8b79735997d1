"""A judge that says what it is told: the shipped fake for tests of everything behind the Judge seam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grader.judges import Case
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
