"""TODO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from artifacts.encoders.base import digest_of
from artifacts.encoders.torch_base import TorchEncoder, load_or_explain, to_plain


class TimmEncoder(TorchEncoder):
    """A timm model without its classifier: pictures only.

    Args:
        model: timm's model name with tag, or `local-dir:FOLDER`.
    """

    def __init__(self, spec: str, model: str, device: str) -> None:
        super().__init__(spec, device)
        self.model = load_or_explain(spec, lambda: timm.create_model(model, pretrained=True, num_classes=0)).to(
            self.device
        )
        self.model.eval()
        self.weights_sha256 = digest_of(self.model.state_dict())
        settings: dict[str, Any] = resolve_model_data_config(self.model)
        self.preprocessing = {name: to_plain(value) for name, value in settings.items()}
        self.transform = create_transform(**settings, is_training=False)
        self.dim = self._dim_of(self.model, settings["input_size"][1:])

    def image_vectors(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        return self._run(self.model, torch.stack(list(prepared)))
