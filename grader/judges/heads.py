"""Criterion heads: for every criterion of a known bank, what being right and being wrong about it looks like.

A head is a linear function of a segment's vectors from all layers of the frozen encoder. Two are fitted for each
criterion (`right`, `wrong`) and one for each misconception (`held`) by `grader train`, from sentences and answers written
for the bank (`grader/fitting.py`); a wording head per criterion looks at the words themselves. They cost a matrix product
and ship beside the bank as `heads.safetensors`. Heads know one rubric: another rubric, or another encoder, has none, and
the zero-shot judge does the work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from grader.encoders import LayerVectors
from grader.errors import BankError, Problem
from grader.evidence import span_ranges, with_neighbours
from grader.judges.wording import WordingHead, runs_of

Source = Literal["rubric", "data"]  # what heads were fitted to: the rubric alone, or sentences and answers as well
FILE = "heads.safetensors"
FORMAT = "2"
# Log-odds up to which no head of a question takes a sentence for anything: three in four sentences about nothing that heads
# have not seen, one in twenty-five of good answers, most of them about nothing as well (benchmarks/LOG.md).
SILENT = -2.5

HEAD_SIGNALS = (
    "head_right",  # highest `right` of any span
    "head_wrong",  # highest `wrong` of any span
    "head_wrong_there",  # `wrong` where `right` is highest
    "head_right_there",  # `right` where `wrong` is highest
    "head_for",  # highest of right minus wrong
    "head_against",  # highest of wrong minus right
    "head_mean_right",  # mean over the criteria of the highest `right`
    "head_mean_wrong",  # mean over the criteria of the highest `wrong`
    "head_best_right",  # highest `right` over the criteria
    "wording_right",  # what the words say where `right` is highest
    "wording_wrong",  # what the words say where `wrong` is highest
)


@dataclass(frozen=True)
class QuestionHeads:
    """Weights (criteria or misconceptions, layers * d) and biases of one question's heads, in the rubric's order."""

    rubric: str
    right: NDArray[np.float32]
    right_bias: NDArray[np.float32]
    wrong: NDArray[np.float32]
    wrong_bias: NDArray[np.float32]
    held: NDArray[np.float32]
    held_bias: NDArray[np.float32]
    wording: tuple[WordingHead, ...]  # one a criterion
    source: Source = "data"


@dataclass(frozen=True)
class HeadReading:
    """What the heads say of an answer. `rows` (criteria, signals) follows HEAD_SIGNALS; spans are ranges of segments."""

    rows: NDArray[np.float64]
    right_spans: list[tuple[int, int]]
    wrong_spans: list[tuple[int, int]]
    held: NDArray[np.float64]  # (misconceptions,)
    held_spans: list[tuple[int, int]]


def span_features(layers: LayerVectors) -> NDArray[np.float32]:
    """Every segment and every pair of neighbours as one row: shape (spans, layers * d), in the order of span_ranges."""
    spans = with_neighbours(layers)
    flat: NDArray[np.float32] = spans.reshape(len(spans), -1)
    return flat


def speaks(heads: QuestionHeads, layers: LayerVectors) -> NDArray[np.bool_]:
    """For each segment, whether it may say anything that a head knows of, shape (segments,); pleasantries do not."""
    features = layers.reshape(len(layers), -1)
    parts = ((heads.right, heads.right_bias), (heads.wrong, heads.wrong_bias), (heads.held, heads.held_bias))
    found: NDArray[np.bool_] = np.any([(_apply(features, *part) > SILENT).any(axis=1) for part in parts], axis=0)
    return found


def read(heads: QuestionHeads, layers: LayerVectors, segments: Sequence[str]) -> HeadReading:
    """Applies a question's heads to an answer's segments, their layers and texts; there must be at least one."""
    features = span_features(layers)
    ranges = span_ranges(len(layers))
    right = _apply(features, heads.right, heads.right_bias)  # (spans, criteria)
    wrong = _apply(features, heads.wrong, heads.wrong_bias)
    held = _apply(features, heads.held, heads.held_bias)
    at_right, at_wrong = right.argmax(axis=0), wrong.argmax(axis=0)
    each = np.arange(right.shape[1])
    best_right, best_wrong = right[at_right, each], wrong[at_wrong, each]
    runs = [runs_of(" ".join(segments[first : last + 1])) for first, last in ranges]
    wording = [
        np.array([head.read(runs[place]) for head, place in zip(heads.wording, places, strict=True)])
        for places in (at_right, at_wrong)
    ]
    whole = [np.full(len(each), value) for value in (best_right.mean(), best_wrong.mean(), best_right.max())]
    columns = [
        best_right,
        best_wrong,
        wrong[at_right, each],
        right[at_wrong, each],
        (right - wrong).max(axis=0),
        (wrong - right).max(axis=0),
        *whole,
        *wording,
    ]
    return HeadReading(
        np.stack(columns, axis=1),
        [ranges[i] for i in at_right],
        [ranges[i] for i in at_wrong],
        held.max(axis=0) if held.shape[1] else np.zeros(0),
        [ranges[i] for i in held.argmax(axis=0)] if held.shape[1] else [],
    )


def _apply(
    features: NDArray[np.float32], weights: NDArray[np.float32], bias: NDArray[np.float32]
) -> NDArray[np.float64]:
    result: NDArray[np.float64] = features.astype(np.float64) @ weights.T.astype(np.float64) + bias
    return result


# ---- the file --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BankHeads:
    """The heads of a bank: by question id, and the hash of the file they came from."""

    questions: Mapping[str, QuestionHeads]
    encoder: str
    revision: str


def save_heads(folder: Path, heads: Mapping[str, QuestionHeads], encoder: str, notes: Mapping[str, str]) -> Path:
    """Writes a bank's heads in half precision; `encoder` is the revision of the encoder they were fitted on."""
    from safetensors.numpy import save_file

    tensors: dict[str, NDArray[Any]] = {
        f"{name}/{part}": np.ascontiguousarray(getattr(one, part), dtype=np.float16)
        for name, one in heads.items()
        for part in PARTS
    }
    for name, one in heads.items():
        tensors |= {f"{name}/{part}": values for part, values in _packed(one.wording).items()}
    rubrics = json.dumps({name: one.rubric for name, one in heads.items()})
    sources = json.dumps({name: one.source for name, one in heads.items()})
    fixed = {"format": FORMAT, "encoder": encoder, "rubrics": rubrics, "sources": sources}
    save_file(tensors, folder / FILE, {**fixed, **notes})
    (folder / FILE).chmod(0o644)  # safetensors makes it readable by its owner only
    return folder / FILE


def load_heads(folder: Path) -> BankHeads | None:
    """A bank's heads, None when it has none; raises BankError when the file is damaged or of another format."""
    import hashlib

    from safetensors import SafetensorError, safe_open

    file = folder / FILE
    if not file.is_file():
        return None
    try:
        with safe_open(str(file), framework="np") as stored:
            notes = stored.metadata() or {}
            if notes.get("format") != FORMAT:
                raise BankError([Problem(str(file), 0, "", "made by another version; run `grader train` again")])
            rubrics: dict[str, str] = json.loads(notes["rubrics"])
            sources: dict[str, Source] = json.loads(notes.get("sources", "{}"))
            found = {
                name: QuestionHeads(
                    rubric,
                    **{part: stored.get_tensor(f"{name}/{part}").astype(np.float32) for part in PARTS},
                    wording=_unpacked({part: stored.get_tensor(f"{name}/{part}") for part in _WORDING}),
                    source=sources.get(name, "data"),
                )
                for name, rubric in rubrics.items()
            }
        revision = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        problem = Problem(str(file), 0, "", f"cannot be read ({error}); run `grader train` again or remove it")
        raise BankError([problem]) from error
    return BankHeads(found, notes.get("encoder", ""), revision)


PARTS = ("right", "right_bias", "wrong", "wrong_bias", "held", "held_bias")
_WORDING = ("runs", "run_weights", "run_borders", "run_bias")


def _packed(heads: Sequence[WordingHead]) -> dict[str, NDArray[np.generic]]:
    none = (np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.float16))
    return {
        "runs": np.concatenate([none[0], *(head.runs for head in heads)]),
        "run_weights": np.concatenate([none[1], *(head.weights.astype(np.float16) for head in heads)]),
        "run_borders": np.cumsum([0, *(len(head.runs) for head in heads)]).astype(np.int32),
        "run_bias": np.array([head.bias for head in heads], dtype=np.float32),
    }


def _unpacked(parts: Mapping[str, NDArray[Any]]) -> tuple[WordingHead, ...]:
    weights = parts["run_weights"].astype(np.float32)
    return tuple(
        WordingHead(parts["runs"][first:last], weights[first:last], float(bias))
        for (first, last), bias in zip(pairwise(parts["run_borders"].tolist()), parts["run_bias"], strict=True)
    )
