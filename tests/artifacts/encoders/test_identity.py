"""Encoder identities: known without loading, and never trusted further than their inputs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from artifacts.config import EncoderConfig
from artifacts.encoders import identity as identities
from artifacts.encoders.identity import EncoderIdentity, encoder_identity, known_identity, load_verified
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
        monkeypatch.setattr(identities, "version", lambda name: "99")
    elif change == "module":
        monkeypatch.setattr(identities, "__file__", str(tmp_path / "elsewhere" / "identity.py"))
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


def test_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert encoder_identity("sample", "cpu", tmp_path / "file" / "cache").id.startswith("sample@")


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
