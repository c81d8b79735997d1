"""Examples for the judge: an answer, and statements with the verdict each deserves.

An example is `(answer, [(statement, verdict), ...])`. The bank's own data come from its files and from
`training/data/<bank>/`; public sets (not in the repository) from `--data DIR`. A statement is a criterion or a
misconception: "met" means that the answer says it.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grader.bank import Bank
from grader.schema import Question
from grader.text import words

NOT_MET, PARTIAL, MET, WRONG = range(4)  # the order of calibration.CLASSES
VERDICTS = {"not_met": NOT_MET, "partial": PARTIAL, "met": MET, "contradicted": WRONG}
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Example:
    """One answer (or one sentence) and the statements it is held against."""

    answer: str
    pairs: tuple[tuple[str, int], ...]
    question_id: str = ""
    source: str = ""


def rows(path: Path) -> list[dict]:  # type: ignore[type-arg]
    """The objects of a JSONL file; none when there is no such file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


# ---- the bank's own data ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GradedAnswer:
    """A whole answer with its labels; `misconceptions` is None when nobody looked for them."""

    question: Question
    id: str
    quality: str
    voice: str
    text: str
    verdicts: dict[str, str]
    misconceptions: frozenset[str] | None
    score: float


def graded_answers(bank: Bank) -> list[GradedAnswer]:
    """All labelled answers of a bank that are in `training/data/`, in a fixed order.

    The bank's own samples are no part of them: they are what `grader bank test` is judged by, so an answer that is nearly
    one of them is left out as well.
    """
    samples = {q.id: [set(words(sample.answer)) for sample in q.samples] for q in bank.questions}
    return [g for g in _all_graded(bank) if not any(_alike(set(words(g.text)), s) for s in samples[g.question.id])]


def _alike(one: set[str], other: set[str]) -> bool:
    return len(one & other) > 0.6 * len(one | other)


def _all_graded(bank: Bank) -> list[GradedAnswer]:
    folder = DATA / bank.info.id
    found = []
    by_id = {question.id: question for question in bank.questions}
    for number, row in enumerate(rows(folder / "graded_answers.jsonl")):
        question = by_id[row["question_id"]]
        found.append(
            GradedAnswer(question, f"p{number:03}", row["kind"], "", row["answer"], row["verdicts"], None, row["score"])
        )
    for question in bank.questions:
        for row in rows(folder / "answers" / f"{question.number:02}-{question.id}.jsonl"):
            held = frozenset(row.get("misconceptions", ()))
            found.append(
                GradedAnswer(
                    question,
                    row["id"],
                    row["quality"],
                    row["voice"],
                    row["answer"],
                    row["verdicts"],
                    held,
                    row["score"],
                )
            )
    return found


def answer_example(graded: GradedAnswer) -> Example:
    """The answer against all criteria, and against the misconceptions where they are labelled."""
    pairs = [(c.statement, VERDICTS[graded.verdicts.get(c.id, "not_met")]) for c in graded.question.criteria]
    if graded.misconceptions is not None:
        pairs += [
            (m.statement, MET if m.id in graded.misconceptions else NOT_MET) for m in graded.question.misconceptions
        ]
    return Example(graded.text, tuple(pairs), graded.question.id, "answer")


@dataclass(frozen=True)
class Saying:
    """One sentence and what it says of one criterion."""

    criterion_id: str
    text: str
    verdict: int
    pair: int = 0


def sayings(question: Question, folder: Path) -> list[Saying]:
    """Exemplars, contradictions and the statements in `training/data/` of one question."""
    found = []
    for criterion in question.criteria:
        found += [Saying(criterion.id, text, MET) for text in criterion.exemplars]
        found += [Saying(criterion.id, text, WRONG) for text in criterion.contradictions]
    for row in rows(folder / "statements" / f"{question.number:02}-{question.id}.jsonl"):
        found.append(Saying(row["criterion"], row["text"], VERDICTS[row["verdict"]], row.get("pair", 0)))
    return found


def statement_examples(question: Question, said: list[Saying], random: random.Random) -> Iterator[Example]:
    """Sentences against their criterion, against another one, and against each other with the roles turned round.

    Turning round is what makes "contradicted" a matter of meaning: held against its false twin, the true sentence is
    the contradiction, in whatever style it is written.
    """
    statements = {criterion.id: criterion.statement for criterion in question.criteria}
    right = defaultdict(list)
    for saying in said:
        if saying.verdict == MET:
            right[saying.criterion_id].append(saying.text)
    twins: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    for saying in said:
        if saying.pair:
            twins[saying.criterion_id, saying.pair][saying.verdict] = saying.text
        other = random.choice([c for c in statements if c != saying.criterion_id])
        pairs = [(statements[saying.criterion_id], saying.verdict), (statements[other], NOT_MET)]
        paraphrases = [text for text in right[saying.criterion_id] if text != saying.text]
        if paraphrases and saying.verdict != PARTIAL:
            pairs.append((random.choice(paraphrases), saying.verdict))
        twin = twins.get((saying.criterion_id, saying.pair), {}) if saying.pair else {}
        turned = twin.get(WRONG if saying.verdict == MET else MET)
        if turned:
            pairs += [(turned, WRONG), (saying.text, MET)] if saying.verdict == WRONG else [(turned, WRONG)]
        yield Example(saying.text, tuple(pairs), question.id, "statement")
    for misconception in question.misconceptions:
        for text in misconception.exemplars:
            yield Example(
                text, ((misconception.statement, MET), (misconception.correction, WRONG)), question.id, "belief"
            )
        yield Example(misconception.correction, ((misconception.statement, WRONG),), question.id, "belief")


def mixed_examples(question: Question, said: list[Saying], random: random.Random, count: int) -> Iterator[Example]:
    """Made answers: sentences of several criteria in a row, so that what is said of one must be found among others."""
    by_criterion = defaultdict(list)
    for saying in said:
        by_criterion[saying.criterion_id].append(saying)
    for _ in range(count):
        chosen = random.sample(list(by_criterion), k=random.randint(2, min(6, len(by_criterion))))
        picked = {criterion: random.choice(by_criterion[criterion]) for criterion in chosen}
        sentences = [saying.text for saying in picked.values()]
        random.shuffle(sentences)
        joint = random.choice([" ", ". ", "\n", "\n- "])
        pairs = [(c.statement, picked[c.id].verdict if c.id in picked else NOT_MET) for c in question.criteria]
        yield Example(joint.join(sentences), tuple(pairs), question.id, "mixed")


# ---- public sets -----------------------------------------------------------------------------------------------------

_NLI = {"entailment": MET, "neutral": NOT_MET, "contradiction": WRONG}
_GRADES = {
    "correct": MET,
    "contradictory": WRONG,
    "partially_correct_incomplete": PARTIAL,
    "incorrect": NOT_MET,
    "irrelevant": NOT_MET,
    "non_domain": NOT_MET,
}
# Breaking NLI is 87 % contradiction: as much of it as there are entailments, so that the style is no clue.
_NLI_FILES = {
    "snli_dev": 1.0, "snli_test": 1.0, "counterfactual_train": 1.0, "counterfactual_dev": 1.0, "conjnli_train": 0.5,
    "conjnli_dev": 1.0, "help_conjunction": 0.3, "breaking_nli": 0.25, "dnc_function_words": 1.0,
}  # fmt: skip


def public_examples(data: Path, random: random.Random) -> list[Example]:
    """General entailment and graded short answers (train parts only)."""
    found = []
    for name, share in _NLI_FILES.items():
        for row in rows(data / "nli_extra" / f"{name}.jsonl"):
            if random.random() < share:
                found.append(Example(row["premise"], ((row["hypothesis"], _NLI[row["label"]]),), "", "nli"))
    for row in rows(data / "nli_wikifactcheck_negated" / "all.jsonl"):
        if random.random() < 0.3 and row["label"] in _NLI:
            found.append(Example(row["reference"][0], ((row["answer"], _NLI[row["label"]]),), "", "nli"))
    for name in ("scientsbank", "beetle", "saf_v2_en"):
        for row in rows(data / name / "train.jsonl"):
            label = _GRADES.get(row["label"])
            if label is not None and row["reference"]:
                found.append(Example(row["answer"], ((row["reference"][0], label),), "", name))
    return found
