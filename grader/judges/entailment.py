"""The trained offline judge: a small network that reads the answer with each criterion in mind (`reader.py`).

Its opinion and the zero-shot signals of `evidence` are weighed together by the calibration. It runs from the embedded
MiniLM's word vectors and a weights file that ships with the package; heavy imports happen when it is loaded.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grader.encoders.sentence_transformer import SentenceTransformerEncoder, window_borders
from grader.errors import EncoderError
from grader.index import QuestionIndex

if TYPE_CHECKING:
    from torch import Tensor

    from grader.judges import Case

WEIGHTS = Path(__file__).with_name("reader.safetensors")
# Tokens of one reading; a longer answer is read in overlapping windows.
WINDOW = 254
MAX_STATEMENT_TOKENS = 64
# Questions whose criterion side is kept in memory; about 1 MB each.
KEPT_QUESTIONS = 256


class EntailmentReader:
    """Reads answers: logits of not_met, partial, met and contradicted for every criterion and misconception."""

    def __init__(self, encoder: SentenceTransformerEncoder, weights: Path = WEIGHTS) -> None:
        self._reader = _load(encoder, weights)
        self.tokenizer = encoder.tokenizer
        self.device = encoder.device
        self.revision = _file_hash(weights)
        self._begun: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, case: Case) -> NDArray[np.float64]:
        """Shape (criteria + misconceptions, 4), log-probabilities in the order of calibration.CLASSES.

        Each window of the answer is read by itself; for a statement the window that says most about it counts.
        """
        import torch

        texts = [segment.text for segment in case.vectors.segments]
        windows = self._windows(" ".join(texts))
        with self._lock, torch.inference_mode():
            begun, mask = self._criteria(case.index)
            readings = []
            for window in windows:
                ids = torch.tensor([window], device=self.device)
                here = torch.ones_like(ids, dtype=torch.bool)
                owner = torch.zeros(len(begun), dtype=torch.long, device=self.device)
                logits = self._reader.judge(begun, mask, self._reader.read_answer(ids, here), here, owner)
                readings.append(torch.log_softmax(logits.float(), dim=1).cpu().numpy().astype(np.float64))
        stacked = np.stack(readings)  # (windows, statements, 4)
        best = stacked[:, :, 0].argmin(axis=0)
        result: NDArray[np.float64] = stacked[best, np.arange(stacked.shape[1])]
        return result

    def _windows(self, text: str) -> list[list[int]]:
        ids = self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return [[first, *ids[start:end], last] for start, end in window_borders(len(ids), WINDOW)]

    def _criteria(self, index: QuestionIndex) -> tuple[Tensor, Tensor]:
        """The statements' side below the joint layers, computed once a question."""
        import torch

        if index.rubric not in self._begun:
            texts = [c.statement for c in index.question.criteria] + [
                m.statement for m in index.question.misconceptions
            ]
            rows = [
                self.tokenizer(text, truncation=True, max_length=MAX_STATEMENT_TOKENS)["input_ids"] for text in texts
            ]
            longest = max(len(row) for row in rows)
            ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.device)
            lengths = torch.tensor([len(row) for row in rows], device=self.device)
            mask = torch.arange(longest, device=self.device)[None, :] < lengths[:, None]
            self._begun[index.rubric] = (self._reader.begin(ids, mask), mask)
            while len(self._begun) > KEPT_QUESTIONS:
                self._begun.popitem(last=False)
        self._begun.move_to_end(index.rubric)
        return self._begun[index.rubric]


def _load(encoder: SentenceTransformerEncoder, weights: Path) -> Any:
    """The network with the encoder's word vectors and the trained layers; raises EncoderError when they do not fit."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from grader.judges.reader import Reader

    try:
        trained = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise EncoderError(
            f"The judge's weights cannot be read ({weights.name}: {error}); reinstall answer-grader."
        ) from error
    reader = Reader.from_bert(encoder.bert(), joint_from=int(trained.pop("joint_from", torch.tensor(0)).item()))
    missing, unexpected = reader.load_state_dict({k: v.float() for k, v in trained.items()}, strict=False)
    frozen = {"words.weight", "positions.weight"}
    if unexpected or set(missing) - frozen:
        raise EncoderError("The judge's weights do not belong to this version; reinstall answer-grader.")
    dtype = torch.float16 if torch.device(encoder.device).type == "cuda" else torch.float32
    return reader.to(encoder.device, dtype).eval()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
