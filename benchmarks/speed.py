"""How fast a full grade is, in ratios measured in one interleaved run: `python -m benchmarks.speed [--rounds N]`.

The machine may be shared and noisy, so nothing here is a test. Every round times, one after the other on the same answer,
a plain encode of the whole answer, a naive encode of its sentences and the whole in one padded batch, and a full grade;
the medians of their ratios are printed.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

from grader import Grader, load_bank
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.text import normalise, split


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    run(arguments.rounds, arguments.device)


def run(rounds: int, device: str) -> None:
    """Prints the medians over `rounds` answers; also `grader benchmark speed`."""
    loading = seconds(lambda: Grader.load(device=device).warm())
    grader = Grader.load(device=device)
    grader.warm()
    encoder = grader.encoder
    if not isinstance(encoder, SentenceTransformerEncoder):
        raise SystemExit("The benchmark needs the embedded encoder.")
    answers = [(q.id, s.answer) for q in load_bank().questions for s in q.samples if 90 <= len(s.answer.split()) <= 170]
    model = encoder.sentence_transformer
    plain, naive, full = [], [], []
    for round_number in range(rounds + 3):
        question_id, answer = answers[round_number % len(answers)]
        sentences = [segment.text for segment in split(normalise(answer))]
        one = seconds(lambda: model.encode([answer], show_progress_bar=False))  # noqa: B023
        two = seconds(lambda: model.encode([*sentences, answer], show_progress_bar=False))  # noqa: B023
        three = seconds(lambda: grader.grade(question_id, answer))  # noqa: B023
        if round_number >= 3:  # the first ones warm the caches
            plain.append(one)
            naive.append(two)
            full.append(three)
    words = statistics.mean(len(answer.split()) for _, answer in answers)
    print(f"{platform.machine()}, {encoder.device}; {rounds} answers of {words:.0f} words on average")
    print(f"load and warm up                      {loading:.1f} s")
    print(f"plain encode of the answer            {statistics.median(plain) * 1000:.1f} ms")
    print(f"full grade                            {statistics.median(full) * 1000:.1f} ms")
    print(f"full grade / plain encode             {_ratio(full, plain):.2f} (goal: at most 4)")
    print(f"full grade / naive encode of segments {_ratio(full, naive):.2f}")


def _ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    main()
