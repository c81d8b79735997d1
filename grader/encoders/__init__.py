"""The Encoder seam: text in, unit vectors out. A dict is the registry.

`load_encoder("embedded")` is all-MiniLM-L6-v2 from the package that carries it; `"hashing"` is a deterministic fake for
tests; anything else is a sentence-transformers model by name or local path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  # (texts, dimensions), rows of length 1
LayerVectors = NDArray[np.float32]  # (texts, layers, dimensions), vectors of length 1

EMBEDDED = "embedded"


class Encoder(Protocol):
    """Turns texts into vectors. The same list gives the same vectors, to the last bit, on one machine."""

    name: str
    revision: str  # changes when the weights change

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), d), float32, rows L2-normalised, in the order given; no part of a text is cut off."""
        ...


def load_encoder(name: str = EMBEDDED, device: str = "auto") -> Encoder:
    """The encoder of that name; raises EncoderError with what to do when it cannot be had."""
    if name == "hashing":
        from grader.encoders.hashing import HashingEncoder

        return HashingEncoder()
    from grader.encoders.sentence_transformer import SentenceTransformerEncoder

    return SentenceTransformerEncoder(None if name == EMBEDDED else name, device=device)
