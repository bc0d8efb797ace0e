"""Encoders of timm: pictures only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from artifacts.encoders.torch_base import TorchEncoder, load_or_explain, to_plain, weights_digest


class TimmEncoder(TorchEncoder):
    """A timm model without its classifier: pictures only.

    Args:
        spec: of the encoder.
        model: timm's model name with tag, or `local-dir:FOLDER`.
        device: see TorchEncoder.

    Raises:
        EncoderError: the model cannot be loaded, or there is no such device.
    """

    def __init__(self, spec: str, model: str, device: str) -> None:
        super().__init__(spec, device)
        created = load_or_explain(spec, lambda: timm.create_model(model, pretrained=True, num_classes=0))
        self.model = created.to(self.device)
        self.model.eval()
        self.weights_sha256 = weights_digest(self.model)
        preprocessing: dict[str, Any] = resolve_model_data_config(self.model)
        self.preprocessing = {name: to_plain(value) for name, value in preprocessing.items()}
        self.transform = create_transform(**preprocessing, is_training=False)
        self.dim = self._measure_dim(self.model, preprocessing["input_size"][1:])

    def image_vectors(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        return self._run(self.model, torch.stack(list(prepared)))
