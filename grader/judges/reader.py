"""The network of the entailment judge: a MiniLM whose criterion side reads the answer at every layer.

One-way joint attention. The answer's tokens pass through the layers by themselves, once, however many criteria there
are. A criterion's tokens pass through the same layers and, from layer `joint_from` on, attend to their own tokens and to
the answer's hidden states of that layer. So a verdict costs about as much as encoding the criterion (some 25 tokens), and
layers below `joint_from` of the criterion side can be computed beforehand. It is cross-attention with the weights of a
pretrained self-attention (compare: fusion-in-decoder, Izacard & Grave 2021; poly-encoders, Humeau et al. 2020).

This module knows torch and nothing of questions or grades; it is imported only when the judge is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 4  # in the order of calibration.CLASSES: not_met, partial, met, contradicted


@dataclass(frozen=True)
class ReaderConfig:
    """Shape of the network; the numbers of MiniLM-L6 unless said otherwise."""

    layers: int = 6
    hidden: int = 384
    heads: int = 12
    inner: int = 1536
    joint_from: int = 2
    eps: float = 1e-12


class Layer(nn.Module):
    """A BERT layer whose queries may attend to a second set of states."""

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.hidden, config.hidden)
        self.value = nn.Linear(config.hidden, config.hidden)
        self.output = nn.Linear(config.hidden, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=config.eps)
        self.up = nn.Linear(config.hidden, config.inner)
        self.down = nn.Linear(config.inner, config.hidden)
        self.last_norm = nn.LayerNorm(config.hidden, eps=config.eps)

    def _split(self, states: Tensor) -> Tensor:
        rows, length, width = states.shape
        return states.view(rows, length, self.heads, width // self.heads).transpose(1, 2)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each (rows, heads, length, width per head)."""
        return self._split(self.key(states)), self._split(self.value(states))

    def forward(self, states: Tensor, mask: Tensor, seen: tuple[Tensor, Tensor, Tensor] | None = None) -> Tensor:
        """`mask` (rows, length) is True at tokens; `seen` are keys, values and mask of other states to read as well."""
        keys, values = self.keys_values(states)
        if seen is not None:
            keys = torch.cat([keys, seen[0]], dim=2)
            values = torch.cat([values, seen[1]], dim=2)
            mask = torch.cat([mask, seen[2]], dim=1)
        attended = functional.scaled_dot_product_attention(
            self._split(self.query(states)), keys, values, attn_mask=mask[:, None, None, :]
        )
        rows, length, width = states.shape
        states = self.norm(states + self.output(attended.transpose(1, 2).reshape(rows, length, width)))
        inner: Tensor = self.last_norm(states + self.down(functional.gelu(self.up(states))))
        return inner


class Reader(nn.Module):
    """Answer tokens and criterion tokens in, four logits a criterion out."""

    def __init__(self, config: ReaderConfig, vocabulary: int, positions: int = 512) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(vocabulary, config.hidden)
        self.positions = nn.Embedding(positions, config.hidden)
        self.side = nn.Parameter(torch.zeros(2, config.hidden))  # 0: answer, 1: criterion
        self.embedding_norm = nn.LayerNorm(config.hidden, eps=config.eps)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.head = nn.Sequential(
            nn.Linear(2 * config.hidden, config.hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(config.hidden, CLASSES)
        )

    @classmethod
    def from_bert(cls, bert: Any, joint_from: int = 2) -> Reader:
        """Initialised from a transformers BertModel (the encoder's own weights)."""
        shape = bert.config
        config = ReaderConfig(
            shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads, shape.intermediate_size, joint_from
        )
        reader = cls(config, shape.vocab_size, shape.max_position_embeddings)
        state = bert.state_dict()
        with torch.no_grad():
            reader.words.weight.copy_(state["embeddings.word_embeddings.weight"])
            reader.positions.weight.copy_(state["embeddings.position_embeddings.weight"])
            reader.side.copy_(state["embeddings.token_type_embeddings.weight"][:1].expand(2, -1))
            for ours, theirs in (("weight", "weight"), ("bias", "bias")):
                getattr(reader.embedding_norm, ours).copy_(state[f"embeddings.LayerNorm.{theirs}"])
            layer: Any
            for number, layer in enumerate(reader.layers):
                for ours, theirs in _NAMES.items():
                    part = getattr(layer, ours)
                    part.weight.copy_(state[f"encoder.layer.{number}.{theirs}.weight"])
                    part.bias.copy_(state[f"encoder.layer.{number}.{theirs}.bias"])
        return reader

    def embed(self, ids: Tensor, side: int) -> Tensor:
        """Token ids (rows, length) to first states (rows, length, hidden)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        states: Tensor = self.embedding_norm(self.words(ids) + self.positions(places) + self.side[side])
        return states

    def read_answer(self, ids: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the answer for every joint layer."""
        states = self.embed(ids, 0)
        kept = []
        layer: Any
        for number, layer in enumerate(self.layers):
            if number >= self.config.joint_from:
                kept.append(layer.keys_values(states))
            if number + 1 < len(self.layers):
                states = layer(states, mask)
        return kept

    def begin(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The criterion side below the joint layers; depends on the criterion alone, so it can be kept."""
        states = self.embed(ids, 1)
        for layer in self.layers[: self.config.joint_from]:
            states = layer(states, mask)
        return states

    def judge(
        self, states: Tensor, mask: Tensor, answer: list[tuple[Tensor, Tensor]], answer_mask: Tensor, owner: Tensor
    ) -> Tensor:
        """Logits (criteria, 4); `owner[i]` is the row of the answer that criterion `i` reads."""
        for layer, (keys, values) in zip(self.layers[self.config.joint_from :], answer, strict=True):
            states = layer(states, mask, (keys[owner], values[owner], answer_mask[owner]))
        weight = mask[:, :, None].to(states.dtype)
        mean = (states * weight).sum(1) / weight.sum(1)
        logits: Tensor = self.head(torch.cat([states[:, 0], mean], dim=1))
        return logits

    def forward(self, ids: Tensor, mask: Tensor, c_ids: Tensor, c_mask: Tensor, owner: Tensor) -> Tensor:
        """Everything at once, for training."""
        return self.judge(self.begin(c_ids, c_mask), c_mask, self.read_answer(ids, mask), mask, owner)


_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "last_norm": "output.LayerNorm",
}
