"""Encoders of open_clip: pictures and texts in one space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg

from artifacts.encoders.short_text import ShortTextTower
from artifacts.encoders.torch_base import TorchEncoder, load_or_explain, to_plain, weights_digest
from artifacts.errors import EncoderError

#: Parameters of a text tower from which on bfloat16 is faster: it is with ViT-B-32's 63 million, and is not with the
#: sample's 3 million. It is a constant, not a measurement at start-up, so that all workers compute the same vectors.
LARGE_TEXT_TOWER = 20_000_000


class OpenClipEncoder(TorchEncoder):
    """An open_clip model: pictures and texts in one space.

    Args:
        spec: of the encoder.
        model: open_clip's model name, or `local-dir:FOLDER`.
        tag: open_clip's pretrained tag; None where the model's name already says where the weights are.
        device: see TorchEncoder.

    Raises:
        EncoderError: the model cannot be loaded, or there is no such device.
    """

    supports_text = True

    def __init__(self, spec: str, model: str, tag: str | None, device: str) -> None:
        super().__init__(spec, device)
        self.model, self.transform = load_or_explain(spec, lambda: self.create_model(model, tag))
        self.tokenizer = load_or_explain(spec, lambda: open_clip.get_tokenizer(model))
        self.model.eval()
        self.weights_sha256 = weights_digest(self.model)
        preprocessing = getattr(self.model.visual, "preprocess_cfg", None) or asdict(PreprocessCfg())
        self.preprocessing = {name: to_plain(value) for name, value in dict(preprocessing).items()}
        self.dim = self._measure_dim(self.model.encode_image, self.model.visual.image_size)
        self._short_tower = self._create_short_tower()
        self._encode_text = self._short_tower or self.model.encode_text

    def create_model(self, model: str, tag: str | None) -> tuple[Any, Any]:
        """Return the model, on the encoder's device, and its transform for pictures."""
        # create_model_from_pretrained refuses to return a model with random weights.
        created: Any = open_clip.create_model_from_pretrained(model, tag, device=self.device)
        return created

    def image_vectors(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        return self._run(self.model.encode_image, torch.stack(list(prepared)))

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        return self._run(self._encode_text, self.tokenizer(list(texts)))

    def optimize_inference(self) -> None:
        """Compute texts in bfloat16 where that is faster: on a CPU that has it, and with a large text tower.

        Pictures keep their precision: on the drawn sample catalog, bfloat16 changed 0.4 % of the hundred nearest for
        texts, and 0.6 % for pictures; see `lookalike bench texts`.
        """
        tower = self._short_tower
        size = sum(parameter.numel() for parameter in tower.parameters()) if tower else 0
        if self.device.type == "cpu" and size >= LARGE_TEXT_TOWER and cpu_has_bfloat16():
            self.texts_in_bfloat16()

    def texts_in_bfloat16(self) -> None:
        """Compute texts in bfloat16 from now on.

        Raises:
            EncoderError: the text tower is not of the kind for which this is known to work.
        """
        if self._short_tower is None:
            raise EncoderError(
                f"encoder {self.spec}: its text tower is not CLIP's, so it cannot be switched to bfloat16"
            )
        self._short_tower.to(torch.bfloat16)

    def _create_short_tower(self) -> ShortTextTower | None:
        """Return a tower for short texts, if it gives the same vectors as the model; None otherwise.

        Whether it does is tried out, because open_clip may change how its models compute.
        """
        model = self.model
        if type(model) is not open_clip.CLIP or model.text_pool_type != "argmax" or model.attn_mask is None:
            return None
        tower = ShortTextTower(model)
        probe = self.tokenizer(["a photo", "a photo of a striped mug with a handle"])
        full, short = (self._run(call, probe) for call in (model.encode_text, tower))
        equal = np.allclose(full, short, rtol=1e-3, atol=1e-4 * float(np.abs(full).max()))
        return tower if equal else None


def cpu_has_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16; without them it takes longer than float32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
