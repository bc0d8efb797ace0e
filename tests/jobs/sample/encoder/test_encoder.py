"""The encoder as shipped: small, loadable with no network, and good on products it never saw."""

import json
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jobs.sample.encoder.card import card
from jobs.sample.encoder.encode import SampleEncoder
from jobs.sample.encoder.evaluate import HELD_OUT_SEED, TARGETS, measure
from jobs.sample.encoder.pairs import TRAINING_SEED, labels
from jobs.sample.encoder.recipe import CONFIG, FOLDER
from jobs.sample.product import product
from jobs.sample.words import Caption


@pytest.fixture(scope="module")
def encoder() -> SampleEncoder:
    """Loaded while every attempt to open a connection fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the sample encoder tried to reach the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr(socket.socket, "connect", refuse)
        return SampleEncoder(FOLDER)


def test_the_weights_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 16e6


def test_the_configuration_is_the_one_in_the_code():
    assert json.loads((FOLDER / "open_clip_config.json").read_text()) == CONFIG


def test_vectors_have_unit_length(encoder: SampleEncoder):
    vectors = encoder.texts(["red striped mug", "something floral"])
    assert vectors.shape == (2, CONFIG["model_cfg"]["embed_dim"])
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_words_it_never_learned_change_little(encoder: SampleEncoder):
    plain, wordy, other = encoder.texts(["red striped mug", "red striped xylograph mug", "blue dotted sofa"])
    assert plain @ wordy > 0.6
    assert plain @ wordy > plain @ other + 0.3


def test_held_out_products_are_found(encoder: SampleEncoder):
    """A small version of `python -m jobs.sample.encoder.evaluate`, which measures 2,000 products."""
    numbers = measure(encoder, products=150, side=128)
    for name, target in TARGETS.items():
        assert numbers[name] >= target, numbers


def test_the_check_can_fail():
    """An encoder that knows nothing must not reach the targets."""
    rng = np.random.default_rng(0)
    blind = SimpleNamespace(
        pictures=lambda pictures: _unit(rng.normal(size=(len(pictures), 128))),
        texts=lambda texts: _unit(rng.normal(size=(len(texts), 128))),
    )
    numbers = measure(blind, products=60, side=48)  # pyright: ignore[reportArgumentType]
    assert all(numbers[name] < target for name, target in TARGETS.items()), numbers


def test_the_recorded_evaluation_meets_the_targets():
    report = json.loads((FOLDER / "evaluation.json").read_text())
    assert report["targets"] == TARGETS
    assert report["products"] >= 2000
    for name, target in TARGETS.items():
        assert report["measured"][name] >= target


def test_the_model_card_is_current():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == card(FOLDER)


def test_training_and_evaluation_never_share_products():
    assert TRAINING_SEED != HELD_OUT_SEED
    assert json.loads((FOLDER / "training.json").read_text())["training_seed"] == TRAINING_SEED
    assert json.loads((FOLDER / "evaluation.json").read_text())["seed"] == HELD_OUT_SEED


def test_labels_are_numbers_and_minus_one_means_any():
    item = product(1, 0)
    known = labels([item])[0]
    asked = labels([Caption("something", colour=item.colour)])[0]
    assert (known >= 0).all()
    assert asked.tolist() == [-1, -1, known[2], -1]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_folder_holds_nothing_else():
    expected = {"README.md", "evaluation.json", "open_clip_config.json", "open_clip_model.safetensors", "training.json"}
    assert {path.name for path in Path(FOLDER).iterdir()} == expected
