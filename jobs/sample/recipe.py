"""What the sample encoder is: its architecture and the numbers it is trained with."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "artifacts" / "sample_encoder"

VOCABULARY = 49408
CONTEXT = 24
CONFIG = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 96, "patch_size": 12, "width": 192, "layers": 4, "head_width": 48},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 96, "heads": 4, "layers": 2},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",  # the whole product is seen, whatever the picture's shape
    },
}


@dataclass(frozen=True)
class Recipe:
    """`hidden_patches`: share of each picture's patches left out in the first `hidden_steps` of the run. It halves the
    cost of a step, and what is learned from half a mug holds for the whole one (Li et al., FLIP, 2023)."""

    products: int = 10_000
    views: int = 2
    steps: int = 600
    batch: int = 128
    hidden_patches: float = 0.5
    hidden_steps: float = 0.85
    rate: float = 1.5e-3
    decay: float = 0.05
    warmup: int = 40
    picture_weight: float = 0.5
    seed: int = 11
    threads: int = 2
