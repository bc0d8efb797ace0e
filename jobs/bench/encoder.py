"""An encoder of a real one's size and cost, whose vectors mean nothing: for measuring servers without a network."""

from __future__ import annotations

from typing import Any

import open_clip
import torch

from artifacts.encoders.open_clip_model import OpenClipEncoder

_MODEL = "ViT-B-32"


class ClipShaped(OpenClipEncoder):
    """CLIP ViT-B-32 with weights drawn from a seed: 512 numbers, and the arithmetic of the real one."""

    def __init__(self) -> None:
        super().__init__("", _MODEL, None, "auto")

    def create_model(self, model: str, tag: str | None) -> tuple[Any, Any]:
        torch.manual_seed(0)
        made, _, transform = open_clip.create_model_and_transforms(model, device=self.device)
        return made, transform
