"""Reads questions nobody trained on: a statement of a criterion beside a sentence of an answer.

For questions with one wording a criterion, as those with a reference answer alone. The network (`pair_network`) has learnt
from general entailment, public sets of short answers and the sentences of the shipped bank (`training/train_pair.py`). It
ships with the package and knows no bank.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from grader.encoders import Encoder
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import EncoderError

if TYPE_CHECKING:
    from grader.judges.pair_network import PairNetwork

MOST_TOKENS = 200  # of statement and sentence together
PAIRS_PER_BATCH = 16
FILE = Path(__file__).parent.with_name("pair.safetensors")


class PairReader:
    """The network with its adapters folded in. Its forward passes share the encoder's one thread (docs/decisions/0002)."""

    def __init__(self, network: PairNetwork, encoder: SentenceTransformerEncoder, revision: str) -> None:
        from grader.judges.pair_network import merge

        merge(network.backbone)
        self._network = network.eval().to(encoder.device)
        self._encoder = encoder
        self.revision = revision

    def read(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        """Log-odds of met and of contradicted for (criterion, sentence), shape (pairs, 2); the longer side is cut."""
        return self._encoder.on_worker(lambda: self._read(pairs))

    def _read(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        import torch

        from grader.judges.pair_network import CONTRADICTED, MET

        found = np.zeros((len(pairs), 2))
        tokenizer, device = self._encoder.tokenizer, self._encoder.device
        # Of like length together, so that little is padded; the order depends on the texts alone.
        order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][0]) + len(pairs[i][1]), i))
        with torch.inference_mode():
            for first in range(0, len(order), PAIRS_PER_BATCH):
                chosen = order[first : first + PAIRS_PER_BATCH]
                tokens = tokenizer(
                    [pairs[i][0] for i in chosen],
                    [pairs[i][1] for i in chosen],
                    padding=True,
                    truncation="longest_first",
                    max_length=MOST_TOKENS,
                    return_tensors="pt",
                ).to(device)
                logits = self._network(tokens["input_ids"], tokens["attention_mask"], tokens["token_type_ids"]).double()
                rest = [torch.logsumexp(logits[:, [c for c in range(3) if c != k]], 1) for k in (MET, CONTRADICTED)]
                odds = torch.stack([logits[:, MET] - rest[0], logits[:, CONTRADICTED] - rest[1]], 1)
                found[chosen] = odds.cpu().numpy()
        return found


def save_pair(file: Path, network: PairNetwork, notes: Mapping[str, str]) -> None:
    """Writes adapters and classifier in half precision."""
    from safetensors.torch import save_file

    learnt = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    tensors = {
        name: tensor.detach().half().contiguous().cpu()
        for name, tensor in network.state_dict().items()
        if name in learnt
    }
    save_file(tensors, file, dict(notes))
    file.chmod(0o644)  # safetensors makes it readable by its owner only


def load_pair(encoder: Encoder, file: Path = FILE) -> PairReader | None:
    """The network that ships, None when the encoder is not the embedded one; the same for all who share an encoder.

    Raises EncoderError when the file is missing or damaged.
    """
    if not isinstance(encoder, SentenceTransformerEncoder) or not encoder.embedded:
        return None
    with _LOADING:
        if file not in encoder.derived:
            encoder.derived[file] = _load(encoder, file)
        found: PairReader = encoder.derived[file]
        return found


_LOADING = threading.Lock()


def _load(encoder: SentenceTransformerEncoder, file: Path) -> PairReader:
    from safetensors import SafetensorError
    from safetensors.torch import load

    from grader.judges.pair_network import FROZEN, PairNetwork

    try:
        content = file.read_bytes()
        network = PairNetwork(encoder.backbone(FROZEN))
        result = network.load_state_dict({name: tensor.float() for name, tensor in load(content).items()}, strict=False)
        lacking = {name for name, p in network.named_parameters() if p.requires_grad} & set(result.missing_keys)
        if lacking or result.unexpected_keys:
            raise ValueError(f"parameters are missing: {', '.join(sorted(lacking)[:3])}")
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise EncoderError(f"{file} cannot be read ({error}); reinstall answer-grader.") from error
    return PairReader(network, encoder, hashlib.sha256(content).hexdigest()[:12])
