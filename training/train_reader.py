"""Trains the entailment network on a bank's data: `python -m training.train_reader [--epochs N] [--out FILE]`.

Every epoch sees each graded answer once and each sentence of the rubric and of `statements/` once, alone or among up to
five others of its question: such mixes have exact labels, and teach that one right sentence does not excuse a wrong one. Into
some of both go sentences that say nothing or speak of another subject (`asides.txt`): they must not change what is found, and
alone they are worth nothing. In a quarter of the places the learnt share of a criterion is left out, so that the network
also reads criteria it does not know.
Resumes from its checkpoint. One thread reads about 1,500 tokens a second on a desktop core; an epoch has about 480,000.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from grader.bank import Bank, load_bank
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.fitting import Statement, TrainingData, read_data
from grader.judges.entailment import Labels, bank_labels, restore, save_reader
from grader.judges.network import EntailmentNetwork
from grader.schema import Question
from grader.text import normalise, split
from training.run import begin, by_length, notes, twins

DATA = Path(__file__).parent / "data"
# (met, contradicted) for a verdict: part of an idea is half of it.
TARGETS = {"met": (1.0, 0.0), "partial": (0.5, 0.0), "not_met": (0.0, 0.0), "contradicted": (0.0, 1.0)}
ALONE = 0.35  # share of the sentences that are read by themselves
MOST_TOGETHER = 6
WITH_ASIDES, MOST_ASIDES = 0.35, 3  # share of the texts with sentences about nothing among them, and how many at most
ONLY_ASIDES = 8  # texts a question that hold nothing else
SILENT_WEIGHT = 0.3  # of criteria a sentence was not written about: it may touch them all the same
OWN_DROPPED = 0.25  # share of places without the learnt share
LEARNING_RATES = {"backbone": 1e-4, "head": 5e-4, "own": 3e-3}
TWINS, TWINS_EVERY = 32, 2  # pairs, and steps between them
WARM_UP = 100  # steps
REPORT_EVERY = 420.0  # seconds


@dataclass(frozen=True)
class Example:
    """A text and, per label of its question, the target and its weight."""

    question: str
    text: str
    targets: dict[int, tuple[float, float, float]]
    score: float = 0.0


def as_read(answer: str) -> str:
    """The words of an answer as the grader hands them to the network."""
    return " ".join(sentences_of(answer))


def sentences_of(answer: str) -> list[str]:
    """An answer's sentences, as the grader cuts them."""
    return [segment.text for segment in split(normalise(answer))]


class Examples:
    """All there is to learn from, by question; `set_aside` answers and held-out questions are kept apart."""

    def __init__(self, bank: Bank, data: TrainingData, labels: Labels, held_out: frozenset[str]) -> None:
        self.labels = labels
        self.asides = [sentences_of(text) for text in data.asides]
        self.answers: list[Example] = []
        self.set_aside: list[Example] = []
        self.sentences: dict[str, list[tuple[int, str, str]]] = {}
        self.twins: list[tuple[Example, Example]] = []  # true and false
        for question in bank.questions:
            for graded in data.answers[question.id]:
                targets = {}
                for criterion in question.criteria:
                    verdict = graded.verdicts.get(criterion.id, "not_met")
                    targets[labels.of(question.id, criterion.id)] = (*TARGETS[verdict], 1.0)
                for misconception in question.misconceptions if graded.misconceptions is not None else ():
                    held = misconception.id in (graded.misconceptions or ())
                    targets[labels.of(question.id, misconception.id)] = (float(held), 0.0, 1.0)
                example = Example(question.id, as_read(graded.answer), targets, graded.score)
                if question.id in held_out:
                    self.set_aside.append(example)
                else:
                    (self.set_aside if graded.set_aside else self.answers).append(example)
            if question.id in held_out:
                continue
            self._sentences(question, data.statements[question.id])

    def _sentences(self, question: Question, statements: Sequence[Statement]) -> None:
        """Takes in the sentences of a rubric and those written for it, and which of them are twins."""
        labels, found = self.labels, self.sentences.setdefault(question.id, [])
        for criterion in question.criteria:
            place = labels.of(question.id, criterion.id)
            found += [(place, "met", text) for text in (criterion.statement, *criterion.exemplars)]
            found += [(place, "contradicted", text) for text in criterion.contradictions]
        for misconception in question.misconceptions:
            place = labels.of(question.id, misconception.id)
            found += [(place, "met", text) for text in (misconception.statement, *misconception.exemplars)]
            found.append((place, "contradicted", misconception.correction))
        for statement in statements:
            place = labels.of(question.id, statement.criterion)
            found.append((place, statement.verdict, statement.text))
        for criterion_id, true, false in twins(statements):
            place = labels.of(question.id, criterion_id)
            self.twins.append(
                (
                    Example(question.id, true, {place: (1.0, 0.0, 1.0)}),
                    Example(question.id, false, {place: (0.0, 1.0, 1.0)}),
                )
            )

    def epoch(self, source: random.Random) -> list[Example]:
        """Each answer and each sentence once."""
        found = [replace(one, text=self._with_asides(sentences_of(one.text), source)) for one in self.answers]
        for question, sentences in self.sentences.items():
            order = source.sample(sentences, len(sentences))
            while order:
                size = 1 if source.random() < ALONE else source.randint(2, MOST_TOGETHER)
                found.append(self._mix(question, order[:size], source))
                order = order[size:]
            nothing = dict.fromkeys(self.labels.places[question], (0.0, 0.0, 1.0))
            only = [self._aside(source) for _ in range(ONLY_ASIDES)] if self.asides else []
            found += [Example(question, " ".join(texts), nothing) for texts in only]
        return found

    def _with_asides(self, texts: list[str], source: random.Random) -> str:
        """The sentences as one text; now and then with some among them that have nothing to do with the question."""
        if self.asides and source.random() < WITH_ASIDES:
            for text in self._aside(source)[:MOST_ASIDES]:
                texts.insert(source.randint(0, len(texts)), text)
        return " ".join(texts)

    def _aside(self, source: random.Random) -> list[str]:
        """One or two of the texts about nothing, sentence by sentence."""
        return [sentence for text in source.sample(self.asides, source.randint(1, 2)) for sentence in text]

    def _mix(self, question: str, sentences: list[tuple[int, str, str]], source: random.Random) -> Example:
        said: dict[int, str] = {}
        texts = []
        for place, verdict, text in sentences:
            if said.setdefault(place, verdict) == verdict:  # what contradicts itself has no label
                texts.append(text if text.rstrip()[-1:] in ".!?:;" else f"{text}.")
        targets = dict.fromkeys(self.labels.places[question], (0.0, 0.0, SILENT_WEIGHT))
        targets |= {place: (*TARGETS[verdict], 1.0) for place, verdict in said.items()}
        return Example(question, self._with_asides(texts, source), targets)


class Trainer:
    """One run: what is learnt, from what, and how far it has come."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.random = begin(arguments)
        bank = load_bank()
        encoder = SentenceTransformerEncoder(device="cpu")
        self.labels = bank_labels(bank, encoder)
        self.data = read_data(bank, DATA / bank.info.id)
        held_out = frozenset(q.id for q in bank.questions if q.number in arguments.hold_out)
        self.examples = Examples(bank, self.data, self.labels, held_out)
        self.held_out = held_out
        self.points = {q.id: np.array([c.points for c in q.criteria]) for q in bank.questions}
        self.tokenizer = encoder.tokenizer
        self.network = EntailmentNetwork(encoder.sentence_transformer[0].auto_model.float(), len(self.labels.right))
        if arguments.start:
            restore(self.network, load_file(arguments.start), arguments.freeze)
        frozen = [self.network.backbone.embeddings, *self.network.backbone.encoder.layer[: arguments.freeze]]
        for part in frozen:
            part.requires_grad_(False)
        self._tokens: dict[str, list[int]] = {}
        self.device = torch.device(arguments.device)
        self.network.to(self.device)
        self.vectors = {
            "right": torch.tensor(self.labels.right, device=self.device),
            "wrong": torch.tensor(self.labels.wrong, device=self.device),
            "kind": torch.tensor(self.labels.kind, device=self.device),
        }

    def batches(self, examples: list[Example]) -> Iterator[list[Example]]:
        """Of like length, within the token budget, in random order."""
        shuffled = self.random.sample(examples, len(examples))
        found = by_length(shuffled, lambda e: len(self._ids(e.text)), self.arguments.tokens, together=600)
        yield from self.random.sample(found, len(found))

    def logits(self, batch: list[Example], own: float) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, targets (batch, labels, 2) and their weights; `own` is the share of places with a learnt share."""
        length = max(len(self._ids(e.text)) for e in batch)
        width = max(len(self.labels.places[e.question]) for e in batch)
        ids = np.zeros((len(batch), length), dtype=np.int64)
        label = np.zeros((len(batch), width), dtype=np.int64)
        targets = np.zeros((len(batch), width, 3), dtype=np.float32)
        for row, example in enumerate(batch):
            tokens, places = self._ids(example.text), self.labels.places[example.question]
            ids[row, : len(tokens)] = tokens
            label[row, : len(places)] = places
            for column, place in enumerate(places):
                targets[row, column] = example.targets.get(place, (0.0, 0.0, 0.0))
        known = np.array([[float(e.question not in self.held_out)] for e in batch], dtype=np.float32)
        used = torch.rand(label.shape) < own if own < 1 else torch.ones(label.shape, dtype=torch.bool)
        place, aim = torch.tensor(label, device=self.device), torch.tensor(targets, device=self.device)
        tokens = torch.tensor(ids, device=self.device)
        logits = self.network(
            tokens,
            (tokens != 0).long(),
            self.vectors["right"][place],
            self.vectors["wrong"][place],
            self.vectors["kind"][place],
            place,
            (used * torch.tensor(known))[..., None].to(self.device),
        )
        return logits, aim[..., :2], aim[..., 2]

    def train(self) -> None:
        arguments = self.arguments
        groups = {
            "backbone": [p for p in self.network.backbone.parameters() if p.requires_grad],
            "own": [p for part in self.network.own for p in part.parameters()],
        }
        known = {id(p) for p in (*groups["own"], *self.network.backbone.parameters())}
        groups["head"] = [p for p in self.network.parameters() if id(p) not in known]
        optimizer = torch.optim.AdamW(
            [
                {
                    "params": part,
                    "lr": LEARNING_RATES[name],
                    "weight_decay": 0.0 if name == "own" else 0.01,
                    "name": name,
                }
                for name, part in groups.items()
            ]
        )
        step, checkpoint = 0, Path(f"{arguments.out}.checkpoint")
        if checkpoint.is_file():
            stored = torch.load(checkpoint, weights_only=True)
            self.network.load_state_dict(stored["network"])
            optimizer.load_state_dict(stored["optimizer"])
            step = int(stored["step"])
            print(f"resumed at step {step}", flush=True)
        an_epoch = len(list(self.batches(self.examples.epoch(self.random))))
        total = round(an_epoch * arguments.epochs)
        print(f"{total} steps, {an_epoch} an epoch; data {self.data.version}", flush=True)
        began = reported = time.monotonic()
        first, lost = step, 0.0
        while step < total:
            for batch in self.batches(self.examples.epoch(self.random)):
                spent = (time.monotonic() - began) / 60 / arguments.minutes
                progress = max(step / total, spent)
                if progress >= 1:
                    step = total
                    break
                for group in optimizer.param_groups:
                    rate = LEARNING_RATES[group["name"]] * arguments.rate
                    group["lr"] = rate * min(1.0, (step + 1) / WARM_UP) * max(0.02, 1 - progress)
                self.network.train()
                optimizer.zero_grad()
                loss = self._loss(batch)
                (loss * len(batch) / 16).backward()
                if step % TWINS_EVERY == 0:
                    self._twin_loss(self.random.sample(self.examples.twins, TWINS)).backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
                optimizer.step()
                step += 1
                lost += 0.02 * (float(loss.detach()) - lost)
                if time.monotonic() - reported > REPORT_EVERY:
                    reported = time.monotonic()
                    pace = (step - first) / (reported - began) * 60
                    print(f"step {step}, {pace:.0f} a minute, loss {lost:.3f}; {self.report()}", flush=True)
                    state = {"network": self.network.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                    torch.save(state, checkpoint)
        print(f"end: {self.report()}", flush=True)
        about = notes("training.train_reader", arguments, self.data.version)
        save_reader(Path(arguments.out), self.network, self.labels, arguments.freeze, about)
        checkpoint.unlink(missing_ok=True)

    def _loss(self, batch: list[Example]) -> Tensor:
        logits, targets, weights = self.logits(batch, 1 - OWN_DROPPED)
        losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)
        return (losses * weights).sum() / weights.sum()

    def _twin_loss(self, pairs: list[tuple[Example, Example]]) -> Tensor:
        """How much less a true sentence is believed than its false twin: logistic loss of the difference."""
        logits, _, weights = self.logits([one for pair in pairs for one in pair], 1 - OWN_DROPPED)
        belief = ((logits[..., 0] - logits[..., 1]) * weights).sum(1)  # one label an example has weight
        return functional.softplus(belief[1::2] - belief[0::2]).mean()

    def report(self) -> str:
        """Agreement of a plain sum of points with the experts on the answers set aside."""
        self.network.eval()
        found = []
        with torch.inference_mode():
            for example in self.examples.set_aside:
                logits, _, _ = self.logits([example], 1.0)
                odds: NDArray[Any] = torch.sigmoid(logits[0].float()).cpu().numpy()
                points = self.points[example.question]
                credit = (odds[: len(points), 0] * (1 - odds[: len(points), 1]) * points).sum()
                found.append(credit - 8 * odds[len(points) :, 0].sum())
        given = np.array([example.score for example in self.examples.set_aside])
        line = np.clip(np.poly1d(np.polyfit(found, given, 1))(found), 0, 100)
        return f"set aside: Spearman {spearmanr(found, given)[0]:.3f}, error {np.abs(line - given).mean():.1f}"

    def _ids(self, text: str) -> list[int]:
        if text not in self._tokens:
            self._tokens[text] = self.tokenizer(text, truncation=True, max_length=256)["input_ids"]
        return self._tokens[text]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", default="reader.safetensors")
    parser.add_argument("--epochs", type=float, default=12)
    parser.add_argument("--minutes", type=float, default=600, help="stop by then, whatever the epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="a second one gains next to nothing")
    parser.add_argument("--tokens", type=int, default=1600, help="of a batch, padding included")
    parser.add_argument("--freeze", type=int, default=2, help="lower layers that stay as they are")
    parser.add_argument("--rate", type=float, default=1.0, help="times the learning rates")
    parser.add_argument("--start", default="", help="the file of an earlier run to go on from")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--hold-out", type=int, nargs="*", default=[], help="numbers of questions to keep unseen")
    Trainer(parser.parse_args()).train()


if __name__ == "__main__":
    main()
