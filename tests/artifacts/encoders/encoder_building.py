"""Pictures, texts and folders of weights for the tests of artifacts/encoders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: Configuration of a tiny open_clip model.
CLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]},
}
TEXTS = ["a red shoe", "eine grüne Tasche", "", "x " * 500, "\U0001f45f", "hat"]


def pictures(count: int) -> list[Image.Image]:
    """Draw pictures of noise, of several sizes."""
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (90, 50), (50, 200), (333, 333)]
    return [Image.fromarray(rng.integers(0, 255, (*sizes[number % 4][::-1], 3), np.uint8)) for number in range(count)]


def copy_folder(folder: Path, parent: Path) -> Path:
    """Copy a folder under its own name."""
    return Path(shutil.copytree(folder, parent / folder.name))
