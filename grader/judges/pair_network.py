"""The pair network: one sentence and one criterion, read together, to met, not met or contradicted.

A cross-encoder: words of the one meet words of the other in every layer. It is made from the embedded MiniLM by low-rank
adapters on the linear layers of its upper four (LoRA, Hu et al. 2021), so the encoder stays as it is, and what is stored is
the adapters and a small classifier.

Imports torch: loaded by `grader.judges.pair`, never at start.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

DIMENSION = 384
HIDDEN = 128
RANK = 24
FROZEN = 2  # lower layers without adapters
SCALE = 2.0  # of what the adapters add
MET, NOT_MET, CONTRADICTED = 0, 1, 2
ADAPTED = ("query", "key", "value", "dense")


class Adapted(nn.Module):
    """A linear layer that stays as it is, plus a product of two thin matrices that is learnt."""

    def __init__(self, base: nn.Linear, rank: int = RANK) -> None:
        super().__init__()
        self.base = base
        base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / rank)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.base(x) + SCALE * (x @ self.down.T) @ self.up.T
        return found

    def merged(self) -> nn.Linear:
        """The same function as one linear layer: nothing is slower for having been adapted."""
        with torch.no_grad():
            self.base.weight += SCALE * self.up @ self.down
        return self.base


class PairNetwork(nn.Module):
    """`backbone` is a BERT of 384 dimensions; it is adapted in place."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.backbone.requires_grad_(False)
        for layer in backbone.encoder.layer[FROZEN:]:
            adapt(layer)
        self.classify = nn.Sequential(
            nn.Linear(5 * DIMENSION, HIDDEN), nn.GELU(), nn.Dropout(0.1), nn.Linear(HIDDEN, 3)
        )
        self.drop = nn.Dropout(0.1)

    def forward(self, ids: Tensor, mask: Tensor, kind: Tensor) -> Tensor:
        """Logits (batch, 3) in the order MET, NOT_MET, CONTRADICTED.

        `ids`, `mask`, `kind` (batch, tokens) as the tokenizer gives them for (criterion, sentence): kind is 0 in the first.
        """
        states = self.backbone(input_ids=ids, attention_mask=mask, token_type_ids=kind).last_hidden_state
        wanted = _mean(states, mask * (1 - kind))
        said = _mean(states, mask * kind)
        seen = torch.cat([states[:, 0], wanted, said, (wanted - said).abs(), wanted * said], -1)
        found: Tensor = self.classify(self.drop(seen))
        return found


def adapt(module: nn.Module) -> None:
    """Puts adapters on the linear layers of a module."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and name in ADAPTED:
            setattr(module, name, Adapted(child))
        else:
            adapt(child)


def merge(module: nn.Module) -> None:
    """Folds the adapters into the layers they are on."""
    for name, child in module.named_children():
        if isinstance(child, Adapted):
            setattr(module, name, child.merged())
        else:
            merge(child)


def _mean(states: Tensor, of: Tensor) -> Tensor:
    weights = of[..., None].to(states.dtype)
    found: Tensor = (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    return found
