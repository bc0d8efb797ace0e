"""An encoder of a real one's size and cost with random weights, to measure servers without downloading a model."""

from __future__ import annotations

from typing import Any

import open_clip
import torch

from artifacts.encoders.open_clip_model import OpenClipEncoder

#: The spec of `ClipShaped`.
CLIP_SHAPED = "python:jobs.bench.encoder:ClipShaped"

_MODEL = "ViT-B-32"


class ClipShaped(OpenClipEncoder):
    """CLIP ViT-B-32 with random weights of a fixed seed: 512 dimensions at the real model's cost, without meaning."""

    def __init__(self) -> None:
        super().__init__("", _MODEL, None, "auto")

    def create_model(self, model: str, tag: str | None) -> tuple[Any, Any]:
        torch.manual_seed(0)
        clip, _, transform = open_clip.create_model_and_transforms(model, device=self.device)
        return clip, transform
