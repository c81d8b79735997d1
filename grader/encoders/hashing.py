"""A deterministic stand-in for a neural encoder: a bag of hashed words and letter trigrams.

It is for tests and for machines without the model. It does discriminate (texts that share words are close), unlike a
fake that gives every pair the same similarity; it does not understand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from grader.encoders import Vectors
from grader.text import words

DIMENSIONS = 512


class HashingEncoder:
    """Words and their trigrams hashed into 512 signed buckets."""

    name = "hashing"
    revision = "1"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See Encoder.encode. A text without words gets the first unit vector."""
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in words(text):
                for feature in (word, *(f"#{word[i : i + 3]}" for i in range(len(word) - 2))):
                    digest = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
                    vectors[row, digest % DIMENSIONS] += 1.0 if digest >> 63 else -1.0
            if not vectors[row].any():
                vectors[row, 0] = 1.0
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
