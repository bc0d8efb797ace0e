"""The architecture of the sample encoder and the hyperparameters of its training."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "artifacts" / "sample_encoder"

VOCABULARY = 49408
CONTEXT = 24
CONFIG = {
    "model_cfg": {
        "embed_dim": 128,
        # A ResNet, not a ViT: on so few pictures it learned in 75 steps what took a ViT of the same cost 325 steps.
        "vision_cfg": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 24, "head_width": 64},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 64, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",  # keeps the whole product, whatever the aspect ratio
    },
}


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of the training."""

    products: int = 10_000
    views: int = 2  # pictures of each product
    steps: int = 900
    batch: int = 128  # products
    captions: int = 3  # for each product of a batch; they cost little beside its pictures
    word_boost: float = 3.0  # learning rate of the word vectors, relative to the rest: most words are in few batches
    rate: float = 2e-3  # the highest learning rate
    decay: float = 0.05
    warmup: int = 40  # steps
    picture_weight: float = 0.5  # of the loss between pictures
    seed: int = 11
    threads: int = 2
