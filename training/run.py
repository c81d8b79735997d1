"""What the training scripts share: how a run begins, how its batches are made, what it leaves in its file."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch

from grader.fitting import Statement

Item = TypeVar("Item")


def begin(arguments: argparse.Namespace) -> random.Random:
    """Sets seed and threads as the command line has them; the source of all that is drawn."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    return random.Random(arguments.seed)


def by_length(items: Sequence[Item], length: Callable[[Item], int], tokens: int, together: int) -> list[list[Item]]:
    """Batches of at most `tokens`, padding included; of each `together` items in a row those of like length are one."""
    found: list[list[Item]] = []
    for first in range(0, len(items), together):
        current: list[Item] = []
        for item in sorted(items[first : first + together], key=length):
            if current and (len(current) + 1) * length(item) > tokens:
                found.append(current)
                current = []
            current.append(item)
        found.append(current)
    return found


def twins(statements: Iterable[Statement]) -> Iterator[tuple[str, str, str]]:
    """Criterion, true sentence and its false twin, of sentences that share a pair."""
    pairs: dict[tuple[str, int], dict[str, str]] = {}
    for statement in statements:
        if statement.pair is not None:
            pairs.setdefault((statement.criterion, statement.pair), {})[statement.verdict] = statement.text
    for (criterion, _), pair in pairs.items():
        if {"met", "contradicted"} <= pair.keys():
            yield criterion, pair["met"], pair["contradicted"]


def notes(module: str, arguments: argparse.Namespace, data: str) -> dict[str, str]:
    """Command, hash of the data and seed, for the metadata of the trained file."""
    command = f"python -m {module} " + json.dumps(vars(arguments), default=str)
    return {"command": command, "data": data, "seed": str(arguments.seed)}
