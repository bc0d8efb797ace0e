"""Encoders of a user's own: subclasses of Encoder, loaded by `python:` specs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from artifacts.encoders.base import Encoder
from artifacts.encoders.registry import load_encoder
from artifacts.errors import EncoderError, TextNotSupported
from tests.artifacts.encoders.encoder_building import pictures


class MeanColour(Encoder):
    """Encodes a picture as its mean colour."""

    weights_sha256 = "ab" * 32
    dim = 3
    preprocessing = {"mean": True}  # noqa: RUF012

    def prepare(self, picture: Image.Image) -> np.ndarray:
        return np.asarray(picture, dtype=np.float64).reshape(-1, 3).mean(axis=0)

    def image_vectors(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(prepared)


class WrongDim(MeanColour):
    dim = 4


class FailingConstructor(MeanColour):
    def __init__(self) -> None:
        raise RuntimeError("no licence")


class WithoutAttributes(Encoder):
    def image_vectors(self, prepared: Sequence[Any]) -> np.ndarray:
        return np.zeros((len(prepared), 1))


@pytest.fixture
def module_spec(monkeypatch: pytest.MonkeyPatch) -> str:
    """The beginning of a spec that names this module."""
    monkeypatch.setitem(sys.modules, "a_users_encoders", sys.modules[__name__])
    return "python:a_users_encoders"


def test_vectors_of_a_subclass_are_normalised(module_spec: str):
    encoder = load_encoder(f"{module_spec}:MeanColour")
    vectors = encoder.encode_images([Image.new("RGB", (60, 60), (30, 40, 0)), Image.new("RGB", (60, 60))])
    np.testing.assert_allclose(vectors, [[0.6, 0.8, 0], [0, 0, 0]], atol=1e-6)
    assert vectors.dtype == np.float32
    assert encoder.spec == f"{module_spec}:MeanColour"
    assert encoder.id.startswith(f"{module_spec}:MeanColour@")


def test_a_subclass_without_texts_refuses_them(module_spec: str):
    with pytest.raises(TextNotSupported):
        load_encoder(f"{module_spec}:MeanColour").encode_texts(["red"])


def test_vectors_of_the_wrong_shape_are_refused(module_spec: str):
    with pytest.raises(EncoderError, match=r"shape \(1, 3\), not \(1, 4\)"):
        load_encoder(f"{module_spec}:WrongDim").encode_images(pictures(1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FailingConstructor", "no licence"),
        ("WithoutAttributes", "does not set weights_sha256, dim, preprocessing"),
        ("pictures", "pictures"),
    ],
)
def test_classes_that_are_no_encoders_are_refused(module_spec: str, name: str, message: str):
    with pytest.raises(EncoderError, match=message):
        load_encoder(f"{module_spec}:{name}")
