"""The entailment reading: a trained network reads the whole answer with every criterion of its question in mind.

What each label (a criterion or a misconception) looks like is worked out beforehand; reading an answer costs one more pass
through a MiniLM. `reader.safetensors` lies beside the bank it was trained for, with the rubric of every question: a
question whose rubric has changed since is read without its learnt share, one of another bank not at all.
`training/train_reader.py` makes the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grader.bank import Bank, rubric_hash
from grader.encoders import Encoder
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import BankError, Problem
from grader.index import kept
from grader.schema import Question

if TYPE_CHECKING:
    from torch import Tensor

    from grader.judges.network import EntailmentNetwork

FILE = "reader.safetensors"
FORMAT = "1"
CRITERION, MISCONCEPTION = 0, 1

READER_SIGNALS = (
    "read_met",  # logit: the answer says it
    "read_contradicted",  # logit: the answer says the opposite
    "read_mean_met",  # mean over the criteria
    "read_mean_contradicted",
)
READER_MISCONCEPTION_SIGNALS = ("read_held", "read_denied")


@dataclass(frozen=True)
class Labels:
    """Criteria and misconceptions of a bank in one row: unit vectors (labels, 384) of their wordings, and their places."""

    names: tuple[tuple[str, str], ...]  # question id, criterion or misconception id
    rubrics: Mapping[str, str]  # by question id
    right: NDArray[np.float32]
    wrong: NDArray[np.float32]
    kind: NDArray[np.int64]

    @property
    def places(self) -> dict[str, list[int]]:
        """Rows of every question: its criteria, then its misconceptions, in the rubric's order."""
        found: dict[str, list[int]] = {}
        for place, (question, _) in enumerate(self.names):
            found.setdefault(question, []).append(place)
        return found

    def of(self, question: str, label: str) -> int:
        """The row of one criterion or misconception."""
        return self.names.index((question, label))


def bank_labels(bank: Bank, encoder: Encoder) -> Labels:
    """Embeds the wordings of a whole bank, each question by itself."""
    rights, wrongs, kinds, names = [], [], [], []
    for question in bank.questions:
        right, wrong, kind = question_vectors(question, encoder)
        rights.append(right)
        wrongs.append(wrong)
        kinds.append(kind)
        names += [(question.id, criterion.id) for criterion in question.criteria]
        names += [(question.id, misconception.id) for misconception in question.misconceptions]
    rubrics = {question.id: rubric_hash(question) for question in bank.questions}
    return Labels(tuple(names), rubrics, np.concatenate(rights), np.concatenate(wrongs), np.concatenate(kinds))


def question_vectors(
    question: Question, encoder: Encoder, cache_folder: Path | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Unit vectors (labels, d) of the mean right and the mean wrong wording, zero where there is none, and the kinds.

    Right about a misconception is to hold it: its wordings are the statement and exemplars, the wrong one its correction.
    They are kept in `cache_folder`, for to embed them takes as long as all else that a start does.
    """
    right = [(c.statement, *c.exemplars) for c in question.criteria]
    right += [(m.statement, *m.exemplars) for m in question.misconceptions]
    wrong = [c.contradictions for c in question.criteria] + [(m.correction,) for m in question.misconceptions]
    kind = [CRITERION] * len(question.criteria) + [MISCONCEPTION] * len(question.misconceptions)
    means = [
        kept(cache_folder, f"{question.id}-reader", side, encoder, len(side), partial(_means, side, encoder))
        for side in (right, wrong)
    ]
    return means[0], means[1], np.array(kind)


def _means(wordings: Sequence[Sequence[str]], encoder: Encoder) -> NDArray[np.float32]:
    vectors = encoder.encode([text for texts in wordings for text in texts])
    borders = np.cumsum([0, *(len(texts) for texts in wordings)])
    means = [vectors[a:b].mean(axis=0) if b > a else np.zeros(vectors.shape[1]) for a, b in pairwise(borders)]
    stacked = np.stack(means).astype(np.float32)
    unit: NDArray[np.float32] = stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), np.float32(1e-9))
    return unit


class EntailmentReader:
    """The network with a bank's labels. Its forward passes share the encoder's one thread (docs/decisions/0002)."""

    def __init__(
        self, network: EntailmentNetwork, labels: Labels, encoder: SentenceTransformerEncoder, revision: str
    ) -> None:
        import torch

        self._network = network.eval().to(encoder.device)
        self._labels = labels
        self._places = labels.places
        self._encoder = encoder
        self.revision = revision
        self._vectors = [
            torch.tensor(part, device=encoder.device) for part in (labels.right, labels.wrong, labels.kind)
        ]

    def knows(self, question: str, rubric: str) -> bool:
        """Whether it was trained for just this rubric."""
        return self._labels.rubrics.get(question) == rubric

    def read(self, question: str, text: str) -> NDArray[np.float64]:
        """Logits (criteria then misconceptions, 2) of met and contradicted; of a long text, the highest of its windows."""
        return self._encoder.on_worker(lambda: self._read(question, text))

    def _read(self, question: str, text: str) -> NDArray[np.float64]:
        import torch

        place = torch.tensor([self._places[question]], device=self._encoder.device)
        right, wrong, kind = (part[place] for part in self._vectors)
        own = torch.ones((*place.shape, 1), device=self._encoder.device)
        found = []
        with torch.inference_mode():
            for piece in self._encoder.windows(text):
                tokens = self._encoder.tokenizer([piece], return_tensors="pt", truncation=True, max_length=256)
                tokens = tokens.to(self._encoder.device)
                logits = self._network(tokens["input_ids"], tokens["attention_mask"], right, wrong, kind, place, own)
                found.append(logits[0].float().cpu().numpy())
        highest: NDArray[np.float64] = np.max(found, axis=0).astype(np.float64)
        return highest


def save_reader(file: Path, network: EntailmentNetwork, labels: Labels, frozen: int, notes: Mapping[str, str]) -> None:
    """Writes what was trained, in half precision: layers above the first `frozen`, attention, and the learnt shares."""
    from safetensors.torch import save_file

    tensors = {
        name: tensor.detach().half().contiguous().cpu()
        for name, tensor in network.state_dict().items()
        if not _from_encoder(name, frozen)
    }
    rubrics = json.dumps(dict(labels.rubrics))
    names = json.dumps(labels.names)
    save_file(tensors, file, {"format": FORMAT, "frozen": str(frozen), "rubrics": rubrics, "labels": names, **notes})
    file.chmod(0o644)


def restore(network: EntailmentNetwork, state: Mapping[str, Tensor], frozen: int) -> None:
    """Puts what `save_reader` wrote into a network; raises ValueError or RuntimeError when it is of something else."""
    result = network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)
    missing = [name for name in result.missing_keys if not _from_encoder(name, frozen)]
    if missing or result.unexpected_keys:
        raise ValueError(f"parameters are missing: {', '.join(missing[:3])}")


def load_reader(bank: Bank, encoder: Encoder, cache_folder: Path | None = None) -> EntailmentReader | None:
    """The network beside a bank; None when there is none or the encoder is not the embedded one.

    Raises BankError when the file is damaged, or made for other criteria than the bank has now.
    """
    from safetensors import SafetensorError, safe_open

    from grader.judges.network import EntailmentNetwork

    file = bank.path / FILE
    if not file.is_file() or not isinstance(encoder, SentenceTransformerEncoder) or not encoder.embedded:
        return None
    try:
        with safe_open(str(file), framework="pt") as stored:
            notes = stored.metadata() or {}
            if notes.get("format") != FORMAT:
                raise BankError([Problem(str(file), 0, "", "made by another version; train it again or remove it")])
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        names = tuple((str(question), str(label)) for question, label in json.loads(notes["labels"]))
        rubrics: dict[str, str] = json.loads(notes["rubrics"])
        labels = _labels_now(bank, encoder, names, rubrics, cache_folder)
        network = EntailmentNetwork(encoder.backbone(int(notes["frozen"])), len(names))
        restore(network, state, int(notes["frozen"]))
        revision = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        problem = Problem(str(file), 0, "", f"cannot be read ({error}); fetch it again, or remove it to grade without")
        raise BankError([problem]) from error
    return EntailmentReader(network, labels, encoder, revision)


def _labels_now(
    bank: Bank,
    encoder: Encoder,
    names: tuple[tuple[str, str], ...],
    rubrics: Mapping[str, str],
    cache_folder: Path | None,
) -> Labels:
    """The labels the file was made for, as the bank words them now; questions that have changed keep a row of zeros."""
    width = 384
    right = np.zeros((len(names), width), dtype=np.float32)
    wrong = np.zeros((len(names), width), dtype=np.float32)
    kind = np.zeros(len(names), dtype=np.int64)
    current = {}
    for question in bank.questions:
        if rubrics.get(question.id) != rubric_hash(question):
            continue
        current[question.id] = rubrics[question.id]
        here = [place for place, (name, _) in enumerate(names) if name == question.id]
        right[here], wrong[here], kind[here] = question_vectors(question, encoder, cache_folder)
    return Labels(names, current, right, wrong, kind)


def _from_encoder(name: str, frozen: int) -> bool:
    """Whether a parameter is the embedded encoder's own and need not be stored."""
    if name.startswith(("backbone.embeddings", "backbone.pooler")):
        return True
    return any(name.startswith(f"backbone.encoder.layer.{layer}.") for layer in range(frozen))
