"""The grade in words. Written from the grade alone: it can say nothing that the grade does not hold.

The candidate never reads a criterion's statement here, only their own words, hints and corrections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grader.schema import CriterionResult, Feedback, Flag, Question
from grader.scoring import Scored

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
        return Feedback(
            summary=f"No score was given. {scored.review_reasons[0]}", next_steps=_after_refusal(scored.flags)
        )
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
        return (
            "You covered the main points. Where did this matter in something you built, and what did you learn from it?"
        )
    quote = _quote(result)
    match result.verdict:
        case "contradicted":
            opening = f"You said “{quote}”. What makes you think so, and how could you check it?"
        case "partial" if quote:
            opening = f"You touched on this: “{quote}”. Could you go further into it?"
        case _:
            opening = f"You have not said much about one point yet: {label(result.id).lower()}."
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
    covered = (
        f"{met} of {wanted} key points" if met <= wanted else f"{met} key points, more than the {wanted} that count"
    )
    parts = [f"{_opening(scored.score or 0.0)} The answer covers {covered}"]
    if partial:
        parts.append(f"touches {partial} more")
    text = " and ".join(parts) + "."
    slips = wrong + len(scored.misconceptions)
    if slips:
        text += f" {_count(slips, 'statement')} should be corrected."
    return text


def _opening(score: float) -> str:
    for limit, words in ((85, "Excellent."), (70, "Good."), (45, "On the way."), (20, "A start.")):
        if score >= limit:
            return words
    return "Not there yet."


def _count(number: int, noun: str) -> str:
    return f"{'One' if number == 1 else number} {noun}{'' if number == 1 else 's'}"


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
        template = f"You wrote “{quote}”. {misconception.correction}" if quote else misconception.correction
        texts.append(said.get(misconception.id) or template)
    for result in wrong:
        template = f"Check this: “{_quote(result)}”." + (f" {result.hint}" if result.hint else "")
        texts.append(said.get(result.id) or template)
    for result in _by_points(partial):
        template = f"Say more about this: “{_quote(result)}”." + (f" {result.hint}" if result.hint else "")
        texts.append(said.get(result.id) or template)
    # Criteria of a group that already earned all it can are not missing.
    missing = [result for result in scored.criteria if result.verdict == "not_met" and not _is_spare(result, scored)]
    texts += [
        said.get(result.id) or result.hint or f"Something is missing: {label(result.id).lower()}."
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
        steps.append("Turn each term into a sentence that says what it does or why it matters.")
    if "off_topic" in codes:
        steps.append("Read the question again and answer what it asks.")
    if scored.misconceptions or any(result.verdict == "contradicted" for result in scored.criteria):
        steps.append("Correct the wrong statements first: they cost more than a gap.")
    missing = sum(result.verdict in {"not_met", "partial"} for result in scored.criteria)
    if missing and "off_topic" not in codes:
        steps.append("Add a sentence for each hint above, in your own words, and try again.")
    if question.sources and (scored.score or 0) < 85:
        steps.append(f"Read: {question.sources[0]}")
    if not steps:
        steps.append("Explain it once aloud in a minute; then take a harder question.")
    return steps


def _after_refusal(flags: Sequence[Flag]) -> tuple[str, ...]:
    codes = {flag.code for flag in flags}
    if "not_english" in codes:
        return ("Write the answer in English; this bank has no rubric in another language.",)
    return ("Write a few sentences that answer the question in your own words.",)
