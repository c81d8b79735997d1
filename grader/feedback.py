"""The grade in words. Written from the grade alone: it can say nothing that the grade does not hold.

The candidate never reads a criterion's statement here, only their own words, hints and corrections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grader.schema import CriterionResult, Feedback, Flag, Question
from grader.scoring import Scored
from grader.texts import english, say

MOST_QUOTES = 5
MOST_HINTS = 4
# Characters of the candidate's own words that are quoted back.
QUOTE_CHARS = 160


def write(question: Question, scored: Scored, said: Mapping[str, str] | None = None) -> Feedback:
    """Summary, strengths with quotes, improvements as hints and corrections, next steps.

    `said` has other words for what there is to say about a criterion or misconception, by its id.
    """
    said = said or {}
    if scored.score is None:
        summary = f"{say('grade.summary.no_score')} {scored.review_reasons[0]}"
        return Feedback(summary=summary, next_steps=_after_refusal(scored.flags))
    met = [result for result in scored.criteria if result.verdict == "met"]
    partial = [result for result in scored.criteria if result.verdict == "partial"]
    wrong = [result for result in scored.criteria if result.verdict == "contradicted"]
    return Feedback(
        summary=_summary(question, scored, len(met), len(partial), len(wrong)),
        strengths=tuple(said.get(result.id) or _strength(result) for result in _by_points(met)[:MOST_QUOTES]),
        improvements=tuple(_improvements(scored, wrong, partial, said)),
        next_steps=tuple(_next_steps(question, scored)),
    )


def follow_up(scored: Scored) -> str | None:
    """What an interviewer could ask next: about a mistake first, then the least certain point, then a missing one."""
    if scored.score is None:
        return None
    result = next_point(scored)
    if result is None:
        return say("grade.follow_up.covered")
    quote = _quote(result)
    match result.verdict:
        case "contradicted":
            opening = say("grade.follow_up.said", quote=quote)
        case "partial" if quote:
            opening = say("grade.follow_up.touched", quote=quote)
        case _:
            opening = say("grade.follow_up.open", name=label(result.id).lower())
    return f"{opening} {result.hint}" if result.hint and result.verdict != "contradicted" else opening


def next_point(scored: Scored) -> CriterionResult | None:
    """The criterion to ask about next, None when all that counts is covered."""
    wrong = [result for result in scored.criteria if result.verdict == "contradicted"]
    open_ = [result for result in scored.criteria if result.verdict in {"partial", "not_met"}]
    unsure = [result for result in open_ if 0.25 <= result.probability <= 0.75]
    missing = [result for result in open_ if not _is_spare(result, scored)]
    for results in (wrong, unsure, missing):
        if results:
            return min(results, key=lambda result: (-result.max_points, abs(result.probability - 0.5), result.id))
    return None


def label(criterion_id: str) -> str:
    """A criterion's id as words: `call-timing` becomes `Call timing`."""
    return criterion_id.replace("-", " ").capitalize()


def _by_points(results: Sequence[CriterionResult]) -> list[CriterionResult]:
    return sorted(results, key=lambda result: -result.max_points)


def _summary(question: Question, scored: Scored, met: int, partial: int, wrong: int) -> str:
    total = len(scored.criteria)
    grouped = sum(group.any_of for group in question.groups)
    wanted = sum(1 for criterion in question.criteria if criterion.group is None) + grouped if grouped else total
    covers = "covers" if met <= wanted else "covers_more"
    if partial:
        covers += "_touches"
    slips = wrong + len(scored.misconceptions)
    sentences = [
        _opening(scored.score or 0.0),
        say(f"grade.summary.{covers}", met=met, wanted=wanted, partial=partial),
        *([english().count("grade.summary.slips", slips)] if slips else []),
    ]
    return " ".join(sentences)


def _opening(score: float) -> str:
    for limit, key in ((85, "excellent"), (70, "good"), (45, "on_the_way"), (20, "a_start")):
        if score >= limit:
            return say(f"grade.summary.{key}")
    return say("grade.summary.not_yet")


def _quote(result: CriterionResult) -> str:
    text = " ".join(" ".join(span.text.split()) for span in result.evidence)
    return text if len(text) <= QUOTE_CHARS else text[: QUOTE_CHARS - 1].rstrip() + "…"


def _strength(result: CriterionResult) -> str:
    return f"{label(result.id)}: “{_quote(result)}”" if result.evidence else label(result.id)


def _improvements(
    scored: Scored, wrong: Sequence[CriterionResult], partial: Sequence[CriterionResult], said: Mapping[str, str]
) -> list[str]:
    texts = []
    for misconception in scored.misconceptions:
        quote = " ".join(" ".join(span.text.split()) for span in misconception.evidence)[:QUOTE_CHARS]
        correction = misconception.correction
        template = say("grade.say.wrote", quote=quote, correction=correction) if quote else correction
        texts.append(said.get(misconception.id) or template)
    for result in wrong:
        template = say("grade.say.check", quote=_quote(result)) + (f" {result.hint}" if result.hint else "")
        texts.append(said.get(result.id) or template)
    for result in _by_points(partial):
        template = say("grade.say.more", quote=_quote(result)) + (f" {result.hint}" if result.hint else "")
        texts.append(said.get(result.id) or template)
    # Criteria of a group that already earned all it can are not missing.
    missing = [result for result in scored.criteria if result.verdict == "not_met" and not _is_spare(result, scored)]
    texts += [
        said.get(result.id) or result.hint or say("grade.say.missing", name=label(result.id).lower())
        for result in _by_points(missing)[:MOST_HINTS]
    ]
    return texts


def _is_spare(result: CriterionResult, scored: Scored) -> bool:
    if result.group is None:
        return False
    # Enough others of the group are met when one of them had to go uncounted.
    return any(r.group == result.group and r.verdict == "met" and r.points == 0 for r in scored.criteria)


def _next_steps(question: Question, scored: Scored) -> list[str]:
    steps = []
    codes = {flag.code for flag in scored.flags}
    if "keyword_list" in codes:
        steps.append(say("grade.next.terms"))
    if "off_topic" in codes:
        steps.append(say("grade.next.read_question"))
    if scored.misconceptions or any(result.verdict == "contradicted" for result in scored.criteria):
        steps.append(say("grade.next.correct"))
    missing = sum(result.verdict in {"not_met", "partial"} for result in scored.criteria)
    if missing and "off_topic" not in codes:
        steps.append(say("grade.next.add"))
    if question.sources and (scored.score or 0) < 85:
        steps.append(say("grade.next.read", source=question.sources[0]))
    if not steps:
        steps.append(say("grade.next.aloud"))
    return steps


def _after_refusal(flags: Sequence[Flag]) -> tuple[str, ...]:
    codes = {flag.code for flag in flags}
    if "not_english" in codes:
        return (say("grade.next.english"),)
    return (say("grade.next.own_words"),)
