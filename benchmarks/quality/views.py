"""A text as the general features see it: its tokens in three layers of the encoder, its sentences and its words.

One pass of the encoder a text; everything that compares two texts is in `features`. Knows nothing of questions or scores.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.evidence import FUNCTION_WORDS, NEGATIONS, _stem
from grader.text import NormalisedText, normalise, split, words

Floats = NDArray[np.float32]

TOKEN_LAYERS = (1, 3, 6)  # near the words, in between, near the meaning; more layers carry the same
CHARACTERS_PER_BATCH = 24_000  # of text and padding in one pass
LARGEST_BATCH = 256
WINDOW = 510  # tokens; what is longer is cut here (no text of the public sets is)
# The vocabulary of the encoder is sorted by how common a word is, from this id on: its rank stands in for a document
# frequency, so that rarity needs no corpus (Zipf's law: the logarithm of the rank falls like the logarithm of the count).
FIRST_WORD_ID = 1994
VOCABULARY = 28_000

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NUMBER_WORDS = {word: str(n) for n, word in enumerate("zero one two three four five six seven eight nine ten".split())}


@dataclass(frozen=True)
class TextView:
    """Token arrays run over the text's word pieces, without the special tokens; vectors have length 1."""

    tokens: NDArray[np.float16]  # (len(TOKEN_LAYERS), tokens, d)
    means: Floats  # (7, d): mean of all token states of each layer, word vectors first
    sentences: Floats  # (sentences, d), last layer, each read in the context of the whole text
    rarity: Floats  # (tokens,) 0..about 1, 0 for punctuation
    content: NDArray[np.bool_]  # (tokens,) whether the piece belongs to a content word
    stems: tuple[str, ...]  # (tokens,) stem of the word that the piece belongs to
    words: tuple[str, ...]
    content_stems: frozenset[str]
    pairs: frozenset[tuple[str, str]]  # neighbouring content stems
    characters: Counter[str]  # runs of four
    negations: int
    numbers: frozenset[str]


def view_texts(encoder: SentenceTransformerEncoder, texts: Iterable[str]) -> dict[str, TextView]:
    """A view of every different text. Batches hold texts of like length."""
    different = sorted(dict.fromkeys(texts), key=len, reverse=True)
    views: dict[str, TextView] = {}
    position = 0
    while position < len(different):
        size = max(1, min(LARGEST_BATCH, CHARACTERS_PER_BATCH // max(32, len(different[position]))))
        batch = different[position : position + size]
        views.update(zip(batch, _view_batch(encoder, batch), strict=True))
        position += size
    return views


def _view_batch(encoder: SentenceTransformerEncoder, texts: Sequence[str]) -> list[TextView]:
    import torch

    clean = [normalise(text) for text in texts]
    plain = [one.text if _WORD.search(one.text) else "-" for one in clean]
    tokens = encoder.tokenizer(
        plain, padding=True, truncation=True, max_length=WINDOW, return_offsets_mapping=True, return_tensors="pt",
        verbose=False,
    )  # fmt: skip
    offsets = tokens.pop("offset_mapping").numpy()
    ids, mask = tokens["input_ids"].numpy(), tokens["attention_mask"].numpy().astype(bool)
    with torch.inference_mode():
        states = encoder.sentence_transformer[0].auto_model(**tokens.to(encoder.device), output_hidden_states=True)
        layers = torch.stack(list(states.hidden_states), 1).float().cpu().numpy()  # (texts, 7, tokens, d)
    return [
        _view(plain[n], clean[n], layers[n][:, mask[n]], ids[n][mask[n]][1:-1], offsets[n][mask[n]][1:-1])
        for n in range(len(texts))
    ]


def _view(
    text: str, clean: NormalisedText, layers: Floats, ids: NDArray[np.int64], offsets: NDArray[np.int64]
) -> TextView:
    """`layers` (7, tokens with the two special ones, d); `ids` and `offsets` without these."""
    inner = layers[:, 1:-1]
    owners = _owners(text, offsets)
    said = words(text)
    stems = [_stem(word) for word in said if word not in FUNCTION_WORDS]
    padded = f" {' '.join(said)} "
    rank = np.maximum(ids - FIRST_WORD_ID, 2)
    return TextView(
        tokens=_unit(inner[list(TOKEN_LAYERS)]).astype(np.float16),
        means=_unit(layers.mean(1)),
        sentences=_sentences(clean, inner[-1], offsets, layers[-1].mean(0)),
        rarity=np.where([bool(o) for o in owners], np.log(rank) / math.log(VOCABULARY), 0.0).astype(np.float32),
        content=np.array([bool(o) and o not in FUNCTION_WORDS for o in owners], dtype=bool),
        stems=tuple(_stem(owner) if owner else "" for owner in owners),
        words=tuple(said),
        content_stems=frozenset(stems),
        pairs=frozenset(pairwise(stems)),
        characters=Counter(padded[i : i + 4] for i in range(len(padded) - 3)),
        negations=sum(word in NEGATIONS for word in said),
        numbers=frozenset(_NUMBER_WORDS.get(w, w) for w in said if w in _NUMBER_WORDS or _NUMBER.fullmatch(w)),
    )


def _unit(vectors: Floats) -> Floats:
    result: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32(1e-9))
    return result


def _owners(text: str, offsets: NDArray[np.int64]) -> list[str]:
    """The lower-case word that each piece is part of, empty for punctuation."""
    spans = [(match.start(), match.end(), match.group()) for match in _WORD.finditer(text.lower())]
    owners = []
    place = 0
    for start, end in offsets:
        while place < len(spans) and spans[place][1] <= start:
            place += 1
        owners.append(spans[place][2] if place < len(spans) and spans[place][0] < end else "")
    return owners


def _sentences(clean: NormalisedText, last: Floats, offsets: NDArray[np.int64], whole: Floats) -> Floats:
    """Means of the last layer over the tokens of each segment; the whole text where it has none."""
    found = []
    for segment in split(clean):
        inside = (offsets[:, 0] >= segment.start) & (offsets[:, 1] <= segment.end)
        if inside.any():
            found.append(last[inside].mean(0))
    return _unit(np.stack(found) if found else whole[None])
