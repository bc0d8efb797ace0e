"""The encoder of benchmarks has the shape of the real one."""

from __future__ import annotations

import pytest

from artifacts.encoders.registry import load_encoder
from jobs.bench.encoder import CLIP_SHAPED

pytestmark = pytest.mark.server


def test_encoder_has_512_dimensions_and_encodes_texts() -> None:
    encoder = load_encoder(CLIP_SHAPED)
    assert (encoder.dim, encoder.supports_text) == (512, True)
    vectors = encoder.encode_texts(["a red mug", "a red mug", "a blue dress"])
    assert (vectors[0] == vectors[1]).all()
    assert (vectors[0] != vectors[2]).any()
    load_encoder.cache_clear()
