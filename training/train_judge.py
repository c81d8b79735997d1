"""Trains the entailment judge: `python -m training.train_judge --stage general|bank ...`.

`general` starts from the embedded MiniLM and learns entailment and short-answer grading from public sets (`--data DIR`).
`bank` goes on from a checkpoint with a bank's own data. Both are resumable: a checkpoint is written every few minutes and
a run goes on from it. The cost and the figures are in training/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from grader.bank import load_bank
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.judges.reader import Reader
from training.judge_data import (
    DATA,
    Example,
    GradedAnswer,
    answer_example,
    graded_answers,
    mixed_examples,
    public_examples,
    sayings,
    statement_examples,
)

MAX_ANSWER_TOKENS = 256
MAX_STATEMENT_TOKENS = 64
# Answer tokens plus statement tokens with padding in one step; memory and speed on two cores.
TOKENS_PER_STEP = 4000
LABEL_SMOOTHING = 0.05
CHECKPOINT_SECONDS = 240


class Batcher:
    """Examples to padded tensors, grouped by length so that little is padded."""

    def __init__(self, tokenizer: object, seed: int) -> None:
        self.tokenizer = tokenizer
        self.random = random.Random(seed)
        self._kept: dict[tuple[str, int], list[int]] = {}

    def ids(self, text: str, limit: int) -> list[int]:
        """Token ids with the special ones, cut at `limit`; kept for the next epoch."""
        key = (text, limit)
        if key not in self._kept:
            self._kept[key] = self.tokenizer(text, truncation=True, max_length=limit)["input_ids"]  # type: ignore[operator]
        return self._kept[key]

    def steps(self, examples: list[Example]) -> Iterator[list[Example]]:
        """Batches in random order, each of similar lengths and within TOKENS_PER_STEP."""
        order = sorted(examples, key=self._shape)
        batches: list[list[Example]] = []
        current: list[Example] = []
        size = 0
        for example in order:
            answer = len(self.ids(example.answer, MAX_ANSWER_TOKENS))
            cost = answer + sum(len(self.ids(s, MAX_STATEMENT_TOKENS)) for s, _ in example.pairs)
            if current and size + cost > TOKENS_PER_STEP:
                batches.append(current)
                current, size = [], 0
            current.append(example)
            size += cost
        if current:
            batches.append(current)
        self.random.shuffle(batches)
        yield from batches

    def _shape(self, example: Example) -> tuple[int, int, float]:
        """Examples next to each other need little padding: longest statement (in eights), then length of the answer."""
        longest = max(len(self.ids(s, MAX_STATEMENT_TOKENS)) for s, _ in example.pairs)
        return longest // 8, len(self.ids(example.answer, MAX_ANSWER_TOKENS)), self.random.random()

    def tensors(self, batch: list[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Answer ids and mask, statement ids and mask, owner of each statement, labels."""
        answers = [self.ids(example.answer, MAX_ANSWER_TOKENS) for example in batch]
        pairs = [(row, self.ids(s, MAX_STATEMENT_TOKENS), label) for row, e in enumerate(batch) for s, label in e.pairs]
        ids, mask = pad(answers)
        c_ids, c_mask = pad([p[1] for p in pairs])
        return ids, mask, c_ids, c_mask, torch.tensor([p[0] for p in pairs]), torch.tensor([p[2] for p in pairs])


def pad(sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids padded with 0 and a mask that is True at tokens; both (rows, longest)."""
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return ids, torch.arange(longest)[None, :] < lengths[:, None]


def new_reader(joint_from: int) -> tuple[Reader, object]:
    """A reader with the embedded MiniLM's weights, and its tokenizer."""
    encoder = SentenceTransformerEncoder(device="cpu")
    reader = Reader.from_bert(encoder.bert(), joint_from)
    tokenizer = encoder.tokenizer
    tokenizer.model_max_length = 100_000
    return reader, tokenizer


def bank_examples(
    held_out: set[str], dev: set[tuple[str, str]], seed: int, mixes: int, bank_path: Path | None
) -> list[Example]:
    """One epoch of a bank's data without the held-out questions and the answers set aside."""
    bank = load_bank(bank_path)
    folder = DATA / bank.info.id
    chance = random.Random(seed)
    found: list[Example] = []
    for question in bank.questions:
        if question.id in held_out:
            continue
        said = sayings(question, folder)
        found += statement_examples(question, said, chance)
        found += mixed_examples(question, said, chance, mixes)
    found += [
        answer_example(graded)
        for graded in graded_answers(bank)
        if graded.question.id not in held_out and (graded.question.id, graded.id) not in dev
    ]
    return found


def is_dev(graded: GradedAnswer) -> bool:
    """Every sixth answer of a question, spread over qualities by a hash of its id, is set aside for choosing models."""
    digest = hashlib.sha256(f"{graded.question.id}/{graded.id}".encode()).digest()
    return digest[0] % 6 == 0


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    reader, tokenizer = new_reader(arguments.joint_from)
    if arguments.start:
        reader.load_state_dict(torch.load(arguments.start, weights_only=True)["reader"])
    reader.words.weight.requires_grad_(False)
    reader.positions.weight.requires_grad_(False)
    decay = [p for n, p in reader.named_parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for n, p in reader.named_parameters() if p.requires_grad and p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=arguments.lr,
        betas=(0.9, 0.98),
    )
    batcher = Batcher(tokenizer, arguments.seed)
    weights = torch.tensor(arguments.class_weights)
    begun, trained = time.monotonic(), 0.0
    step, epoch = 0, 0
    if arguments.output.is_file() and arguments.resume:
        state = torch.load(arguments.output, weights_only=True)
        reader.load_state_dict(state["reader"])
        optimizer.load_state_dict(state["optimizer"])
        step, epoch, trained = state["step"], state["epoch"], state["seconds"]
    limit = arguments.minutes * 60
    saved = time.monotonic()
    loss_mean, right, seen = 0.0, 0, 0
    while trained + time.monotonic() - begun < limit:
        examples = make(arguments, epoch)
        for batch in batcher.steps(examples):
            spent = trained + time.monotonic() - begun
            if spent >= limit:
                break
            rate = schedule(spent / limit)
            for group in optimizer.param_groups:
                group["lr"] = arguments.lr * rate
            *inputs, labels = batcher.tensors(batch)
            reader.train()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.bf16):
                logits = reader(*inputs)
            loss = functional.cross_entropy(logits.float(), labels, weights, label_smoothing=LABEL_SMOOTHING)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*decay, *plain], 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            loss_mean = 0.98 * loss_mean + 0.02 * loss.item()
            right += int((logits.argmax(1) == labels).sum())
            seen += len(labels)
            if step % 50 == 0:
                bias = 1 - math.pow(0.98, step)
                share, loss_now = right / seen, loss_mean / bias
                print(
                    f"{spent / 60:5.1f} min epoch {epoch} step {step} loss {loss_now:.3f} right {share:.3f}", flush=True
                )
                right, seen = 0, 0
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save(arguments.output, reader, optimizer, step, epoch, trained + time.monotonic() - begun)
                saved = time.monotonic()
        epoch += 1
    save(arguments.output, reader, optimizer, step, epoch, trained + time.monotonic() - begun)


def make(arguments: argparse.Namespace, epoch: int) -> list[Example]:
    """The examples of one epoch; random choices differ from epoch to epoch."""
    seed = arguments.seed * 1000 + epoch
    chance = random.Random(seed)
    if arguments.stage == "general":
        return public_examples(arguments.data, chance)
    held_out = set(arguments.hold_out)
    dev = {(g.question.id, g.id) for g in graded_answers(load_bank(arguments.bank)) if is_dev(g)}
    found = bank_examples(held_out, set() if arguments.all else dev, seed, arguments.mixes, arguments.bank)
    if arguments.data:
        general = public_examples(arguments.data, chance)
        found += chance.sample(general, min(len(general), arguments.replay))
    return found


def schedule(share: float) -> float:
    """Learning rate over the time of the run: up for 5 %, then down by a cosine to 2 %."""
    if share < 0.05:
        return share / 0.05
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (share - 0.05) / 0.95)))


def save(path: Path, reader: Reader, optimizer: torch.optim.Optimizer, step: int, epoch: int, seconds: float) -> None:
    """Writes a checkpoint atomically."""
    part = path.with_suffix(".part")
    state = {
        "reader": reader.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "epoch": epoch,
        "seconds": seconds,
    }
    torch.save(state, part)
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--stage", choices=("general", "bank"), required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="checkpoint to start from")
    parser.add_argument("--resume", action="store_true", help="go on from --output when it is there")
    parser.add_argument("--data", type=Path, help="folder of the public sets")
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--hold-out", nargs="*", default=[], help="ids of questions to leave out")
    parser.add_argument("--all", action="store_true", help="train on the answers set aside as well")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--joint-from", type=int, default=2)
    parser.add_argument("--mixes", type=int, default=60)
    parser.add_argument("--replay", type=int, default=4000)
    parser.add_argument("--class-weights", type=float, nargs=4, default=[1.0, 1.0, 1.0, 1.0])
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=False)
    arguments = parser.parse_args()
    print(json.dumps({k: str(v) for k, v in vars(arguments).items()}))
    train(arguments)


if __name__ == "__main__":
    main()
