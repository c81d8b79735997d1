"""Does a language model help? Agreement with people offline, with the model, and of the model alone.

    python -m benchmarks.judge_agreement --unseen [--limit N]
    python -m benchmarks.judge_agreement --data DIR --set beetle/test_unseen_questions [--limit N]
    python -m benchmarks.judge_agreement ... --share        # only how much would be asked; needs no model

The model is the one of the GRADER_LLM_* settings. A public set is a JSONL file with question, reference, answer and score
(0..1 or label); each row is graded as an inline question. Nothing is fitted, so a set may be used whole; the sample is
drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from api.config import Settings
from grader import Grader, InlineQuestion
from grader.assist import Policy
from grader.errors import GraderError
from grader.judges import Case
from grader.judges.language import Consultation, LanguageJudge, Writing
from grader.llm import load_assistant
from grader.schema import Criterion, ExpectedVerdict

UNSEEN = Path(__file__).parent / "data" / "pytorch"
LABELS = {"correct": 1.0, "partially_correct_incomplete": 0.5}


@dataclass(frozen=True)
class Row:
    """A graded answer: score 0..1 by a person, verdicts by criterion where there are some."""

    question: str | InlineQuestion
    answer: str
    score: float
    verdicts: dict[str, ExpectedVerdict] = field(default_factory=dict)
    kind: str = ""


@dataclass
class Tally:
    """What is counted along the way."""

    gold: list[float] = field(default_factory=list)
    offline: list[float] = field(default_factory=list)
    assisted: list[float] = field(default_factory=list)
    criteria: int = 0
    asked: int = 0
    answers_asked: int = 0
    degraded: int = 0
    right: dict[str, list[bool]] = field(default_factory=lambda: {"offline": [], "model": []})
    tokens: int = 0
    cost: float = 0.0
    verdicts: int = 0
    void: int = 0
    seconds: list[float] = field(default_factory=list)


class Counted:
    """A language judge whose verdicts are counted, and those among them that it could not show in the answer."""

    def __init__(self, judge: LanguageJudge, tally: Tally) -> None:
        self.judge, self.tally = judge, tally
        self.name, self.version = judge.name, judge.version

    def consult(self, case: Case, criteria: Sequence[Criterion], seconds: float) -> Consultation:
        """See LanguageJudge.consult."""
        found = self.judge.consult(case, criteria, seconds)
        self.tally.verdicts += len(found.judgements)
        self.tally.void += sum(one.abstained for one in found.judgements)
        return found

    def write(self, system: str, prompt: str, max_tokens: int, seconds: float) -> Writing:
        """See LanguageJudge.write."""
        return self.judge.write(system, prompt, max_tokens, seconds)

    def close(self) -> None:
        """See LanguageJudge.close."""
        self.judge.close()


def unseen() -> Iterator[Row]:
    """The bank's answers by unseen writers."""
    for file in sorted(UNSEEN.glob("unseen-*.jsonl")):
        for raw in _read(file):
            yield Row(
                raw["question_id"], raw["answer"], raw["score"] / 100, raw.get("verdicts", {}), raw.get("quality", "")
            )


def public(file: Path) -> Iterator[Row]:
    """The rows of a public set that can be graded as inline questions."""
    for raw in _read(file):
        references = [raw["reference"]] if isinstance(raw["reference"], str) else list(raw["reference"])
        question = InlineQuestion(prompt=raw["question"] or "Explain.", reference_answers=tuple(references[:8]))
        yield Row(question, raw["answer"], _score(raw))


def _read(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _score(raw: dict[str, Any]) -> float:
    if isinstance(raw.get("score"), (int, float)):
        return float(raw["score"]) / float(raw.get("max_score") or 1.0)
    return LABELS.get(str(raw.get("label", "")).lower(), 0.0)


def measure(grader: Grader, rows: Iterable[Row], policy: Policy, *, ask: bool) -> Tally:
    """Grades every row offline and, with `ask`, with the model."""
    tally = Tally()
    if ask and grader.assistant is not None:
        grader.assistant.judge = Counted(grader.assistant.judge, tally)
    for row in rows:
        try:
            opinion = grader.opinion(row.question, row.answer)
            before = grader.grade(row.question, row.answer, judge="off")
        except GraderError:
            continue
        open_ = [judgement.criterion_id for judgement in opinion.judgements if policy.is_uncertain(judgement)]
        tally.criteria += len(opinion.judgements)
        tally.asked += len(open_)
        tally.answers_asked += bool(open_)
        tally.gold.append(row.score)
        tally.offline.append(before.score or 0.0)
        if not ask:
            continue
        begun = time.perf_counter()
        after = grader.grade(row.question, row.answer, judge="auto")
        tally.seconds.append(time.perf_counter() - begun)
        tally.assisted.append(after.score or 0.0)
        tally.degraded += after.provenance.llm is None and bool(open_)
        if (use := after.provenance.llm) is not None:
            tally.tokens, tally.cost = tally.tokens + use.input_tokens + use.output_tokens, tally.cost + use.cost
        for one, two in zip(before.criteria, after.criteria, strict=True):
            if one.id in open_ and row.verdicts:
                wanted = row.verdicts.get(one.id, "not_met")
                tally.right["offline"].append(one.verdict == wanted)
                tally.right["model"].append(two.verdict == wanted)
    return tally


def report(tally: Tally) -> str:
    """The figures in words."""
    share = tally.asked / max(1, tally.criteria)
    lines = [
        f"answers {len(tally.gold)}, criteria {tally.criteria}",
        f"in the uncertain band: {share:.1%} of the criteria; "
        f"{tally.answers_asked / max(1, len(tally.gold)):.1%} of the answers would need a call",
        f"Spearman with people, offline: {_rank(tally.offline, tally.gold):.3f}",
    ]
    if tally.assisted:
        lines.append(f"Spearman with people, with the model: {_rank(tally.assisted, tally.gold):.3f}")
        for who, right in tally.right.items():
            if right:
                lines.append(f"verdicts right on what was asked, {who}: {statistics.fmean(right):.1%} of {len(right)}")
        lines.append(f"verdicts {tally.verdicts}, void for want of a quote from the answer: {tally.void}")
        lines.append(
            f"degraded {tally.degraded}; {tally.tokens} tokens, cost {tally.cost:g}; "
            f"median {statistics.median(tally.seconds):.2f} s an answer"
        )
    return "\n".join(lines)


def _rank(one: Sequence[float], other: Sequence[float]) -> float:
    return float(spearmanr(one, other).statistic) if len(set(other)) > 1 and len(set(one)) > 1 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--unseen", action="store_true", help="the bank's answers by unseen writers")
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--set", help="file in it, without .jsonl, such as beetle/test_unseen_questions")
    parser.add_argument("--limit", type=int, default=200, help="answers, drawn with a fixed seed; 0: all")
    parser.add_argument("--share", action="store_true", help="only how much would be asked; needs no model")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    if not given.unseen and not (given.data and given.set):
        parser.error("give --unseen, or --data and --set")
    rows = list(unseen() if given.unseen else public(given.data / f"{given.set}.jsonl"))
    if given.limit and given.limit < len(rows):
        rows = random.Random(0).sample(rows, given.limit)
    assistant = None if given.share else load_assistant(Settings().llm(), "auto")
    if assistant is None and not given.share:
        raise SystemExit("No language model is configured (docs/llm-judges.md); --share needs none.")
    policy = assistant.policy if assistant else Policy()
    grader = Grader.load(device=given.device, assistant=assistant)
    print(report(measure(grader, rows, policy, ask=assistant is not None)))


if __name__ == "__main__":
    main()
