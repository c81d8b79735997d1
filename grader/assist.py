"""Lets a large language model settle what the offline judge is unsure of, within a bound, and survives its absence.

The rules, in order:

1. only criteria whose offline credit lies in the uncertain band are asked; an answer that speaks to the grader is not
   shown to the model at all;
2. a verdict without a verbatim quote, or no verdict, leaves the offline judgement as it is; when there is no other, the
   model has talked nonsense;
3. the model cannot lift a criterion that the offline judge holds contradicted, nor take its correction away;
4. its opinion weighs `weight`, the offline one the rest;
5. when all of it together would move the score by more than `bound` points, it weighs so much less that it does not;
6. where 3 or 5 apply, or one judge sees a wrong statement where the other sees a right one, the grade says so
   (`judge_disagrees`) and goes to review;
7. when the model is slow, down, refuses or talks nonsense, the offline grade stands and says why (`degraded`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from grader.bank import content_hash
from grader.errors import JudgeUnavailable
from grader.judges import Case
from grader.judges.language import Consultation, LanguageJudge, Usage, Writing
from grader.observe import SILENT, CallResult, JudgeCall, Observer
from grader.schema import Flag, Judgement, LlmUse
from grader.scoring import credit
from grader.texts import say

logger = logging.getLogger(__name__)

JudgeMode = Literal["off", "auto", "required"]
Result = TypeVar("Result", Consultation, Writing)
BISECTIONS = 12  # the share of the model's opinion is found to a four-thousandth


@dataclass(frozen=True)
class Policy:
    """What the model may do. `band`: offline credit (0..1) from and to which a criterion is uncertain; `bound`: score
    points; `weight`: share of the model's opinion in what comes out; `seconds`: for all it does for one grade."""

    mode: JudgeMode = "auto"
    band: tuple[float, float] = (0.15, 0.7)
    weight: float = 0.75
    bound: float = 15.0
    seconds: float = 20.0
    writes_feedback: bool = False

    def is_uncertain(self, judgement: Judgement) -> bool:
        """Whether the offline judge leaves a criterion open."""
        return judgement.abstained or self.band[0] <= credit(judgement) <= self.band[1]


@dataclass(frozen=True)
class Assisted:
    """Judgements to score with, what to flag, why the model had no say, and what it took.

    `writer` words the feedback until `ends` (time.monotonic()), where it should and has not failed just now.
    """

    judgements: Sequence[Judgement]
    flags: tuple[Flag, ...] = ()
    degraded: str | None = None
    use: LlmUse | None = None
    ends: float = 0.0
    writer: Assistant | None = None


@dataclass
class Assistant:
    """A language model and the policy it works under. Safe to share by threads; `concurrency` calls run at a time."""

    judge: LanguageJudge
    policy: Policy = field(default_factory=Policy)
    concurrency: int = 4
    observer: Observer = SILENT

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="language-judge")

    @property
    def model(self) -> str:
        """Which model it is, by which way and prompt, as grades name it."""
        return f"{self.judge.name}:{self.judge.version}"

    def assist(
        self,
        case: Case,
        judgements: Sequence[Judgement],
        flags: Sequence[Flag],
        rescore: Callable[[Sequence[Judgement]], float],
        mode: JudgeMode,
    ) -> Assisted:
        """The offline judgements with the model's opinion in them. `rescore` gives the score of some judgements.

        Raises JudgeUnavailable in mode `required` when the model was needed and gave no opinion.
        """
        ends = time.monotonic() + self.policy.seconds
        writer = self if self.policy.writes_feedback else None
        asked = [number for number, judgement in enumerate(judgements) if self.policy.is_uncertain(judgement)]
        if any(flag.code == "injection_suspected" for flag in flags):
            return Assisted(judgements, degraded=say("grade.degraded.not_shown") if asked else None)
        if not asked:
            use = self._use(case, {}, Usage(), settled=0) if writer else None
            return Assisted(judgements, use=use, ends=ends, writer=writer)
        criteria = [case.index.question.criteria[number] for number in asked]
        try:
            found = self._call(lambda left: self.judge.consult(case, criteria, left), ends)
            opinions = {number: _shown(case, one) for number, one in zip(asked, found.judgements, strict=True)}
            silent = all(opinion.abstained for opinion in opinions.values())
            if silent and mode == "required":
                raise JudgeUnavailable("protocol", say("grade.degraded.silent"))
        except JudgeUnavailable as error:
            if mode == "required":
                raise
            spent = Usage(*error.spent)
            use = self._use(case, {}, spent, settled=0) if spent != Usage() else None
            return Assisted(judgements, degraded=str(error), use=use)
        degraded = say("grade.degraded.silent") if silent else None
        assisted = self._merged(case, judgements, opinions, found.usage, rescore)
        return replace(assisted, degraded=degraded, ends=ends, writer=writer)

    def write(self, system: str, prompt: str, max_tokens: int, ends: float) -> Writing:
        """Free text by the model before time `ends`; raises JudgeUnavailable when it gives none."""
        return self._call(lambda left: self.judge.write(system, prompt, max_tokens, left), ends)

    def close(self) -> None:
        """Lets go of threads, connections and files; calls in work end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.judge.close()

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _call(self, work: Callable[[float], Result], ends: float) -> Result:
        """Runs one call within the time that is left, however it behaves, and tells the observer."""
        begun = time.monotonic()
        result: CallResult = "ok"
        usage = Usage()
        future = self._pool.submit(lambda: work(ends - time.monotonic()))
        try:
            found = future.result(timeout=max(0.0, ends - begun))
            usage = Usage() if found.cached else found.usage
            result = "cached" if found.cached else "ok"
            return found
        except FutureTimeout:
            future.cancel()
            result = "timeout"
            reason = say("grade.degraded.longer", seconds=f"{self.policy.seconds:g}")
            raise JudgeUnavailable("timeout", reason) from None
        except JudgeUnavailable as error:
            result, usage = error.result, Usage(*error.spent)
            raise
        except Exception as error:  # a model, a tokenizer and a client raise what they like
            logger.warning("the language model failed with %s", type(error).__name__)
            result = "unreachable"
            raise JudgeUnavailable(result, say("grade.degraded.failed", kind=type(error).__name__)) from error
        finally:
            self.observer.cache("judge", hit=result == "cached")
            spent = time.monotonic() - begun
            self.observer.judged(
                JudgeCall(self.judge.name, result, spent, usage.input_tokens, usage.output_tokens, usage.cost)
            )

    def _merged(
        self,
        case: Case,
        offline: Sequence[Judgement],
        opinions: dict[int, Judgement],
        usage: Usage,
        rescore: Callable[[Sequence[Judgement]], float],
    ) -> Assisted:
        heard: dict[int, Judgement] = {}
        disputes: list[str] = []
        for number, opinion in opinions.items():
            if opinion.abstained:
                continue
            if (dispute := _dispute(offline[number], opinion)) is not None:
                disputes.append(dispute)
            # What is held contradicted stays so unless the model finds it wrong, too: else the correction would be lost.
            if not _wrong(offline[number]) or _wrong(opinion):
                heard[number] = opinion
        before, merged = rescore(offline), _together(offline, heard, self.policy.weight)
        if abs((after := rescore(merged)) - before) > self.policy.bound:
            merged = self._within_bound(offline, heard, rescore, before)
            disputes.append(say("grade.dispute.bound", before=f"{before:g}", after=f"{after:g}"))
        settled = sum(one is not other for one, other in zip(merged, offline, strict=True))
        use = self._use(case, opinions, usage, settled=settled)
        message = say("grade.flag.dispute", disputes="; ".join(disputes))
        flags = (Flag(code="judge_disagrees", message=message),) if disputes else ()
        return Assisted(merged, flags, use=use)

    def _within_bound(
        self,
        offline: Sequence[Judgement],
        heard: dict[int, Judgement],
        rescore: Callable[[Sequence[Judgement]], float],
        before: float,
    ) -> list[Judgement]:
        """The model's opinion with the largest share that keeps the score within the bound.

        Cut off rather than thrown away: words that nudge the offline score a little must not decide between nothing
        of the model's opinion and all of it.
        """
        least, most = 0.0, 1.0
        for _ in range(BISECTIONS):
            share = (least + most) / 2
            moved = abs(rescore(_together(offline, heard, self.policy.weight, share)) - before)
            least, most = (share, most) if moved <= self.policy.bound else (least, share)
        return _together(offline, heard, self.policy.weight, least) if least else list(offline)

    def _use(self, case: Case, opinions: dict[int, Judgement], usage: Usage, *, settled: int) -> LlmUse:
        rules = (self.policy.band, self.policy.weight, self.policy.bound)
        return LlmUse(
            model=self.model,
            asked=tuple(case.index.question.criteria[number].id for number in opinions),
            settled=settled,
            judgements=content_hash([*rules, *(opinion.model_dump(mode="json") for opinion in opinions.values())]),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost=usage.cost,
        )


def with_usage(use: LlmUse, more: Usage) -> LlmUse:
    """A use of the model that took so much more."""
    spent = Usage(use.input_tokens, use.output_tokens, use.cost) + more
    return use.model_copy(update=vars(spent))


def _shown(case: Case, opinion: Judgement) -> Judgement:
    """An opinion whose quotes are in the answer; otherwise, and without a quote for what it credits or blames, it abstains."""
    answer = case.answer.original
    if all(answer[span.start : span.end] == span.text for span in opinion.evidence) and (
        opinion.evidence or max(opinion.p_met + opinion.p_partial, opinion.p_contradicted) < 0.5
    ):
        return opinion
    return opinion.model_copy(update={"abstained": True, "evidence": ()})


def _wrong(judgement: Judgement) -> bool:
    return not judgement.abstained and judgement.p_contradicted > judgement.p_met + judgement.p_partial


def _dispute(offline: Judgement, opinion: Judgement) -> str | None:
    """Both opinions in words, when one judge sees a wrong statement where the other sees a right one."""
    right = {"offline": not offline.abstained and credit(offline) > 0.5, "model": credit(opinion) > 0.5}
    wrong = {"offline": _wrong(offline), "model": _wrong(opinion)}
    if wrong["offline"] and right["model"]:
        return say("grade.dispute.offline_wrong", criterion=offline.criterion_id)
    if wrong["model"] and right["offline"]:
        return say("grade.dispute.model_wrong", criterion=offline.criterion_id)
    return None


def _together(
    offline: Sequence[Judgement], heard: dict[int, Judgement], weight: float, share: float = 1.0
) -> list[Judgement]:
    """The offline judgements, and where the model is heard the mean with its opinion; `share` of its weight counts."""
    return [
        _mixed(one, heard[number], share * (1.0 if one.abstained else weight)) if number in heard else one
        for number, one in enumerate(offline)
    ]


def _mixed(offline: Judgement, opinion: Judgement, weight: float) -> Judgement:
    """The weighted mean of two opinions; the evidence is that of the model where it has some."""

    def mean(one: float, other: float) -> float:
        return min(1.0, max(0.0, (1 - weight) * one + weight * other))

    contradicted = mean(offline.p_contradicted, opinion.p_contradicted)
    met = min(mean(offline.p_met, opinion.p_met), 1.0 - contradicted)
    return Judgement(
        criterion_id=offline.criterion_id,
        p_met=met,
        p_partial=max(0.0, min(mean(offline.p_partial, opinion.p_partial), 1.0 - contradicted - met)),
        p_contradicted=contradicted,
        evidence=opinion.evidence or offline.evidence,
        judged_by="llm",
    )
