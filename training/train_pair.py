"""Trains the network for questions nobody trained on: `python -m training.train_pair --data DIR [--minutes N] [--out FILE]`.

`--data` is the folder of the public sets (docs/quality.md): general entailment (`nli_extra/`, `nli_*`), SciEntsBank,
Beetle and a quarter of SAF's questions. With them go the sentences and answers of the shipped bank, but for its questions
in `--hold-out`. Whole questions are watched and never trained on: these, and every sixth of SciEntsBank and Beetle. General
entailment comes first and thins out. Resumes from its checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.quality import measures
from benchmarks.quality.data import read_lines
from grader.bank import content_hash, load_bank
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.fitting import read_data
from grader.judges.pair import MOST_TOKENS, save_pair
from grader.judges.pair_network import CONTRADICTED, MET, NOT_MET, PairNetwork
from grader.schema import Question
from training.public import closest, for_the_network
from training.run import begin, by_length, notes, twins
from training.train_reader import DATA, as_read

Example = tuple[str, str, tuple[float, float, float]]  # criterion, text, shares of met, not met, contradicted
ONE_HOT = {
    "met": (1.0, 0.0, 0.0),
    "not_met": (0.0, 1.0, 0.0),
    "contradicted": (0.0, 0.0, 1.0),
    "partial": (0.5, 0.5, 0.0),
}
NLI = {"entailment": "met", "neutral": "not_met", "contradiction": "contradicted"}
SHORT = {"correct": "met", "incorrect": "not_met", "contradictory": "contradicted"}
# File and how many of its pairs are taken: the larger sets are much of a muchness, the one-sided ones would teach a habit.
ENTAILMENT = {
    "nli_extra/snli_dev": 9842, "nli_extra/snli_test": 9824, "nli_extra/counterfactual_train": 8330,
    "nli_extra/counterfactual_test": 2000, "nli_extra/conjnli_train": 7000, "nli_extra/breaking_nli": 2500,
    "nli_extra/dnc_function_words": 1518, "nli_extra/help_conjunction": 2500,
    "nli_negation_hossain2020/mnli": 1500, "nli_negation_hossain2020/rte": 1500, "nli_negation_hossain2020/snli": 1500,
    "nli_semantoneg/all": 3500, "nli_wikifactcheck_negated/all": 2500,
}  # fmt: skip
OWN_STATEMENT = 0.7  # share of the sentences that stand beside the criterion's statement and not one of its exemplars
OF_ANOTHER, AMONG_OTHERS = 0.25, 0.20  # share beside another criterion's statement, and among other sentences
MOSTLY_SILENT = (0.07, 0.90, 0.03)  # what a sentence says of a criterion it was not written for
RATE = 5e-4
WARM_UP = 100
REPORT_EVERY = 300.0
# Share of the steps, at the start and at the end.
SHARES = {
    "entailment": (0.60, 0.12), "scientsbank": (0.10, 0.22), "beetle": (0.08, 0.16), "saf": (0.02, 0.08),
    "sentences": (0.16, 0.34), "answers": (0.04, 0.08),
}  # fmt: skip


class Sources:
    """Endless streams of examples by name, and what is watched."""

    def __init__(self, data: Path, hold_out: list[int], source: random.Random) -> None:
        self.random = source
        self.watched: dict[str, list[tuple[Example, dict[str, Any]]]] = {}
        self.make: dict[str, Callable[[], list[Example]]] = {}
        entailment = [example for name, count in ENTAILMENT.items() for example in self._entailment(data, name, count)]
        self.make["entailment"] = lambda: entailment
        for name in ("scientsbank", "beetle"):
            self._short(data, name)
        self._saf(data)
        bank = BankSentences(hold_out, source)
        self.make |= {"sentences": bank.sentences, "answers": bank.answers}
        self.twins = bank.twins
        files = [*ENTAILMENT, "scientsbank/train", "beetle/train", "saf_v2_en/train"]
        hashes = [hashlib.sha256((data / f"{name}.jsonl").read_bytes()).hexdigest() for name in files]
        self.version = content_hash([bank.data.version, *hashes])
        mohler = list(read_lines(data / "mohler/all.jsonl"))[::6]
        self.watched["mohler"] = [((a["reference"][0], a["answer"], (0, 0, 0)), a) for a in mohler]

    def _entailment(self, data: Path, name: str, count: int) -> Iterator[Example]:
        rows = list(read_lines(data / f"{name}.jsonl"))
        for row in self.random.sample(rows, min(count, len(rows))):
            premise = row.get("premise") or row["reference"][0]
            hypothesis = row.get("hypothesis") or row["answer"]
            verdict = NLI.get(str(row["label"]))
            if verdict and premise and hypothesis:
                yield hypothesis, premise, ONE_HOT[verdict]

    def _short(self, data: Path, name: str) -> None:
        found: list[Example] = []
        aside: list[tuple[Example, dict[str, Any]]] = []
        rows = list(read_lines(data / f"{name}/train.jsonl"))
        kept = for_the_network(name, rows)
        for row, is_kept in zip(rows, kept, strict=True):
            example = (closest(row["answer"], row["reference"]), row["answer"], ONE_HOT[SHORT[row["label3"]]])
            if is_kept:
                found.append(example)
            else:
                aside.append((example, row))
        self.make[name] = lambda: found
        self.watched[name] = aside

    def _saf(self, data: Path) -> None:
        rows = list(read_lines(data / "saf_v2_en/train.jsonl"))
        found = [
            (row["reference"][0], row["answer"], (float(row["score"]), 1 - float(row["score"]), 0.0))
            for row, is_kept in zip(rows, for_the_network("saf_v2_en", rows), strict=True)
            if is_kept
        ]
        self.make["saf"] = lambda: found


class BankSentences:
    """What the shipped bank has to teach: statements of its criteria beside sentences and answers about them."""

    def __init__(self, hold_out: list[int], source: random.Random) -> None:
        self.random = source
        bank = load_bank()
        self.data = read_data(bank, DATA / bank.info.id)
        self.kept = [question for question in bank.questions if question.number not in hold_out]
        self.twins = [twin for q in bank.questions if q.number in hold_out for twin in self._twins(q)]

    def sentences(self) -> list[Example]:
        """Each sentence once, beside a wording of its own criterion or, now and then, another criterion's statement."""
        return [example for question in self.kept for example in self._sentences(question)]

    def _sentences(self, question: Question) -> Iterator[Example]:
        criteria = {criterion.id: criterion for criterion in question.criteria}
        rows = [(s.criterion, s.verdict, s.text) for s in self.data.statements[question.id] if s.criterion in criteria]
        for criterion in question.criteria:
            rows += [(criterion.id, "met", text) for text in criterion.exemplars]
            rows += [(criterion.id, "contradicted", text) for text in criterion.contradictions]
        for name, verdict, text in rows:
            wanted = criteria[name].statement
            if self.random.random() >= OWN_STATEMENT:
                wanted = self.random.choice((wanted, *criteria[name].exemplars[:4]))
            draw = self.random.random()
            if draw < OF_ANOTHER:
                other = self.random.choice([c for c in question.criteria if c.id != name])
                yield other.statement, text, MOSTLY_SILENT
                continue
            if draw < OF_ANOTHER + AMONG_OTHERS:
                together = [text, *(t for c, _, t in self.random.sample(rows, 2) if c != name)]
                self.random.shuffle(together)
                text = " ".join(t if t.rstrip()[-1:] in ".!?" else f"{t}." for t in together)
            if wanted.strip() != text.strip():
                yield wanted, text, ONE_HOT[verdict]

    def answers(self) -> list[Example]:
        """Each graded answer once, beside the statement of one criterion: often one that it contradicts."""
        found: list[Example] = []
        for question in self.kept:
            statements = {criterion.id: criterion.statement for criterion in question.criteria}
            for graded in self.data.answers[question.id]:
                if graded.set_aside:
                    continue
                wrong = [name for name, v in graded.verdicts.items() if v == "contradicted" and name in statements]
                chosen = self.random.choice(wrong if wrong and self.random.random() < 0.5 else list(statements))
                verdict = graded.verdicts.get(chosen, "not_met")
                found.append((statements[chosen], as_read(graded.answer), ONE_HOT[verdict]))
        return found

    def _twins(self, question: Question) -> Iterator[tuple[str, str, str]]:
        """Statement, true sentence and its false twin."""
        statements = {criterion.id: criterion.statement for criterion in question.criteria}
        for criterion, true, false in twins(self.data.statements[question.id]):
            if criterion in statements:
                yield statements[criterion], true, false


class Trainer:
    """One run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.random = begin(arguments)
        encoder = SentenceTransformerEncoder(device="cpu")
        self.tokenizer = encoder.tokenizer
        self.sources = Sources(Path(arguments.data), arguments.hold_out, self.random)
        self.network = PairNetwork(encoder.sentence_transformer[0].auto_model.float())
        self.streams = {name: self._batches(name) for name in self.sources.make}
        self._ids: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self.read = 0

    def ids(self, wanted: str, said: str) -> tuple[list[int], list[int]]:
        key = (wanted, said)
        if key not in self._ids:
            found = self.tokenizer(wanted, said, truncation="longest_first", max_length=MOST_TOKENS)
            self._ids[key] = (found["input_ids"], found["token_type_ids"])
        return self._ids[key]

    def _batches(self, name: str) -> Iterator[list[Example]]:
        while True:
            examples = list(self.sources.make[name]())
            self.random.shuffle(examples)
            found = by_length(examples, lambda e: len(self.ids(e[0], e[1])[0]), self.arguments.tokens, together=400)
            self.random.shuffle(found)
            yield from found

    def logits(self, batch: list[tuple[str, str]]) -> Tensor:
        rows = [self.ids(*pair) for pair in batch]
        length = max(len(ids) for ids, _ in rows)
        ids = np.zeros((len(batch), length), dtype=np.int64)
        kind = np.zeros_like(ids)
        for place, (tokens, kinds) in enumerate(rows):
            ids[place, : len(tokens)] = tokens
            kind[place, : len(kinds)] = kinds
        self.read += ids.size
        tokens_, kinds_ = torch.from_numpy(ids), torch.from_numpy(kind)
        found: Tensor = self.network(tokens_, (tokens_ != 0).long(), kinds_)
        return found

    def train(self) -> None:
        arguments = self.arguments
        learnt = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learnt, lr=RATE, weight_decay=0.01)
        checkpoint = Path(f"{arguments.out}.checkpoint")
        spent_before, step = 0.0, 0
        if checkpoint.is_file():
            stored = torch.load(checkpoint, weights_only=True)
            self.network.load_state_dict(stored["network"])
            optimizer.load_state_dict(stored["optimizer"])
            step, spent_before = int(stored["step"]), float(stored["minutes"])
            print(f"resumed at step {step}, {spent_before:.0f} minutes", flush=True)
        began = reported = time.monotonic()
        lost: dict[str, float] = {}
        while True:
            minutes = spent_before + (time.monotonic() - began) / 60
            progress = minutes / arguments.minutes
            if progress >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = RATE * arguments.rate * min(1.0, (step + 1) / WARM_UP) * max(0.02, 1 - progress)
            shares = [a + (b - a) * min(1.0, progress / 0.7) for a, b in SHARES.values()]
            name = self.random.choices(list(SHARES), shares)[0]
            batch = next(self.streams[name])
            self.network.train()
            optimizer.zero_grad()
            logits = self.logits([(e[0], e[1]) for e in batch])
            loss = functional.cross_entropy(logits, torch.tensor([e[2] for e in batch]), label_smoothing=0.03)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learnt, 1.0)
            optimizer.step()
            step += 1
            lost[name] = lost.get(name, float(loss.detach())) * 0.97 + 0.03 * float(loss.detach())
            if time.monotonic() - reported > arguments.report:
                pace = self.read / (time.monotonic() - began)
                losses = ", ".join(f"{n} {v:.2f}" for n, v in lost.items())
                print(f"{minutes:.1f} min, step {step}, {pace:.0f} tokens/s; {losses}", flush=True)
                print("   ", self.report(), flush=True)
                reported = time.monotonic()
                state = {"network": self.network.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                torch.save({**state, "minutes": minutes}, checkpoint)
        print("end:", self.report(), flush=True)
        about = notes("training.train_pair", arguments, self.sources.version)
        save_pair(Path(arguments.out), self.network, about)
        checkpoint.unlink(missing_ok=True)

    def opinions(self, pairs: list[tuple[str, str]]) -> np.ndarray[Any, Any]:
        """Probabilities, shape (pairs, 3)."""
        self.network.eval()
        order = sorted(range(len(pairs)), key=lambda i: len(self.ids(*pairs[i])[0]))
        found = np.zeros((len(pairs), 3))
        with torch.inference_mode():
            for first in range(0, len(order), 32):
                chosen = order[first : first + 32]
                found[chosen] = torch.softmax(self.logits([pairs[i] for i in chosen]), -1).numpy()
        return found

    def report(self) -> str:
        parts = []
        for name, rows in self.sources.watched.items():
            rows = rows[:: max(1, len(rows) // 400)]
            found = self.opinions([(e[0], e[1]) for e, _ in rows])
            if name == "mohler":
                r = measures.pearson(found[:, MET], np.array([float(a["score"]) for _, a in rows]))
                parts.append(f"mohler r {r:.3f}")
                continue
            wanted = np.array([int(np.argmax(e[2])) for e, _ in rows])
            f1 = measures.macro_f1(found.argmax(1).astype(float), wanted.astype(float))
            margin = found[:, MET] - found[:, CONTRADICTED]
            auc = measures.area_under_curve(margin[wanted == MET], margin[wanted == CONTRADICTED])
            two = measures.area_under_curve(found[wanted == MET, MET], found[wanted == NOT_MET, MET])
            parts.append(f"{name} F1 {f1:.3f} AUC {auc:.3f} met/not {two:.3f}")
        twins = self.sources.twins[::3]
        found = self.opinions([(w, t) for w, a, b in twins for t in (a, b)])
        margin = found[:, MET] - found[:, CONTRADICTED]
        parts.append(f"twins {np.mean(margin[0::2] > margin[1::2]):.3f} of {len(twins)}")
        return "; ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", default="pair.safetensors")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--report", type=float, default=REPORT_EVERY)
    parser.add_argument("--hold-out", type=int, nargs="*", default=[4, 8, 12, 16, 20])
    Trainer(parser.parse_args()).train()


if __name__ == "__main__":
    main()
