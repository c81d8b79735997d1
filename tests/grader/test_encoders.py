"""One contract for every encoder: shape, order, determinism, no text cut off."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from grader import EncoderError
from grader.encoders import Encoder, load_encoder
from grader.encoders.sentence_transformer import EMBEDDED_FILES, _embedded_path, checked_weights, window_borders

TEXTS = ["backward() adds to .grad", "", "Die Katze", "a " * 3000, "x", "🙂"]


@pytest.fixture(scope="module", params=["embedded", "hashing"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return load_encoder(request.param, device="cpu")


def test_rows_are_unit_vectors_in_order(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape[0] == len(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(vectors, alone, atol=1e-4)


def test_no_texts_give_no_rows(encoder: Encoder) -> None:
    assert encoder.encode([]).shape[0] == 0


def test_the_same_list_gives_the_same_bits(encoder: Encoder) -> None:
    assert encoder.encode(TEXTS).tobytes() == encoder.encode(TEXTS).tobytes()


def test_it_tells_near_from_far(encoder: Encoder) -> None:
    near, same, far = encoder.encode(
        ["gradients are added up by backward()", "backward() adds the gradients up", "a recipe for lemon cake"]
    )
    assert near @ same > near @ far + 0.2


def test_the_end_of_a_long_text_counts(encoder: Encoder) -> None:
    filler = "The weather was fine and nothing happened. " * 120
    plain, changed = encoder.encode([filler, filler + "Quantization maps float32 to int8. " * 10])
    assert not np.allclose(plain, changed, atol=1e-3)


@pytest.mark.parametrize("length", [0, 1, 254, 255, 300, 1000, 5000])
def test_windows_cover_every_token(length: int) -> None:
    borders = window_borders(length, 254)
    covered = {token for start, end in borders for token in range(start, end)}
    assert covered == set(range(length))
    assert all(end - start <= 254 for start, end in borders)


def test_a_model_by_local_path_is_the_same_model(encoder: Encoder) -> None:
    if encoder.name == "hashing":
        assert load_encoder("hashing").revision == encoder.revision
        return
    by_path = load_encoder(str(_embedded_path()), device="cpu")
    np.testing.assert_allclose(by_path.encode(TEXTS[:3]), encoder.encode(TEXTS[:3]), atol=1e-6)


def test_a_model_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="Give a local folder"):
        load_encoder(str(tmp_path), device="cpu")


@pytest.mark.parametrize("name", EMBEDDED_FILES)
def test_a_damaged_or_missing_file_of_the_model_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(_embedded_path(), folder, copy_function=os.symlink)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).unlink()  # the link, not what it points to
    (folder / name).write_bytes(content)
    with pytest.raises(EncoderError, match="not the published ones") as caught:
        checked_weights(folder)
    assert str(folder / name) in str(caught.value)
    (folder / name).unlink()
    with pytest.raises(EncoderError, match="cannot be read"):
        checked_weights(folder)


def test_an_unknown_device_says_which_there_are() -> None:
    with pytest.raises(EncoderError, match="use auto, cpu, cuda"):
        load_encoder("embedded", device="abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_a_gpu_that_is_not_there_is_an_error_not_a_silent_cpu() -> None:
    with pytest.raises(EncoderError, match="torch sees no CUDA GPU"):
        load_encoder("embedded", device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_the_gpu_agrees_with_the_cpu_within_a_point() -> None:
    from grader import Grader, load_bank

    bank = load_bank()
    cpu, gpu = (Grader.load(device=device) for device in ("cpu", "cuda"))
    for question in bank.questions[:5]:
        for sample in question.samples[:3]:
            ours, theirs = (grader.grade(question.id, sample.answer).score or 0.0 for grader in (cpu, gpu))
            assert abs(ours - theirs) <= 1.0
