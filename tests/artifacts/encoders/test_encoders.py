"""Encoders by spec: loaded from folders, normalised, the same each time, and refused with a clear sentence."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from artifacts.encoders import open_clip_model as encoder_models
from artifacts.encoders.base import Encoder
from artifacts.encoders.registry import SAMPLE_ENCODER, load_encoder
from artifacts.errors import EncoderError, TextNotSupported

CLIP = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]},
}
TEXTS = ["a red shoe", "eine grüne Tasche", "", "x " * 500, "\U0001f45f", "hat"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models over several threads wait more than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _nothing_cached() -> None:
    load_encoder.cache_clear()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny open_clip model with random weights."""
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(CLIP))
    torch.manual_seed(0)
    config: Any = CLIP["model_cfg"]
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny timm model with random weights, and a classifier that is not wanted."""
    folder = tmp_path_factory.mktemp("timm") / "tiny"
    folder.mkdir()
    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False, num_classes=7)
    config = {"architecture": "test_vit", "num_classes": 7, "pretrained_cfg": model.pretrained_cfg}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(params=["clip", "timm"])
def folder(request: pytest.FixtureRequest, clip_folder: Path, timm_folder: Path) -> tuple[str, Path]:
    """The spec's beginning and the folder."""
    return ("local-dir:", clip_folder) if request.param == "clip" else ("timm:local-dir:", timm_folder)


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (90, 50), (50, 200), (333, 333)]
    return [Image.fromarray(rng.integers(0, 255, (*sizes[number % 4][::-1], 3), np.uint8)) for number in range(count)]


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / folder.name))


def with_one_weight_changed(folder: Path) -> None:
    [path] = folder.glob("*.safetensors")
    tensors = load_file(path)
    name = sorted(tensors)[len(tensors) // 2]
    tensors[name] = tensors[name].clone()
    tensors[name].flatten()[0] += 1e-3
    save_file(tensors, path)


# ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_picture_vectors(folder: tuple[str, Path]):
    encoder = load_encoder(f"{folder[0]}{folder[1]}", "cpu")
    vectors = encoder.encode_images(pictures(9))
    assert vectors.dtype == np.float32
    assert vectors.shape == (9, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(np.unique(vectors.round(4), axis=0)) == 9


def test_the_same_vectors_in_every_batch_and_process(folder: tuple[str, Path]):
    spec = f"{folder[0]}{folder[1]}"
    encoder = load_encoder(spec, "cpu")
    want = encoder.encode_images(pictures(9))
    for size in (1, 2, 4):
        batches = [encoder.encode_images(pictures(9)[start : start + size]) for start in range(0, 9, size)]
        np.testing.assert_allclose(np.concatenate(batches), want, atol=1e-5)
    load_encoder.cache_clear()
    again = load_encoder(spec, "cpu")
    assert again is not encoder
    np.testing.assert_allclose(again.encode_images(pictures(9)), want, atol=1e-5)


def test_text_vectors(clip_folder: Path):
    encoder = load_encoder(f"local-dir:{clip_folder}", "cpu")
    assert (encoder.supports_text, encoder.dim) == (True, 24)
    vectors = encoder.encode_texts(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(np.unique(vectors.round(4), axis=0)) == len(TEXTS)
    one_by_one = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(one_by_one, vectors, atol=1e-5)


def test_vectors_are_those_of_open_clip(clip_folder: Path):
    encoder = load_encoder(f"local-dir:{clip_folder}", "cpu")
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(TEXTS)
    with torch.inference_mode():
        seen = model.encode_image(torch.stack([transform(each) for each in pictures(4)]), normalize=True)  # type: ignore[operator]
        read = model.encode_text(tokens, normalize=True)
    np.testing.assert_allclose(encoder.encode_images(pictures(4)), seen.numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), read.numpy(), atol=1e-5)


@pytest.mark.parametrize("texts", [["a"], ["a", "a red striped mug " * 3], ["word " * 200], ["", "x"]])
def test_short_texts_are_encoded_short_and_to_the_same(clip_folder: Path, texts: list[str]):
    encoder = load_encoder(f"local-dir:{clip_folder}", "cpu")
    lengths: list[int] = []
    hook = encoder.model.transformer.register_forward_hook(lambda _, given, __: lengths.append(given[0].shape[1]))
    short = encoder.text_vectors(texts)
    hook.remove()
    tokens = encoder.tokenizer(texts)
    assert lengths == [int(tokens.argmax(dim=-1).max()) + 1]
    with torch.inference_mode():
        whole = encoder.model.encode_text(tokens).numpy()
    assert np.abs(short - whole).max() < 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize(("native", "large", "quickened"), [(True, 1, True), (True, 10**9, False), (False, 1, False)])
def test_texts_are_quickened_where_that_is_quicker(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch, native: bool, large: int, quickened: bool
):
    plain = load_encoder(f"local-dir:{clip_folder}", "cpu")
    load_encoder.cache_clear()
    monkeypatch.setattr(encoder_models, "cpu_has_bfloat16", lambda: native)
    monkeypatch.setattr(encoder_models, "LARGE_TEXT_TOWER", large)
    quick = load_encoder(f"local-dir:{clip_folder}", "cpu", quick=True)
    assert (quick.model.transformer.get_cast_dtype() == torch.bfloat16) == quickened
    assert quick.id == plain.id
    assert quick.weights_sha256 == plain.weights_sha256
    np.testing.assert_array_equal(quick.encode_images(pictures(4)), plain.encode_images(pictures(4)))
    cosines = (quick.encode_texts(TEXTS) * plain.encode_texts(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.999
    same = np.array_equal(quick.encode_texts(TEXTS), plain.encode_texts(TEXTS))
    assert same != quickened
    assert load_encoder(f"local-dir:{clip_folder}", "cpu") is not quick  # a build beside a server has its own
    load_encoder.cache_clear()


@pytest.mark.parametrize(("kind", "quick"), [("sample", False), ("python:jobs.bench.encoder:ClipShaped", True)])
def test_the_sample_is_too_small_to_be_quickened_and_a_clip_is_not(
    monkeypatch: pytest.MonkeyPatch, kind: str, quick: bool
):
    monkeypatch.setattr(encoder_models, "cpu_has_bfloat16", lambda: True)
    load_encoder.cache_clear()
    encoder = load_encoder(kind, "cpu", quick=True)
    assert (encoder.model.transformer.get_cast_dtype() == torch.bfloat16) == quick
    assert next(encoder.model.visual.parameters()).dtype == torch.float32
    load_encoder.cache_clear()


def test_a_text_tower_that_reads_otherwise_is_left_as_it_is(clip_folder: Path, tmp_path: Path):
    copy = copied(clip_folder, tmp_path / "last")
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["pool_type"] = "last"
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    encoder = load_encoder(f"local-dir:{copy}", "cpu")
    tokens = encoder.tokenizer(["a", "a red mug"])
    with torch.inference_mode():
        assert np.array_equal(encoder.text_vectors(["a", "a red mug"]), encoder.model.encode_text(tokens).numpy())
    with pytest.raises(EncoderError, match="its text tower is not CLIP's"):
        encoder.texts_in_bfloat16()


def test_timm_sees_pictures_only(timm_folder: Path):
    encoder = load_encoder(f"timm:local-dir:{timm_folder}", "cpu")
    assert not encoder.supports_text
    assert encoder.dim == 64  # without the classifier
    with pytest.raises(TextNotSupported, match="pictures only"):
        encoder.encode_texts(["a shoe"])


def test_nothing_to_encode(folder: tuple[str, Path]):
    encoder = load_encoder(f"{folder[0]}{folder[1]}", "cpu")
    assert encoder.encode_images([]).shape == (0, encoder.dim)
    assert encoder.encode_texts([]).shape == (0, encoder.dim)


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_id_stays_when_the_folder_moves(folder: tuple[str, Path], tmp_path: Path):
    kind, here = folder
    there = copied(here, tmp_path)
    ids = {load_encoder(f"{kind}{each}", "cpu").id for each in (here, there, f"{there}/")}
    assert len(ids) == 1
    assert str(tmp_path) not in ids.pop()


def test_another_weight_is_another_id(folder: tuple[str, Path], tmp_path: Path):
    kind, here = folder
    there = copied(here, tmp_path)
    with_one_weight_changed(there)
    before, after = load_encoder(f"{kind}{here}", "cpu"), load_encoder(f"{kind}{there}", "cpu")
    assert before.weights_sha256 != after.weights_sha256
    assert before.id != after.id


def test_another_preprocessing_is_another_id(clip_folder: Path, tmp_path: Path):
    """The same weights behind another mean give other vectors, which must not share a cache."""
    there = copied(clip_folder, tmp_path)
    config = {**CLIP, "preprocess_cfg": {"mean": [0.1, 0.4, 0.3], "std": [0.2, 0.3, 0.25]}}
    (there / "open_clip_config.json").write_text(json.dumps(config))
    before, after = load_encoder(f"local-dir:{clip_folder}", "cpu"), load_encoder(f"local-dir:{there}", "cpu")
    assert before.weights_sha256 == after.weights_sha256
    assert np.abs(before.encode_images(pictures(1)) - after.encode_images(pictures(1))).max() > 1e-3
    assert before.id != after.id


def test_description_and_slug(folder: tuple[str, Path]):
    encoder = load_encoder(f"{folder[0]}{folder[1]}", "cpu")
    described = json.loads(json.dumps(encoder.describe()))
    assert described["id"] == encoder.id
    assert described["dim"] == encoder.dim
    assert len(described["weights_sha256"]) == 64
    assert described["preprocessing"]["mean"]
    assert set(encoder.slug) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.@_-")


def test_loaded_once(clip_folder: Path):
    assert load_encoder(f"local-dir:{clip_folder}", "cpu") is load_encoder(f"local-dir:{clip_folder}", "cpu")


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────


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
        ("python:no.such.module:Thing", "cannot be made"),
        ("python:artifacts.encoders.registry", "cannot be made"),
        ("python:artifacts.encoders.registry:Nothing", "cannot be made"),
        ("python:artifacts.encoders.base:Encoder", "cannot be made"),
        ("python:collections:OrderedDict", "not a subclass"),
    ],
)
def test_specs_that_are_refused(spec: str, message: str):
    with pytest.raises(EncoderError, match=message) as caught:
        load_encoder(spec, "cpu")
    assert repr(spec) in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "half", "noise", "missing", "other shapes"])
def test_damaged_weights(folder: tuple[str, Path], tmp_path: Path, damage: str):
    kind, here = folder
    there = copied(here, tmp_path)
    [path] = there.glob("*.safetensors")
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other shapes":
        save_file({name: torch.zeros(3) for name in load_file(path)}, path)
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "noise": b"\xff" * 1000}[damage])
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(f"{kind}{there}", "cpu")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model_cfg": {"embed_dim": 4, "nonsense": 1}}'])
def test_damaged_configuration(folder: tuple[str, Path], tmp_path: Path, content: str):
    kind, here = folder
    there = copied(here, tmp_path)
    [path] = there.glob("*.json")
    path.write_text(content)
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(f"{kind}{there}", "cpu")


@pytest.mark.parametrize("device", ["tpu9", "cpu:x", "banana", ""])
def test_devices_that_are_refused(clip_folder: Path, device: str):
    with pytest.raises(EncoderError, match="device"):
        load_encoder(f"local-dir:{clip_folder}", device)


def test_cuda_where_there_is_none(clip_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EncoderError, match="no CUDA"):
        load_encoder(f"local-dir:{clip_folder}", "cuda:1")
    assert load_encoder(f"local-dir:{clip_folder}", "auto").dim == 24


# ── your own ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Own(Encoder):
    """The mean colour."""

    weights_sha256 = "ab" * 32
    dim = 3
    preprocessing = {"mean": True}  # noqa: RUF012

    def prepare(self, picture: Image.Image) -> np.ndarray:
        return np.asarray(picture, dtype=np.float64).reshape(-1, 3).mean(axis=0)

    def image_vectors(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(prepared)


class WrongShape(Own):
    dim = 4


class Unfinished(Own):
    def __init__(self) -> None:
        raise RuntimeError("no licence")


class Bare(Encoder):
    def image_vectors(self, prepared: Sequence[Any]) -> np.ndarray:
        return np.zeros((len(prepared), 1))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    """How a spec names this module."""
    monkeypatch.setitem(sys.modules, "an_own_encoder", sys.modules[__name__])
    return "python:an_own_encoder"


def test_an_own_encoder(own: str):
    encoder = load_encoder(f"{own}:Own")
    vectors = encoder.encode_images([Image.new("RGB", (60, 60), (30, 40, 0)), Image.new("RGB", (60, 60))])
    np.testing.assert_allclose(vectors, [[0.6, 0.8, 0], [0, 0, 0]], atol=1e-6)
    assert vectors.dtype == np.float32
    assert encoder.spec == f"{own}:Own"
    assert encoder.id.startswith(f"{own}:Own@")
    with pytest.raises(TextNotSupported):
        encoder.encode_texts(["red"])


def test_an_own_encoder_of_the_wrong_shape(own: str):
    with pytest.raises(EncoderError, match=r"shape \(1, 3\), not \(1, 4\)"):
        load_encoder(f"{own}:WrongShape").encode_images(pictures(1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Unfinished", "no licence"),
        ("Bare", "does not set weights_sha256, dim, preprocessing"),
        ("pictures", "pictures"),
    ],
)
def test_own_encoders_that_are_refused(own: str, name: str, message: str):
    with pytest.raises(EncoderError, match=message):
        load_encoder(f"{own}:{name}")


# ── the sample encoder ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_sample_encoder_needs_no_network():
    encoder = load_encoder("sample", "cpu")
    assert encoder.supports_text
    vectors = np.concatenate([encoder.encode_images(pictures(3)), encoder.encode_texts(TEXTS)])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.id.startswith("sample@")
    assert encoder.weights_sha256 == load_encoder(f"local-dir:{SAMPLE_ENCODER}", "cpu").weights_sha256


def test_the_sample_encoder_tells_colours():
    encoder = load_encoder("sample", "cpu")
    colours = {"red": (200, 30, 30), "blue": (30, 60, 200), "green": (40, 150, 60)}
    seen = encoder.encode_images([Image.new("RGB", (224, 224), colour) for colour in colours.values()])
    assert (seen @ seen.T)[~np.eye(3, dtype=bool)].max() < 0.999
