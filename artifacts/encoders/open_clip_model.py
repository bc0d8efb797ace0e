"""The encoders that need torch: open_clip for pictures and text, timm for pictures only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg

from artifacts.encoders.base import digest_of
from artifacts.encoders.short_text import ShortText
from artifacts.encoders.torch_base import TorchEncoder, load_or_explain, to_plain
from artifacts.errors import EncoderError

#: Numbers in a text tower from which on bfloat16 is quicker: with ViT-B-32's 63 million it is, with the sample's 3 it
#: is not. A figure and no stopwatch, so that all workers read a text alike.
_LARGE = 20_000_000


class OpenClipEncoder(TorchEncoder):
    """An open_clip model: pictures and text in one space.

    Args:
        model: open_clip's model name, or `local-dir:FOLDER`.
        tag: open_clip's pretrained tag; None where the model's name already says where the weights are.
    """

    supports_text = True

    def __init__(self, spec: str, model: str, tag: str | None, device: str) -> None:
        super().__init__(spec, device)
        self.model, self.transform = load_or_explain(spec, lambda: self._made(model, tag))
        self.tokenizer = load_or_explain(spec, lambda: open_clip.get_tokenizer(model))
        self.model.eval()
        self.weights_sha256 = digest_of(self.model.state_dict())
        settings = getattr(self.model.visual, "preprocess_cfg", None) or asdict(PreprocessCfg())
        self.preprocessing = {name: to_plain(value) for name, value in dict(settings).items()}
        self.dim = self._dim_of(self.model.encode_image, self.model.visual.image_size)
        self._short = self._shortened()
        self._encode_text = self._short or self.model.encode_text

    def _made(self, model: str, tag: str | None) -> Any:
        """The model on its device, and its transform: a pair."""
        # create_model_from_pretrained refuses to return a model with random weights.
        return open_clip.create_model_from_pretrained(model, tag, device=self.device)

    def image_vectors(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        return self._run(self.model.encode_image, torch.stack(list(prepared)))

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        return self._run(self._encode_text, self.tokenizer(list(texts)))

    def optimize_inference(self) -> None:
        """Texts in bfloat16 where that is quicker: on a CPU that computes in it, and with a text tower that is large.

        Only texts: on the drawn sample catalog 0.4 % of the hundred nearest were others, and 0.6 % for pictures; see
        `lookalike bench texts`.
        """
        size = sum(each.numel() for each in self._short.parameters()) if self._short else 0
        if self.device.type == "cpu" and size >= _LARGE and _computes_in_bfloat16():
            self.texts_in_bfloat16()

    def texts_in_bfloat16(self) -> None:
        """Compute texts in bfloat16 from now on, in place.

        Raises:
            EncoderError: the text tower is not one of those that this is known to work for.
        """
        if self._short is None:
            raise EncoderError(f"encoder {self.spec}: its text tower is not CLIP's, so it is left in its own precision")
        self._short.to(torch.bfloat16)

    def _shortened(self) -> ShortText | None:
        """A CLIP's text tower for short texts, if that gives the same; tried, for it is not ours."""
        model = self.model
        if type(model) is not open_clip.CLIP or model.text_pool_type != "argmax" or model.attn_mask is None:
            return None
        short = ShortText(model)
        probe = self.tokenizer(["a photo", "a photo of a striped mug with a handle"])
        whole, cut = (self._run(call, probe) for call in (model.encode_text, short))
        same = bool(np.allclose(whole, cut, rtol=1e-3, atol=1e-4 * float(np.abs(whole).max())))
        return short if same else None


def _computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for it; without them it takes longer than float32."""
    there = torch.cpu.get_capabilities()
    return bool(there.get("amx_bf16") or there.get("avx512_bf16"))
