"""`grader bank check` and `grader bank test`: what an author of a bank runs."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from grader.bank import load_bank, read_bank
from grader.banktest import BankTest, Tally, run, write_baseline
from grader.cli import output
from grader.cli.grading import load
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import BankError, Problem
from grader.fitting import fit_heads, read_data
from grader.judges.heads import save_heads


def check(path: Path) -> int:
    """Prints every problem of a bank; exit status 1 when there is any."""
    bank, problems = read_bank(path)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems or bank is None:
        print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'} found.", file=sys.stderr)
        return 1
    for question in bank.questions:
        if question.draft:
            print(f"{question.id} is a draft; remove `draft: true` once a person has checked it.", file=sys.stderr)
    samples = sum(len(question.samples) for question in bank.questions)
    criteria = sum(len(question.criteria) for question in bank.questions)
    print(f"{bank.info.title}: {len(bank.questions)} questions, {criteria} criteria, {samples} samples; no problems.")
    return 0


def test(path: Path, encoder: str, device: str, *, as_json: bool, update_baseline: bool, verbose: bool) -> int:
    """Grades the bank's samples; exit status 1 on a regression (without a baseline: when any sample misses)."""
    grader = load(path, encoder, device)
    with Progress(disable=not sys.stderr.isatty(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("grading samples", total=None)
        outcome = run(
            grader,
            lambda done, total: progress.update(task, completed=done, total=total),
            compare=not update_baseline,
        )
    if update_baseline:
        write_baseline(path, outcome)
        outcome = BankTest(outcome.results, has_baseline=True)
    if as_json:
        output.print_json(_as_json(outcome))
    else:
        _print(outcome, verbose)
    return 0 if outcome.passed else 1


def draft(prompt: str, reference: Path | None, into: Path, question_id: str | None) -> int:
    """Drafts a question into a bank's folder and says what to do next; the model is the one of GRADER_LLM_*."""
    from api.config import read_settings
    from grader.cli.grading import read_answer
    from grader.draft import draft_question, next_number, write_draft
    from grader.llm import load_judge

    text = read_answer(str(reference)) if reference else None
    judge = load_judge(read_settings().llm())
    question, reason, usage = draft_question(prompt, text, judge, number=next_number(into), question_id=question_id)
    file = write_draft(into, question, f"{judge.name}:{judge.version}" if judge and reason is None else None)
    if reason:
        print(f"Drafted from the reference alone: {reason}.", file=sys.stderr)
    if judge:
        cost = f", cost {usage.cost:.4f}" if usage.cost else ""
        print(f"The model read {usage.input_tokens} tokens and wrote {usage.output_tokens}{cost}.", file=sys.stderr)
    print(f"{file}: {len(question.criteria)} criteria, {len(question.samples)} samples. Read and mend it, then run")
    print(f"  grader bank check {into} && grader bank test {into}")
    return 0


def train(path: Path, data: Path | None, device: str, *, use_all: bool) -> int:
    """Fits the heads of a bank; exit status 1 when no question has enough to learn from."""
    if data is not None and not data.is_dir():
        raise BankError([Problem(str(data), 0, "", "there is no such folder; docs/training.md says what goes into it")])
    bank = load_bank(path)
    found = read_data(bank, data)
    encoder = SentenceTransformerEncoder(device=device)
    with Progress(disable=not sys.stderr.isatty(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("fitting heads", total=len(bank.questions))
        heads = fit_heads(
            bank, found, encoder, use_all=use_all, progress=lambda done, _total: progress.update(task, completed=done)
        )
    if not heads:
        print("No question has enough to learn from: each criterion needs a contradiction or two.", file=sys.stderr)
        return 1
    file = save_heads(path, heads, encoder.revision, {"data": found.version, "all": str(use_all)})
    statements, answers = (sum(map(len, part.values())) for part in (found.statements, found.answers))
    print(
        f"{file}: heads for {len(heads)} of {len(bank.questions)} questions from {statements} statements and {answers} answers."
    )
    return 0


def _print(outcome: BankTest, verbose: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table(box=None)
    for column in ("kind of sample", "samples", "score in range", "verdicts right", "mean error"):
        table.add_column(column, justify="left" if column == "kind of sample" else "right")
    for kind, tally in [*outcome.by_kind().items(), ("all", Tally.of(outcome.results))]:
        table.add_row(
            kind,
            str(tally.samples),
            f"{tally.range_share:.0%}",
            f"{tally.verdict_share:.0%}",
            f"{tally.mean_error:.1f}",
        )
    console.print(table)
    if verbose:
        for result in outcome.results:
            if not result.in_range():
                low, high = result.sample.score
                score = "not gradable" if result.score is None else f"{result.score:g}"
                console.print(
                    f"  {result.key} ({result.sample.kind}): {score}, expected {low:g} to {high:g}", highlight=False
                )
    for regression in outcome.regressions:
        console.print(f"regression: {regression}", style="red", highlight=False)
    console.print(_verdict(outcome), style="green" if outcome.passed else "red", highlight=False)


def _verdict(outcome: BankTest) -> str:
    missing = sum(not result.in_range() for result in outcome.results)
    if outcome.passed:
        known = f" ({missing} samples miss their range and are known to)" if missing else ""
        return f"passed: nothing that held before is lost{known}"
    if outcome.has_baseline:
        return f"failed: {len(outcome.regressions)} regressions"
    return (
        f"failed: {missing} samples miss their range. Mend the rubric or the samples, or accept this state as what must "
        "not get worse with --update-baseline."
    )


def _as_json(outcome: BankTest) -> dict[str, object]:
    def shares(tally: Tally) -> dict[str, float]:
        return {
            "samples": tally.samples,
            "score_in_range": round(tally.range_share, 4),
            "verdicts_right": round(tally.verdict_share, 4),
            "mean_error": round(tally.mean_error, 2),
        }

    return {
        "passed": outcome.passed,
        "all": shares(Tally.of(outcome.results)),
        "by_kind": {kind: shares(tally) for kind, tally in outcome.by_kind().items()},
        "by_question": {name: shares(tally) for name, tally in outcome.by_question().items()},
        "regressions": list(outcome.regressions),
        "samples": [
            {
                "sample": result.key,
                "kind": result.sample.kind,
                "score": result.score,
                "expected": list(result.sample.score),
                "in_range": result.in_range(),
                "verdicts_right": result.verdicts_right,
                "verdicts": result.verdicts,
            }
            for result in outcome.results
        ],
    }
