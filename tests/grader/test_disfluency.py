"""Hesitation goes, meaning stays."""

from __future__ import annotations

import pytest

from grader.disfluency import without_disfluencies
from grader.text import normalise, split


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("Um, so uh it adds up.", "so it adds up."),
        ("So, um, the gradients, you know, add up.", "So, the gradients, add up."),
        ("Okay so the agent, it acts.", "the agent, it acts."),
        ("Well, you clear it, right, in every step, yeah.", "you clear it, in every step."),
        ("you you write that yourself", "you write that yourself"),
        ("it, it simply gives you a tensor", "it simply gives you a tensor"),
        ("it kind of adds you know to the old ones", "it adds to the old ones"),
        ("Then it, um, uses the averages.", "Then it, uses the averages."),
    ],
)
def test_what_a_speaker_says_while_thinking_is_left_out(spoken: str, written: str) -> None:
    assert without_disfluencies(spoken) == written


@pytest.mark.parametrize(
    "sentence",
    [
        "If you know the shape, you can pass it.",
        "It is a kind of optimizer, and the same sort of thing as SGD.",
        "Optimizers like SGD, Adam and RMSprop move the weights.",
        "That is what I mean by a leaf.",
        "Actually, backward() overwrites it.",
        "The right side, the left side.",
        "It is not so, well-known as it is.",
        "Err on the side of clipping; umbrella terms and ohms stay.",
        "The mean of the values is 0 0 1.",
        "Now the graph is freed.",
        "So the gradient is zero.",
        "loss.backward() backward hooks",
    ],
)
def test_what_could_carry_meaning_stays(sentence: str) -> None:
    assert without_disfluencies(sentence) == sentence


@pytest.mark.parametrize("sentence", ["Um.", "uh, um", "You know, like, yeah."])
def test_a_sentence_of_nothing_else_is_left_as_it_is(sentence: str) -> None:
    assert without_disfluencies(sentence)


def test_what_is_quoted_is_what_was_said() -> None:
    answer = "So, um, the gradients, you know, add up. Then you clear them."
    normalised = normalise(answer)
    first, second = split(normalised)
    assert first.text == "So, the gradients, add up."
    assert normalised.span(first.start, first.end).text == "So, um, the gradients, you know, add up."
    assert second.text == "Then you clear them."


def test_code_is_not_speech() -> None:
    (segment,) = split(normalise("um = like(x, x)  # um, the mean"))
    assert segment.kind == "code"
    assert segment.text == "um = like(x, x) # um, the mean"
