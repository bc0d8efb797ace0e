"""Encoder identities: known without loading, and never trusted further than their inputs."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path

import pytest

from artifacts.config import EncoderConfig
from artifacts.encoders import identity as identities
from artifacts.encoders import inputs as encoder_inputs
from artifacts.encoders import registry
from artifacts.encoders.base import Encoder
from artifacts.encoders.identity import (
    EncoderIdentity,
    encoder_identity,
    forget_identity,
    known_identity,
    load_verified,
    remember_identity,
)
from artifacts.encoders.inputs import EncoderInputs
from artifacts.encoders.registry import SAMPLE_ENCODER, load_encoder
from artifacts.errors import EncoderError


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with weights of its own."""
    shutil.copytree(SAMPLE_ENCODER, tmp_path / "weights")
    return tmp_path / "weights"


def test_identity_is_the_loaded_encoders() -> None:
    encoder = load_encoder("sample", "cpu")
    identity = EncoderIdentity.of(encoder)
    assert (identity.id, identity.slug, identity.describe()) == (encoder.id, encoder.slug, encoder.describe())
    assert (identity.dim, identity.supports_text) == (encoder.dim, encoder.supports_text)


def test_known_identity_is_not_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_identity("sample", "cpu", tmp_path) is None
    identity = encoder_identity("sample", "cpu", tmp_path)
    monkeypatch.setattr(identities, "load_encoder", lambda *_: pytest.fail("the encoder was loaded"))
    assert known_identity("sample", "cpu", tmp_path) == identity
    assert encoder_identity("sample", "cpu", tmp_path) == identity


@pytest.mark.parametrize("change", ["content", "time", "further file", "package", "module", "damaged", "other version"])
def test_changed_inputs_forget_the_identity(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    spec, cache = f"local-dir:{weights}", tmp_path / "cache"
    encoder_identity(spec, "cpu", cache)
    assert known_identity(spec, "cpu", cache)
    file = weights / "open_clip_config.json"
    if change == "content":
        status = file.stat()
        file.write_text(file.read_text().replace(" ", "\t"))  # as long, and of the same time
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(file, (1, 1))
    elif change == "further file":
        (weights / "more.json").write_text("{}")
    elif change == "package":
        monkeypatch.setattr(encoder_inputs, "version", lambda name: "99")
    elif change == "module":
        monkeypatch.setattr(encoder_inputs, "__file__", str(tmp_path / "elsewhere" / "inputs.py"))
    elif change == "damaged":
        (cache / "encoders.json").write_text("{")
    else:
        (cache / "encoders.json").write_text(json.dumps({spec: {"id": "1"}}))
    assert known_identity(spec, "cpu", cache) is None


def test_identities_of_several_encoders_are_kept(weights: Path, tmp_path: Path) -> None:
    for spec in ("sample", f"local-dir:{weights}"):
        encoder_identity(spec, "cpu", tmp_path)
    assert known_identity("sample", "cpu", tmp_path)
    assert known_identity(f"local-dir:{weights}", "cpu", tmp_path)


def test_custom_encoders_are_loaded(tmp_path: Path) -> None:
    identity = known_identity("python:tests.encoders:MeanColor", "cpu", tmp_path)
    assert identity is not None
    assert identity.dim == 4
    assert not (tmp_path / "encoders.json").exists()


def test_identity_of_weights_that_change_while_they_are_loaded_is_not_remembered(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, load = f"local-dir:{weights}", registry._load

    def load_while_written(spec: str, device: str) -> Encoder:
        encoder = load(spec, device)
        (weights / "more.json").write_text("{}")
        return encoder

    monkeypatch.setattr(registry, "_load", load_while_written)
    encoder_identity(spec, "cpu", tmp_path)
    assert known_identity(spec, "cpu", tmp_path) is None


def test_encoder_loaded_before_its_weights_changed_is_not_remembered(weights: Path, tmp_path: Path) -> None:
    spec = f"local-dir:{weights}"
    encoder = load_encoder(spec, "cpu")
    os.utime(weights / "open_clip_config.json", (1, 1))
    assert remember_identity(encoder, tmp_path).id == encoder.id
    assert known_identity(spec, "cpu", tmp_path) is None
    load_encoder.cache_clear()
    assert encoder_identity(spec, "cpu", tmp_path) == known_identity(spec, "cpu", tmp_path)


def test_forgotten_identity_is_computed_again(weights: Path, tmp_path: Path) -> None:
    spec = f"local-dir:{weights}"
    encoder_identity("sample", "cpu", tmp_path)
    encoder_identity(spec, "cpu", tmp_path)
    encoder = load_encoder(spec, "cpu")
    forget_identity(spec, tmp_path)
    assert known_identity(spec, "cpu", tmp_path) is None
    assert known_identity("sample", "cpu", tmp_path)
    assert load_encoder(spec, "cpu") is not encoder


@pytest.mark.parametrize("problem", ["not a folder", "no home"])
def test_identity_is_kept_in_memory_if_the_cache_cannot_be_written(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    (tmp_path / "file").write_text("")
    cache = tmp_path / "file" / "cache"
    if problem == "no home":
        cache = Path("~no-such-user/cache")
    spec = f"local-dir:{weights}"
    identity = encoder_identity(spec, "cpu", cache)
    with monkeypatch.context() as patch:
        patch.setattr(identities, "load_encoder", lambda *_: pytest.fail("the encoder was loaded"))
        assert encoder_identity(spec, "cpu", cache) == identity
    os.utime(weights / "open_clip_config.json", (1, 1))
    assert known_identity(spec, "cpu", cache) is None
    forget_identity(spec, cache)


def test_identity_of_weights_that_are_not_located_is_kept_in_memory_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, sample = "timm:test_vit.r160_in1k", load_encoder("sample", "cpu")
    hub_model = copy.copy(sample)
    hub_model.spec = spec
    monkeypatch.setattr(registry, "_load", lambda *_: hub_model)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    identity = encoder_identity(spec, "cpu", tmp_path)
    assert known_identity(spec, "cpu", tmp_path) == identity
    assert not (tmp_path / "encoders.json").exists()


@pytest.mark.parametrize(
    ("spec", "repository"),
    [
        ("timm:test_vit.r160_in1k", "timm--test_vit.r160_in1k"),
        ("timm:hf-hub:shop/model", "shop--model"),
        ("open_clip:hf-hub:shop/model", "shop--model"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "laion--CLIP-ViT-B-32-laion2B-s34B-b79K"),
    ],
)
def test_changed_weights_of_a_hub_model_change_its_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, repository: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert not EncoderInputs.of(spec).located
    snapshots = tmp_path / f"models--{repository}" / "snapshots"
    snapshots.mkdir(parents=True)
    inputs = EncoderInputs.of(spec)
    assert (inputs.located, inputs.weights) == (True, [str(snapshots)])
    (snapshots / "model.safetensors").write_text("weights")
    assert EncoderInputs.of(spec).versions != inputs.versions
    assert EncoderInputs.of(spec) == EncoderInputs.of(spec, inputs.weights)


def test_preprocessing_that_json_cannot_hold_is_remembered_as_text(weights: Path, tmp_path: Path) -> None:
    spec = f"local-dir:{weights}"
    encoder = load_encoder(spec, "cpu")
    encoder.preprocessing = {"folder": Path("/x")}
    remember_identity(encoder, tmp_path)
    identity = known_identity(spec, "cpu", tmp_path)
    assert identity is not None
    assert identity.id == encoder.id
    assert identity.describe()["preprocessing"] == {"folder": "/x"}


def test_encoder_that_is_not_the_remembered_one_is_refused_and_remembered(tmp_path: Path) -> None:
    identity = encoder_identity("sample", "cpu", tmp_path)
    config = EncoderConfig("sample", "cpu")
    assert load_verified(config, identity, tmp_path).id == identity.id
    entries = json.loads((tmp_path / "encoders.json").read_text())
    entries["sample"]["description"]["id"] = "sample@of-other-weights"
    (tmp_path / "encoders.json").write_text(json.dumps(entries))
    stale = encoder_identity("sample", "cpu", tmp_path)
    assert stale.id == "sample@of-other-weights"
    with pytest.raises(EncoderError, match="not sample@of-other-weights as remembered; run the build again"):
        load_verified(config, stale, tmp_path)
    assert encoder_identity("sample", "cpu", tmp_path) == identity


def test_unknown_specs_are_errors(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="is not understood"):
        encoder_identity("clip", "cpu", tmp_path)
