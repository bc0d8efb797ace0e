"""Encoders of open_clip and timm: unit vectors, the same in every batch, and an id that changes with the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from artifacts.encoders.registry import load_encoder
from artifacts.errors import EncoderError, TextNotSupported
from tests.artifacts.encoders.encoder_building import CLIP, copy_folder, pictures

# ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_picture_vectors_are_normalised_and_distinct(folder: tuple[str, Path]):
    encoder = load_encoder(f"{folder[0]}{folder[1]}", "cpu")
    vectors = encoder.encode_images(pictures(9))
    assert vectors.dtype == np.float32
    assert vectors.shape == (9, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(np.unique(vectors.round(4), axis=0)) == 9


def test_picture_vectors_do_not_depend_on_the_batch(folder: tuple[str, Path]):
    encoder = load_encoder(f"{folder[0]}{folder[1]}", "cpu")
    expected = encoder.encode_images(pictures(9))
    for size in (1, 2, 4):
        batches = [encoder.encode_images(pictures(9)[start : start + size]) for start in range(0, 9, size)]
        np.testing.assert_allclose(np.concatenate(batches), expected, atol=1e-5)


def test_picture_vectors_are_the_same_after_loading_again(folder: tuple[str, Path]):
    spec = f"{folder[0]}{folder[1]}"
    encoder = load_encoder(spec, "cpu")
    load_encoder.cache_clear()
    again = load_encoder(spec, "cpu")
    assert again is not encoder
    np.testing.assert_allclose(again.encode_images(pictures(9)), encoder.encode_images(pictures(9)), atol=1e-5)


def test_no_inputs_give_no_vectors(folder: tuple[str, Path]):
    encoder = load_encoder(f"{folder[0]}{folder[1]}", "cpu")
    assert encoder.encode_images([]).shape == (0, encoder.dim)
    assert encoder.encode_texts([]).shape == (0, encoder.dim)


def test_timm_encodes_pictures_only_and_without_the_classifier(timm_folder: Path):
    encoder = load_encoder(f"timm:local-dir:{timm_folder}", "cpu")
    assert not encoder.supports_text
    assert encoder.dim == 64
    with pytest.raises(TextNotSupported, match="pictures only"):
        encoder.encode_texts(["a shoe"])


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_id_stays_when_the_folder_moves(folder: tuple[str, Path], tmp_path: Path):
    prefix, original = folder
    copy = copy_folder(original, tmp_path)
    ids = {load_encoder(f"{prefix}{path}", "cpu").id for path in (original, copy, f"{copy}/")}
    assert len(ids) == 1
    assert str(tmp_path) not in ids.pop()


def test_the_id_changes_with_one_weight(folder: tuple[str, Path], tmp_path: Path):
    prefix, original = folder
    copy = copy_folder(original, tmp_path)
    [path] = copy.glob("*.safetensors")
    tensors = load_file(path)
    name = sorted(tensors)[len(tensors) // 2]
    tensors[name] = tensors[name].clone()
    tensors[name].flatten()[0] += 1e-3
    save_file(tensors, path)
    before, after = load_encoder(f"{prefix}{original}", "cpu"), load_encoder(f"{prefix}{copy}", "cpu")
    assert before.weights_sha256 != after.weights_sha256
    assert before.id != after.id


def test_the_id_changes_with_the_preprocessing(clip_folder: Path, tmp_path: Path):
    """The same weights behind another mean give other vectors, which must not share a cache."""
    copy = copy_folder(clip_folder, tmp_path)
    config = {**CLIP, "preprocess_cfg": {"mean": [0.1, 0.4, 0.3], "std": [0.2, 0.3, 0.25]}}
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    before, after = load_encoder(f"local-dir:{clip_folder}", "cpu"), load_encoder(f"local-dir:{copy}", "cpu")
    assert before.weights_sha256 == after.weights_sha256
    assert np.abs(before.encode_images(pictures(1)) - after.encode_images(pictures(1))).max() > 1e-3
    assert before.id != after.id


def test_the_description_is_json_and_the_slug_a_folder_name(folder: tuple[str, Path]):
    encoder = load_encoder(f"{folder[0]}{folder[1]}", "cpu")
    description = json.loads(json.dumps(encoder.describe()))
    assert description["id"] == encoder.id
    assert description["dim"] == encoder.dim
    assert len(description["weights_sha256"]) == 64
    assert description["preprocessing"]["mean"]
    assert set(encoder.slug) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.@_-")


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("damage", ["empty", "half", "noise", "missing", "other shapes"])
def test_damaged_weights_are_refused(folder: tuple[str, Path], tmp_path: Path, damage: str):
    prefix, original = folder
    copy = copy_folder(original, tmp_path)
    [path] = copy.glob("*.safetensors")
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other shapes":
        save_file({name: torch.zeros(3) for name in load_file(path)}, path)
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "noise": b"\xff" * 1000}[damage])
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(f"{prefix}{copy}", "cpu")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model_cfg": {"embed_dim": 4, "nonsense": 1}}'])
def test_a_damaged_configuration_is_refused(folder: tuple[str, Path], tmp_path: Path, content: str):
    prefix, original = folder
    copy = copy_folder(original, tmp_path)
    [path] = copy.glob("*.json")
    path.write_text(content)
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(f"{prefix}{copy}", "cpu")


@pytest.mark.parametrize("device", ["tpu9", "cpu:x", "banana", ""])
def test_unknown_devices_are_refused(clip_folder: Path, device: str):
    with pytest.raises(EncoderError, match=f"device '{device}'"):
        load_encoder(f"local-dir:{clip_folder}", device)


def test_cuda_is_refused_and_auto_is_the_cpu_without_a_gpu(clip_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EncoderError, match="no CUDA"):
        load_encoder(f"local-dir:{clip_folder}", "cuda:1")
    assert load_encoder(f"local-dir:{clip_folder}", "auto").dim == 24
