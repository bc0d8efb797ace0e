"""Encoders of open_clip: texts, in short and in bfloat16."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from artifacts.encoders import open_clip_model
from artifacts.encoders.registry import load_encoder
from artifacts.errors import EncoderError
from tests.artifacts.encoders.encoder_building import TEXTS, copy_folder, pictures

pytestmark = pytest.mark.slow


def test_text_vectors_are_normalised_and_do_not_depend_on_the_batch(clip_folder: Path):
    encoder = load_encoder(f"local-dir:{clip_folder}", "cpu")
    assert (encoder.supports_text, encoder.dim) == (True, 24)
    vectors = encoder.encode_texts(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(np.unique(vectors.round(4), axis=0)) == len(TEXTS)
    alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, vectors, atol=1e-5)


def test_vectors_are_those_of_open_clip(clip_folder: Path):
    encoder = load_encoder(f"local-dir:{clip_folder}", "cpu")
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(TEXTS)
    with torch.inference_mode():
        batch = torch.stack([transform(picture) for picture in pictures(4)])  # type: ignore[operator]
        of_pictures = model.encode_image(batch, normalize=True)
        of_texts = model.encode_text(tokens, normalize=True)
    np.testing.assert_allclose(encoder.encode_images(pictures(4)), of_pictures.numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), of_texts.numpy(), atol=1e-5)


@pytest.mark.parametrize("texts", [["a"], ["a", "a red striped mug " * 3], ["word " * 200], ["", "x"]])
def test_short_texts_skip_the_padding_and_give_the_same_vectors(clip_folder: Path, texts: list[str]):
    encoder = load_encoder(f"local-dir:{clip_folder}", "cpu")
    lengths: list[int] = []
    hook = encoder.model.transformer.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
    short = encoder.text_vectors(texts)
    hook.remove()
    tokens = encoder.tokenizer(texts)
    assert lengths == [int(tokens.argmax(dim=-1).max()) + 1]
    with torch.inference_mode():
        full = encoder.model.encode_text(tokens).numpy()
    assert np.abs(short - full).max() < 1e-5 * np.abs(full).max()


def test_a_text_tower_that_is_not_clips_is_left_unchanged(clip_folder: Path, tmp_path: Path):
    copy = copy_folder(clip_folder, tmp_path / "last")
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["pool_type"] = "last"
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    encoder = load_encoder(f"local-dir:{copy}", "cpu")
    texts = ["a", "a red mug"]
    with torch.inference_mode():
        assert np.array_equal(encoder.text_vectors(texts), encoder.model.encode_text(encoder.tokenizer(texts)).numpy())
    with pytest.raises(EncoderError, match="its text tower is not CLIP's"):
        encoder.texts_in_bfloat16()


@pytest.mark.parametrize(
    ("has_bfloat16", "large", "optimized"), [(True, 1, True), (True, 10**9, False), (False, 1, False)]
)
def test_texts_of_large_towers_are_in_bfloat16_where_the_cpu_has_it(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, large: int, optimized: bool
):
    plain = load_encoder(f"local-dir:{clip_folder}", "cpu")
    load_encoder.cache_clear()
    monkeypatch.setattr(open_clip_model, "cpu_has_bfloat16", lambda: has_bfloat16)
    monkeypatch.setattr(open_clip_model, "LARGE_TEXT_TOWER", large)
    quick = load_encoder(f"local-dir:{clip_folder}", "cpu", quick=True)
    assert (quick.model.transformer.get_cast_dtype() == torch.bfloat16) == optimized
    assert quick.id == plain.id
    assert quick.weights_sha256 == plain.weights_sha256
    np.testing.assert_array_equal(quick.encode_images(pictures(4)), plain.encode_images(pictures(4)))
    cosines = (quick.encode_texts(TEXTS) * plain.encode_texts(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.999
    equal = np.array_equal(quick.encode_texts(TEXTS), plain.encode_texts(TEXTS))
    assert equal != optimized
    assert load_encoder(f"local-dir:{clip_folder}", "cpu") is not quick  # a build in a server's process has its own


@pytest.mark.parametrize(("spec", "optimized"), [("sample", False), ("python:jobs.bench.encoder:ClipShaped", True)])
def test_the_sample_is_too_small_for_bfloat16_and_a_vit_is_not(
    monkeypatch: pytest.MonkeyPatch, spec: str, optimized: bool
):
    monkeypatch.setattr(open_clip_model, "cpu_has_bfloat16", lambda: True)
    encoder = load_encoder(spec, "cpu", quick=True)
    assert (encoder.model.transformer.get_cast_dtype() == torch.bfloat16) == optimized
    assert next(encoder.model.visual.parameters()).dtype == torch.float32
