"""The entailment network: the answer's token states, attended to by each criterion, to logits of met and contradicted.

A MiniLM of its own (the upper layers retrained) reads the whole answer once; every criterion, a query made from the
vectors of its right and wrong wordings, gathers what the answer says about it by multi-head attention, and a small
network compares that with the wordings. Criteria cost next to nothing, their side is worked out beforehand. The shape
follows label-wise attention (Mullenbach et al. 2018) with queries made from text, so that it also reads criteria it was not
trained on; criteria of a bank it was trained on have a learnt share of their own on top (`own_*`).

Imports torch: loaded by `grader.judges.entailment` when there are weights, never at start.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

DIMENSION = 384  # of MiniLM's states
HEADS = 4
HIDDEN = 256
# Sentence vectors have unit length; times this, their entries are about as large as the states they are compared with.
GAIN = 8.0
CRITERION, MISCONCEPTION = 0, 1


class EntailmentNetwork(nn.Module):
    """`backbone` is a BERT of 384 dimensions; `labels` criteria and misconceptions have a learnt share of their own."""

    def __init__(self, backbone: Any, labels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.query = nn.Linear(2 * DIMENSION + 2, DIMENSION)
        self.key = nn.Linear(DIMENSION, DIMENSION)
        self.value = nn.Linear(DIMENSION, DIMENSION)
        self.right = nn.Linear(DIMENSION, DIMENSION)
        self.wrong = nn.Linear(DIMENSION, DIMENSION)
        self.compare = nn.Sequential(nn.Linear(4 * DIMENSION, HIDDEN), nn.GELU(), nn.Dropout(0.1), nn.Linear(HIDDEN, 2))
        self.drop = nn.Dropout(0.1)
        self.own_query = nn.Embedding(labels, DIMENSION)
        self.own_met = nn.Embedding(labels, DIMENSION)
        self.own_contradicted = nn.Embedding(labels, DIMENSION)
        self.own_bias = nn.Embedding(labels, 2)
        for own in self.own:
            nn.init.zeros_(own.weight)

    @property
    def own(self) -> tuple[nn.Embedding, ...]:
        """What is learnt for single criteria."""
        return self.own_query, self.own_met, self.own_contradicted, self.own_bias

    def forward(
        self, ids: Tensor, mask: Tensor, right: Tensor, wrong: Tensor, kind: Tensor, label: Tensor, own: Tensor
    ) -> Tensor:
        """Logits (batch, criteria, 2) of met and of contradicted.

        `ids`, `mask` (batch, tokens); `right`, `wrong` (batch, criteria, 384), unit vectors of the wordings; `kind`
        (batch, criteria), CRITERION or MISCONCEPTION; `label` (batch, criteria), the place of the learnt share, and `own`
        (batch, criteria, 1), 1 to use it and 0 not to.
        """
        states = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        right, wrong = right * GAIN, wrong * GAIN
        query = self.query(torch.cat([right, wrong, functional.one_hot(kind, 2).to(right.dtype)], -1))
        query = query + self.own_query(label) * own
        gathered = functional.scaled_dot_product_attention(
            self._split(query),
            self._split(self.key(states)),
            self._split(self.value(states)),
            attn_mask=mask.bool()[:, None, None, :],
        )
        said = gathered.transpose(1, 2).flatten(2)  # (batch, criteria, 384)
        logits: Tensor = self.compare(
            self.drop(torch.cat([said, said * self.right(right), said * self.wrong(wrong), right], -1))
        )
        learnt = [(said * part(label)).sum(-1) for part in (self.own_met, self.own_contradicted)]
        found: Tensor = logits + own * (torch.stack(learnt, -1) + self.own_bias(label))
        return found

    def _split(self, x: Tensor) -> Tensor:
        parts: Tensor = x.view(*x.shape[:2], HEADS, DIMENSION // HEADS).transpose(1, 2)
        return parts
