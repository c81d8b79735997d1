"""The bank that ships keeps its own promises: 21 questions, each with all that the format can hold."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from grader import Question, load_bank

PROMPTS = {
    1: (
        "pytorch-vs-tensorflow",
        "What is PyTorch and how does it differ from other deep learning frameworks like TensorFlow?",
    ),
    2: ("tensors", "Explain the concept of Tensors in PyTorch."),
    3: ("tensor-vs-variable", "In PyTorch, what is the difference between a Tensor and a Variable?"),
    4: ("grad-attribute", "What is the purpose of the .grad attribute in PyTorch Tensors?"),
    5: ("cuda", "Explain what CUDA is and how it relates to PyTorch."),
    6: ("autograd", "How does automatic differentiation work in PyTorch using Autograd?"),
    7: ("building-a-model", "Describe the steps for creating a neural network model in PyTorch."),
    8: (
        "sequential-vs-module",
        "What is a Sequential model in PyTorch, and how does it differ from using the Module class?",
    ),
    9: ("forward-method", "What is the role of the forward method in a PyTorch Module?"),
    10: ("optimizers", "In PyTorch, what are optimizers, and how do you use them?"),
    11: ("zero-grad", "What is the purpose of zero_grad() in PyTorch, and when is it used?"),
    12: ("backpropagation", "Describe the process of backpropagation in PyTorch."),
    13: ("gradient-clipping", "Explain how gradient clipping works in PyTorch and why it may be necessary."),
    14: ("batch-normalization", "Explain batch normalization and its effects on training convergence."),
    15: ("weight-initialization", "How does PyTorch handle weight initialization for neural networks?"),
    16: (
        "training-issues",
        "What are some common issues you may encounter when training models in PyTorch, and how do you troubleshoot them?",
    ),
    17: ("torchvision-transforms", "What is the use of transforms in PyTorch's torchvision package?"),
    18: (
        "torchscript",
        "What is PyTorch's TorchScript, and how does it aid in deploying PyTorch models in production environments?",
    ),
    19: ("quantization", 'Explain the concept of "model quantization" in PyTorch and when it is useful.'),
    20: (
        "reinforcement-learning",
        "What is the role of PyTorch in reinforcement learning research, and can you provide an example?",
    ),
    21: (
        "community-experience",
        "Describe your experience contributing to PyTorch's open-source community or using community-created tools.",
    ),
}
KINDS = {
    "excellent_short", "excellent_long", "good", "partial", "weak", "confidently_wrong", "keyword_list", "off_topic",
    "jargon_free", "code",
}  # fmt: skip
BANK = load_bank()
each_question = pytest.mark.parametrize("question", BANK.questions, ids=lambda question: question.id)


def test_the_21_questions_are_there() -> None:
    assert {q.number: (q.id, q.prompt) for q in BANK.questions} == PROMPTS


@each_question
def test_a_question_is_complete(question: Question) -> None:
    assert question.sources and question.tags
    assert len(question.reference_answers) >= 2
    lengths = sorted(len(text.split()) for text in question.reference_answers)
    assert lengths[0] <= 130 and lengths[-1] >= 180
    assert 6 <= len(question.criteria) <= 10
    for criterion in question.criteria:
        assert len(criterion.exemplars) >= 4 and len(criterion.contradictions) >= 3 and criterion.hint, criterion.id
    assert len(question.misconceptions) >= 3
    assert all(misconception.exemplars and misconception.penalty > 0 for misconception in question.misconceptions)


@each_question
def test_a_question_has_samples_of_every_kind(question: Question) -> None:
    assert len(question.samples) >= 10
    assert {sample.kind for sample in question.samples} >= KINDS


@each_question
def test_no_sample_repeats_the_rubric(question: Question) -> None:
    wordings = {
        t for c in question.criteria for t in (c.statement, *c.exemplars, *c.contradictions) if len(t.split()) >= 6
    }
    copied = [(s.id, t) for s in question.samples for t in wordings if t.lower() in " ".join(s.answer.lower().split())]
    assert copied == []


@each_question
def test_hints_do_not_give_the_statement_away(question: Question) -> None:
    for criterion in question.criteria:
        assert criterion.hint is not None
        assert criterion.statement.lower() not in criterion.hint.lower()


def test_length_does_not_predict_the_score() -> None:
    lengths = [float(len(sample.answer.split())) for question in BANK.questions for sample in question.samples]
    middles = [sum(sample.score) / 2 for question in BANK.questions for sample in question.samples]
    assert abs(float(np.corrcoef(lengths, middles)[0, 1])) < 0.3


def test_open_questions_have_groups_and_the_last_one_asks_for_experience() -> None:
    assert BANK.question("training-issues").groups and BANK.question("reinforcement-learning").groups
    assert not BANK.question("community-experience").uses_similarity
    assert Counter(question.kind for question in BANK.questions)["experience"] == 1
