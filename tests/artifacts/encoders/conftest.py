"""Fixtures of the tests of artifacts/encoders: folders of tiny models with random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from artifacts.encoders.registry import load_encoder
from tests.artifacts.encoders.encoder_building import CLIP


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: tiny models over several threads wait more than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """Load encoders again in each test, and keep none for other tests."""
    load_encoder.cache_clear()
    yield
    load_encoder.cache_clear()


@pytest.fixture(scope="package")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny open_clip model."""
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(CLIP))
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**CLIP["model_cfg"]).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="package")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny timm model, with a classifier."""
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
    """The prefix of a spec, and the folder that it is followed by."""
    return ("local-dir:", clip_folder) if request.param == "clip" else ("timm:local-dir:", timm_folder)
