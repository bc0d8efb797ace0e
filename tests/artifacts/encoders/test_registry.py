"""Loading encoders by spec, and refusing specs that cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifacts.encoders.registry import SAMPLE_ENCODER, load_encoder
from artifacts.errors import EncoderError
from tests.artifacts.encoders.encoder_building import TEXTS, pictures


def test_an_encoder_is_loaded_once(clip_folder: Path):
    assert load_encoder(f"local-dir:{clip_folder}", "cpu") is load_encoder(f"local-dir:{clip_folder}", "cpu")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "not understood"),
        ("ViT-B-32", "not understood"),
        ("openclip:ViT-B-32/x", "not understood"),
        ("local-dir:", "not understood"),
        ("timm:", "not understood"),
        ("python:", "not understood"),
        ("sample:small", "not understood"),
        ("open_clip:ViT-B-32", "names no weights"),
        ("open_clip:/laion2b", "names no weights"),
        ("open_clip:ViT-B-32/", "names no weights"),
        ("open_clip:NoSuchModel/laion2b", "cannot be loaded"),
        ("open_clip:ViT-B-32/no-such-tag", "cannot be loaded"),
        ("timm:no_such_model", "cannot be loaded"),
        ("timm:test_vit.no_such_tag", "cannot be loaded"),
        ("local-dir:/nowhere/at/all", "cannot be loaded"),
        ("timm:local-dir:/nowhere/at/all", "cannot be loaded"),
        ("python:no.such.module:Thing", "cannot be created"),
        ("python:artifacts.encoders.registry", "cannot be created"),
        ("python:artifacts.encoders.registry:Nothing", "cannot be created"),
        ("python:artifacts.encoders.base:Encoder", "cannot be created"),
        ("python:collections:OrderedDict", "not a subclass"),
    ],
)
def test_specs_that_cannot_be_loaded_are_refused_by_name(spec: str, message: str):
    with pytest.raises(EncoderError, match=message) as caught:
        load_encoder(spec, "cpu")
    assert repr(spec) in str(caught.value)


def test_the_sample_encoder_needs_no_network():
    encoder = load_encoder("sample", "cpu")
    assert encoder.supports_text
    vectors = np.concatenate([encoder.encode_images(pictures(3)), encoder.encode_texts(TEXTS)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.id.startswith("sample@")
    assert encoder.weights_sha256 == load_encoder(f"local-dir:{SAMPLE_ENCODER}", "cpu").weights_sha256


def test_the_sample_encoder_distinguishes_colours():
    encoder = load_encoder("sample", "cpu")
    colours = {"red": (200, 30, 30), "blue": (30, 60, 200), "green": (40, 150, 60)}
    vectors = encoder.encode_images([Image.new("RGB", (224, 224), colour) for colour in colours.values()])
    assert (vectors @ vectors.T)[~np.eye(3, dtype=bool)].max() < 0.999
