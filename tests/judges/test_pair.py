"""The pair network: what ships, for questions that have one wording a criterion."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from grader.encoders.hashing import HashingEncoder
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import EncoderError
from grader.judges.pair import FILE, PairReader, load_pair, save_pair
from grader.judges.pair_network import FROZEN, Adapted, PairNetwork, merge
from grader.pipeline import Grader
from grader.schema import InlineCriterion, InlineQuestion

SKY = InlineQuestion(
    prompt="Why is the sky blue?",
    reference_answers=("Air molecules scatter sunlight. Blue light is scattered far more strongly than red light.",),
)
RIGHT = "The molecules of the air scatter the light of the sun, and blue is scattered much more than red."
ELSEWHERE = "A queue is first in, first out; a stack hands back the newest item first."


@pytest.fixture(scope="module")
def encoder(real_grader: Grader) -> SentenceTransformerEncoder:
    assert isinstance(real_grader.encoder, SentenceTransformerEncoder)
    return real_grader.encoder


@pytest.fixture(scope="module")
def reader(encoder: SentenceTransformerEncoder) -> PairReader:
    found = load_pair(encoder)
    assert found is not None
    return found


def test_what_says_the_same_meets_more_than_what_says_something_else(reader: PairReader) -> None:
    statement = "A circuit with a gap in it carries no current."
    said = [statement, "If there is a gap the current does not flow.", "Copper is heavier than aluminium."]
    met = reader.read([(statement, text) for text in said])[:, 0]
    assert met[0] > met[2]
    assert met[1] > met[2]


def test_pairs_are_read_alike_whatever_is_read_beside_them(reader: PairReader) -> None:
    pairs = [("Water boils at 100 °C.", "It boils at a hundred degrees."), ("Ice floats.", "word " * 400)]
    together, alone = reader.read(pairs), np.concatenate([reader.read([pair]) for pair in pairs])
    assert together.shape == (2, 2)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.array_equal(together, reader.read(pairs))
    assert reader.read([]).shape == (0, 2)


def test_folding_the_adapters_in_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = Adapted(nn.Linear(8, 4))
    x = torch.randn(3, 8)
    torch.testing.assert_close(layer(x), layer.base(x))  # nothing learnt yet
    nn.init.normal_(layer.up)
    before = layer(x)
    holder = nn.Sequential(layer)
    merge(holder)
    assert isinstance(holder[0], nn.Linear)
    torch.testing.assert_close(holder(x), before)


def test_a_file_holds_what_was_learnt(encoder: SentenceTransformerEncoder, tmp_path: Path) -> None:
    network = PairNetwork(encoder.backbone(FROZEN)).eval()
    save_pair(tmp_path / "pair.safetensors", network, {"seed": "0"})
    assert (tmp_path / "pair.safetensors").stat().st_size < 2_000_000
    loaded = load_pair(encoder, tmp_path / "pair.safetensors")
    assert loaded is not None
    tokens = encoder.tokenizer(["Ice floats."], ["Ice does float."], return_tensors="pt")
    with torch.inference_mode():
        logits = network(tokens["input_ids"], tokens["attention_mask"], tokens["token_type_ids"])[0].double()
    expected = [float(logits[k] - torch.logsumexp(logits[[c for c in range(3) if c != k]], 0)) for k in (0, 2)]
    np.testing.assert_allclose(
        loaded.read([("Ice floats.", "Ice does float.")])[0], expected, atol=0.02
    )  # half precision


def test_networks_made_from_an_encoder_leave_it_as_it_is(encoder: SentenceTransformerEncoder) -> None:
    before = encoder.encode(["Ice floats."])
    network = PairNetwork(encoder.backbone(FROZEN))
    model = encoder.sentence_transformer[0].auto_model
    assert network.backbone.embeddings is model.embeddings
    assert network.backbone.encoder.layer[FROZEN - 1] is model.encoder.layer[FROZEN - 1]
    for layer in network.backbone.encoder.layer[FROZEN:]:
        nn.init.normal_(layer.output.dense.up)
    merge(network.backbone)
    assert np.array_equal(encoder.encode(["Ice floats."]), before)


def test_who_shares_an_encoder_shares_the_network(encoder: SentenceTransformerEncoder, reader: PairReader) -> None:
    assert load_pair(encoder) is reader
    assert load_pair(HashingEncoder()) is None


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_file_is_named(encoder: SentenceTransformerEncoder, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "pair.safetensors"
    if damage == "cut":
        file.write_bytes(FILE.read_bytes()[:5000])
    elif damage == "other":
        shutil.copy(Path("reference_answers/pytorch/heads.safetensors"), file)
    with pytest.raises(EncoderError, match="reinstall"):
        load_pair(encoder, file)


def test_a_question_with_one_wording_a_criterion_is_read_by_it(real_grader: Grader) -> None:
    right, elsewhere = (real_grader.grade(SKY, text) for text in (RIGHT, ELSEWHERE))
    assert real_grader.pair is not None
    assert right.provenance.judge == f"offline@reference+{real_grader.pair.revision}"
    assert right.provenance.degraded is None
    assert right.score is not None and elsewhere.score is not None
    assert right.score >= 40
    assert elsewhere.score < 20
    own = SKY.model_copy(
        update={"criteria": (InlineCriterion(statement="Blue is scattered more than red.", points=1),)}
    )
    assert real_grader.grade(own, RIGHT).provenance.judge == right.provenance.judge
    assert "reference" not in real_grader.grade("zero-grad", RIGHT).provenance.judge


def test_another_encoder_goes_on_without_it(fast_grader: Grader) -> None:
    assert fast_grader.pair is None
    assert fast_grader.grade(SKY, RIGHT).provenance.judge == "offline@zero-shot"
