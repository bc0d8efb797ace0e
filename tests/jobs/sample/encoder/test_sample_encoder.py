"""The sample encoder as shipped: small, loadable without a network, and documented by its own numbers."""

import json
import socket

import numpy as np
import pytest

from jobs.sample.encoder.evaluate import HELD_OUT_SEED, TARGETS, measure
from jobs.sample.encoder.model_card import model_card
from jobs.sample.encoder.recipe import CONFIG, FOLDER
from jobs.sample.encoder.sample_encoder import SampleEncoder
from jobs.sample.encoder.training_data import TRAINING_SEED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoder() -> SampleEncoder:
    """The encoder, loaded while every attempt to open a connection fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the sample encoder tried to reach the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr(socket.socket, "connect", refuse)
        return SampleEncoder(FOLDER)


def test_folder_takes_at_most_16_mb():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 16e6


def test_folder_has_no_other_files():
    expected = {"README.md", "evaluation.json", "open_clip_config.json", "open_clip_model.safetensors", "training.json"}
    assert {path.name for path in FOLDER.iterdir()} == expected


def test_stored_configuration_equals_the_code():
    assert json.loads((FOLDER / "open_clip_config.json").read_text()) == CONFIG


def test_vectors_have_unit_length(encoder: SampleEncoder):
    vectors = encoder.encode_texts(["red striped mug", "something floral"])
    assert vectors.shape == (2, CONFIG["model_cfg"]["embed_dim"])
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_unknown_words_change_a_vector_little(encoder: SampleEncoder):
    texts = ["red striped mug", "red striped xylograph mug", "blue dotted sofa"]
    plain, with_unknown, unrelated = encoder.encode_texts(texts)
    assert plain @ with_unknown > 0.6
    assert plain @ with_unknown > plain @ unrelated + 0.3


def test_held_out_products_reach_the_targets(encoder: SampleEncoder):
    """A small version of `python -m jobs.sample.encoder.evaluate`, which measures 2,000 products."""
    measures = measure(encoder, products=150, side=128)
    for name, target in TARGETS.items():
        assert measures[name] >= target, measures


def test_recorded_evaluation_meets_the_targets():
    report = json.loads((FOLDER / "evaluation.json").read_text())
    assert report["targets"] == TARGETS
    assert report["products"] >= 2000
    for name, target in TARGETS.items():
        assert report["measured"][name] >= target


def test_model_card_is_current():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == model_card(FOLDER)


def test_training_and_evaluation_use_different_seeds():
    assert TRAINING_SEED != HELD_OUT_SEED
    assert json.loads((FOLDER / "training.json").read_text())["training_seed"] == TRAINING_SEED
    assert json.loads((FOLDER / "evaluation.json").read_text())["seed"] == HELD_OUT_SEED
