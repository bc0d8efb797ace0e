"""What the sample encoder is: its architecture and the numbers it is trained with."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "artifacts" / "sample_encoder"

VOCABULARY = 49408
CONTEXT = 24
CONFIG = {
    "model_cfg": {
        "embed_dim": 128,
        # A ResNet, not a ViT: with so few pictures it learned in 75 steps what a ViT of the same cost needed 325 for.
        "vision_cfg": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 24, "head_width": 64},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 64, "heads": 2, "layers": 2},
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
    """How it is trained.

    `captions`: texts for each product of a batch; they cost little beside its pictures. `word_boost`: how much faster
    than everything else the word vectors move, because most words come up in few batches only.
    """

    products: int = 10_000
    views: int = 2
    steps: int = 900
    batch: int = 128
    captions: int = 3
    word_boost: float = 3.0
    rate: float = 2e-3
    decay: float = 0.05
    warmup: int = 40
    picture_weight: float = 0.5
    seed: int = 11
    threads: int = 2
