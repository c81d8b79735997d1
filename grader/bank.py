"""Reads a question bank from YAML files and says, with file, line and field, everything that is wrong with it.

A bank is a folder with a `bank.yaml` and one YAML file a question (docs/bank-format.md). This module knows nothing of
encoders or scores.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from grader.errors import BankError, InvalidQuestion, Problem, UnknownQuestion
from grader.schema import MAX_SCORE, BankInfo, Criterion, InlineQuestion, Misconception, Question, Sample
from grader.text import normalise, split

BANK_FILE = "bank.yaml"
# Next to the package both in a checkout and in an installed wheel.
DEFAULT_BANK = Path(__file__).resolve().parent.parent / "reference_answers" / "pytorch"
# The word for it wherever a bank is named; a folder of this name is written ./pytorch.
SHIPPED = "pytorch"
# A file above this size is a mistake or an attack on the YAML reader, not a question.
MAX_FILE_BYTES = 2_000_000

_HASHED_FIELDS = {"id", "prompt", "kind", "reference_answers", "groups", "criteria", "misconceptions"}

Location = tuple[str | int, ...]
Lines = dict[Location, int]
Model = TypeVar("Model", bound=BaseModel)


def content_hash(value: object) -> str:
    """The first 16 hex digits of the sha256 of a JSON-able value in canonical form."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def rubric_hash(question: Question) -> str:
    """Version of all that decides a grade of this question; samples, tags and sources do not."""
    return content_hash(question.model_dump(mode="json", include=_HASHED_FIELDS))


@dataclass(frozen=True)
class Bank:
    """A validated bank: its questions in the order of their numbers, and the file of each by its id."""

    info: BankInfo
    questions: tuple[Question, ...]
    path: Path
    files: Mapping[str, Path] = field(default_factory=dict, compare=False)

    @cached_property
    def version(self) -> str:
        """`id@version+hash`: changes when any rubric in the bank changes."""
        digest = content_hash([rubric_hash(question) for question in self.questions])
        return f"{self.info.id}@{self.info.version}+{digest}"

    def question(self, question_id: str) -> Question:
        """The question with this id; raises UnknownQuestion with near matches."""
        for question in self.questions:
            if question.id == question_id:
                return question
        raise unknown_question(question_id, [self])


def load_bank(path: str | Path | None = None) -> Bank:
    """The bank in a folder, or the one that ships (also by the word `pytorch`); raises BankError with every problem."""
    bank, problems = read_bank(bank_folder(path))
    if bank is None or problems:
        raise BankError(problems)
    return bank


def bank_folder(name: str | Path | None) -> Path:
    """Where the bank of that name lies."""
    return DEFAULT_BANK if name is None or name == SHIPPED else Path(name)


def load_banks(banks: Sequence[str | Path | Bank] = ()) -> tuple[Bank, ...]:
    """Several banks in the order given, or the one that ships; raises BankError with every problem of all of them."""
    found, problems = [], []
    for one in banks or (SHIPPED,):
        bank, wrong = (one, []) if isinstance(one, Bank) else read_bank(bank_folder(one))
        problems += wrong
        if bank is not None:
            found.append(bank)
    if problems:
        raise BankError(problems)
    check_together(found)
    return tuple(found)


def check_together(banks: Sequence[Bank]) -> None:
    """Raises BankError when two banks share their id or that of a question: by its id a question says where it belongs."""
    if problems := [problem for first, second in combinations(banks, 2) for problem in _shared(first, second)]:
        raise BankError(problems)


def bank_of(banks: Sequence[Bank], question_id: str) -> Bank:
    """The bank that has this question; raises UnknownQuestion with near matches from all of them."""
    for bank in banks:
        if any(question.id == question_id for question in bank.questions):
            return bank
    raise unknown_question(question_id, banks)


def unknown_question(question_id: str, banks: Sequence[Bank]) -> UnknownQuestion:
    """What to raise for an id that no bank has; it names near ones."""
    known = [question.id for bank in banks for question in bank.questions]
    return UnknownQuestion(question_id, difflib.get_close_matches(question_id, known, n=2))


def _shared(first: Bank, second: Bank) -> Iterator[Problem]:
    """What keeps two banks from being used together."""
    if first.path.resolve() == second.path.resolve():
        yield Problem(str(second.path), 0, "", "the same bank is named twice")
        return
    if first.info.id == second.info.id:
        message = f"{second.info.id!r} is also the id of the bank in {first.path}; give one of them another"
        yield Problem(str(second.path / BANK_FILE), 0, "id", message)
    there = {question.id for question in first.questions}
    for question in second.questions:
        if question.id in there:
            files = [str(bank.files.get(question.id, bank.path)) for bank in (first, second)]
            message = f"{question.id!r} is also in {files[0]}; banks that are used together cannot share an id"
            yield Problem(files[1], 0, "id", message)


def read_bank(folder: Path) -> tuple[Bank | None, list[Problem]]:
    """The bank as far as it could be read, and all its problems."""
    if not folder.is_dir():
        return None, [Problem(str(folder), 0, "", "there is no such folder; a bank is a folder with a bank.yaml in it")]
    if not (folder / BANK_FILE).is_file():
        return None, [Problem(str(folder), 0, "", f"there is no {BANK_FILE} in it; docs/bank-format.md shows one")]
    info, _, problems = _read_file(folder / BANK_FILE, BankInfo)
    questions: list[Question] = []
    origin: dict[str, Path] = {}
    for file in sorted(folder.glob("*.y*ml")):
        if file.name == BANK_FILE:
            continue
        question, lines, found = _read_file(file, Question)
        problems += found
        if question is None:
            continue
        problems += [
            Problem(str(file), _line(lines, place), _dotted(place), message) for place, message in _check(question)
        ]
        if question.id in origin:
            problems.append(
                Problem(
                    str(file), _line(lines, ("id",)), "id", f"{question.id!r} is also in {origin[question.id].name}"
                )
            )
        origin[question.id] = file
        questions.append(question)
    if not questions and not problems:
        problems.append(Problem(str(folder), 0, "", "it holds no question files (*.yaml)"))
    if info is None:
        return None, problems
    ordered = tuple(sorted(questions, key=lambda question: (question.number, question.id)))
    return Bank(info, ordered, folder, origin), problems


def question_from_inline(inline: InlineQuestion) -> Question:
    """A gradable question from one that came with an answer; raises InvalidQuestion when nothing can be checked.

    Points are scaled to sum to 100. Without criteria every sentence of the first reference answer becomes one, or the whole of
    an answer as short as "push, pop".
    """
    statements = [(criterion.statement, criterion.points) for criterion in inline.criteria]
    if not statements:
        sentences = [segment.text for segment in split(normalise(inline.reference_answers[0]))]
        whole = " ".join(sentences)
        derived = [text for text in sentences if len(text.split()) >= 3] or [whole] * (len(whole.split()) >= 2)
        statements = [(text[:2000], 1.0) for text in derived[:40]]
    if not statements:
        raise InvalidQuestion(
            "No criteria were given and the reference answer has fewer than two words to derive them from; send criteria or a "
            "fuller reference answer."
        )
    total = sum(points for _, points in statements)
    return Question(
        id="inline-" + content_hash(inline.model_dump(mode="json")),
        prompt=inline.prompt,
        reference_answers=inline.reference_answers,
        criteria=tuple(
            Criterion(id=f"criterion-{n}", statement=statement, points=MAX_SCORE * points / total)
            for n, (statement, points) in enumerate(statements, start=1)
        ),
        misconceptions=tuple(
            Misconception(
                id=f"misconception-{n}",
                statement=statement,
                correction="The author of the question lists this as a wrong belief.",
                penalty=10,
            )
            for n, statement in enumerate(inline.misconceptions, start=1)
        ),
    )


# ---- reading one file ----------------------------------------------------------------------------------------------


def _read_file(file: Path, model: type[Model]) -> tuple[Model | None, Lines, list[Problem]]:
    lines: Lines = {}
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            return None, lines, [Problem(str(file), 0, "", f"the file is larger than {MAX_FILE_BYTES:,} bytes")]
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        data = yaml.load(text, Loader=yaml.CSafeLoader)
    except UnicodeDecodeError as error:
        return None, lines, [Problem(str(file), 0, "", f"not UTF-8 (byte {error.start}); save it as UTF-8")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        return None, lines, [Problem(str(file), line, "", f"not valid YAML: {error.problem or error.context}")]
    except (OSError, yaml.YAMLError) as error:
        return None, lines, [Problem(str(file), 0, "", f"cannot be read: {error}")]
    if not isinstance(data, dict) or node is None:
        return (
            None,
            lines,
            [Problem(str(file), 1, "", "a mapping of fields was expected; docs/bank-format.md shows one")],
        )
    duplicates = _index_lines(node, (), lines)
    problems = [Problem(str(file), line, _dotted(place), "the field stands here twice") for place, line in duplicates]
    try:
        return model.model_validate(data), lines, problems
    except ValidationError as error:
        problems += [
            Problem(str(file), _line(lines, detail["loc"]), _dotted(detail["loc"]), _plain(detail))
            for detail in error.errors(include_url=False)
        ]
        return None, lines, problems


def _index_lines(node: yaml.Node, place: Location, lines: Lines) -> list[tuple[Location, int]]:
    """Fills `lines` with the 1-based line of every field; returns fields that stand twice."""
    lines[place] = node.start_mark.line + 1
    duplicates: list[tuple[Location, int]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            child = (*place, str(key.value))
            duplicates += _index_lines(value, child, lines)
            lines[child] = key.start_mark.line + 1
            if key.value in seen:
                duplicates.append((child, lines[child]))
            seen.add(key.value)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            duplicates += _index_lines(value, (*place, number), lines)
    return duplicates


def _line(lines: Lines, place: Location) -> int:
    """The line of the nearest enclosing field that is in the file (a missing field has its parent's line)."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _dotted(place: Location) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _plain(detail: Any) -> str:
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not a field of this format; is it spelt as in docs/bank-format.md?"
        case "string_pattern_mismatch":
            return f"{detail['input']!r} does not have the form {detail['ctx']['pattern']}"
        case "string_type":
            return f"text was expected, found {detail['input']!r}; put it in quotes"
    return str(detail["msg"]).removeprefix("Value error, ")


# ---- what pydantic cannot see: how the fields fit together ----------------------------------------------------------


def _check(question: Question) -> Iterator[tuple[Location, str]]:
    yield from _check_ids(question)
    yield from _check_groups(question)
    possible = question.possible_points()
    if abs(possible - MAX_SCORE) > 1e-6:
        yield ("criteria",), f"the points an answer can earn sum to {possible:g}; they must sum to {MAX_SCORE}"
    for number, criterion in enumerate(question.criteria):
        right = {text.casefold() for text in (criterion.statement, *criterion.exemplars)}
        for place, wrong in enumerate(criterion.contradictions):
            if wrong.casefold() in right:
                yield ("criteria", number, "contradictions", place), "the same text is also listed as right"
    for number, sample in enumerate(question.samples):
        yield from ((("samples", number, *place), message) for place, message in _check_sample(question, sample))


def _check_ids(question: Question) -> Iterator[tuple[Location, str]]:
    named: list[tuple[str, Sequence[Any]]] = [
        ("criteria", question.criteria),
        ("misconceptions", question.misconceptions),
        ("samples", question.samples),
        ("groups", question.groups),
    ]
    for name, items in named:
        counts = Counter(item.id for item in items)
        for number, item in enumerate(items):
            if counts[item.id] > 1:
                yield (name, number, "id"), f"{item.id!r} is used {counts[item.id]} times; ids must be unique"


def _check_groups(question: Question) -> Iterator[tuple[Location, str]]:
    groups = {group.id for group in question.groups}
    for number, criterion in enumerate(question.criteria):
        if criterion.group is not None and criterion.group not in groups:
            yield ("criteria", number, "group"), f"there is no group {criterion.group!r} under `groups`"
    for number, group in enumerate(question.groups):
        points = [criterion.points for criterion in question.criteria if criterion.group == group.id]
        if len(points) < group.any_of:
            yield ("groups", number), f"any_of is {group.any_of} but only {len(points)} criteria name this group"
        if len(set(points)) > 1:
            yield ("groups", number), "all criteria of a group must carry the same points"


def _check_sample(question: Question, sample: Sample) -> Iterator[tuple[Location, str]]:
    criteria = {criterion.id for criterion in question.criteria}
    known = {misconception.id for misconception in question.misconceptions}
    for criterion_id in sample.verdicts:
        if criterion_id not in criteria:
            yield ("verdicts", criterion_id), f"there is no criterion {criterion_id!r}"
    for number, misconception_id in enumerate(sample.misconceptions):
        if misconception_id not in known:
            yield ("misconceptions", number), f"there is no misconception {misconception_id!r}"
    implied = expected_score(question, sample)
    low, high = sample.score
    # A fair expert rounds and weighs the whole; more than 10 points apart is a slip in the verdicts or in the range.
    if implied < low - 10 or implied > high + 10:
        yield ("score",), f"the verdicts add up to {implied:g} points, which does not fit the range {low:g} to {high:g}"


def expected_score(question: Question, sample: Sample) -> float:
    """The score that a sample's own verdicts and misconceptions add up to, 0..100."""
    credit = {"met": 1.0, "partial": 0.5}
    earned = {c.id: c.points * credit.get(sample.verdicts.get(c.id, "not_met"), 0.0) for c in question.criteria}
    total = sum(earned[c.id] for c in question.criteria if c.group is None)
    for group in question.groups:
        best = sorted((earned[c.id] for c in question.criteria if c.group == group.id), reverse=True)
        total += sum(best[: group.any_of])
    penalties = sum(m.penalty for m in question.misconceptions if m.id in sample.misconceptions)
    return max(0.0, total - penalties)


def bank_json_schema() -> dict[str, Any]:
    """JSON schema of a question file, for editors (`reference_answers/schema.json`)."""
    schema = Question.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A question of a bank"
    return schema
