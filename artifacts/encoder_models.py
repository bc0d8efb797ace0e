"""The encoders that need torch: open_clip for pictures and text, timm for pictures only."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
from open_clip.transform import PreprocessCfg
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform

from artifacts.encoder import Encoder, digest_of
from artifacts.errors import EncoderError


class _TorchEncoder(Encoder):
    """A torch model on a device, with a transform from picture to tensor."""

    # open_clip and timm build these at run time: nothing a type checker could know.
    model: Any
    transform: Any

    def __init__(self, spec: str, device: str) -> None:
        self.spec = spec
        self.device = _device(device)

    def prepare(self, picture: Image.Image) -> torch.Tensor:
        return self.transform(picture)

    def _run(self, call: Callable[..., torch.Tensor], batch: torch.Tensor) -> np.ndarray:
        # Half precision on a GPU: twice the speed, and far below what float16 storage rounds away anyway.
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"),
        ):
            return call(batch.to(self.device, non_blocking=True)).float().cpu().numpy()

    def _dim_of(self, call: Callable[..., torch.Tensor], size: int | Sequence[int]) -> int:
        height, width = (size, size) if isinstance(size, int) else size
        return int(self._run(call, torch.zeros(1, 3, height, width)).shape[1])


class OpenClipEncoder(_TorchEncoder):
    """An open_clip model: pictures and text in one space.

    Args:
        model: open_clip's model name, or `local-dir:FOLDER`.
        tag: open_clip's pretrained tag; None where the model's name already says where the weights are.
    """

    supports_text = True

    def __init__(self, spec: str, model: str, tag: str | None, device: str) -> None:
        self.spec = spec
        # create_model_from_pretrained refuses to return a model with random weights.
        made, transform = _loaded(spec, lambda: open_clip.create_model_from_pretrained(model, tag))
        self._take(made, transform, _loaded(spec, lambda: open_clip.get_tokenizer(model)), device)

    def _take(self, model: Any, transform: Any, tokenizer: Any, device: str) -> None:
        """Use a model that open_clip has made."""
        self.device = _device(device)
        self.model, self.transform, self.tokenizer = model.to(self.device), transform, tokenizer
        self.model.eval()
        self.weights_sha256 = digest_of(self.model.state_dict())
        settings = getattr(self.model.visual, "preprocess_cfg", None) or asdict(PreprocessCfg())
        self.preprocessing = {name: _plain(value) for name, value in dict(settings).items()}
        self.dim = self._dim_of(self.model.encode_image, self.model.visual.image_size)
        self._encode_text = self._short_text if self._can_be_short() else self.model.encode_text

    def image_vectors(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        return self._run(self.model.encode_image, torch.stack(list(prepared)))

    def text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        return self._run(self._encode_text, self.tokenizer(list(texts)))

    def _can_be_short(self) -> bool:
        """Whether this is a CLIP whose text tower gives the same for `_short_text`; tried, for it is not ours."""
        model = self.model
        if type(model) is not open_clip.CLIP or model.text_pool_type != "argmax" or model.attn_mask is None:
            return False
        probe = self.tokenizer(["a photo", "a photo of a striped mug with a handle"])
        whole, short = (self._run(call, probe) for call in (model.encode_text, self._short_text))
        return bool(np.allclose(whole, short, rtol=1e-3, atol=1e-4 * float(np.abs(whole).max())))

    def _short_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """CLIP's `encode_text` over the tokens of the longest text alone, in place of all 77 places.

        The tower is causal and reads a text at its end token, so what pads it after that changes nothing.
        """
        model = self.model
        ends = tokens.argmax(dim=-1)  # the end token has the highest number
        length = int(ends.max()) + 1
        kind = model.transformer.get_cast_dtype()
        x = model.token_embedding(tokens[:, :length]).to(kind) + model.positional_embedding[:length].to(kind)
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        x = x[torch.arange(len(x), device=x.device), ends]
        projection = model.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection


class TimmEncoder(_TorchEncoder):
    """A timm model without its classifier: pictures only.

    Args:
        model: timm's model name with tag, or `local-dir:FOLDER`.
    """

    def __init__(self, spec: str, model: str, device: str) -> None:
        super().__init__(spec, device)
        self.model = _loaded(spec, lambda: timm.create_model(model, pretrained=True, num_classes=0)).to(self.device)
        self.model.eval()
        self.weights_sha256 = digest_of(self.model.state_dict())
        settings: dict[str, Any] = resolve_model_data_config(self.model)
        self.preprocessing = {name: _plain(value) for name, value in settings.items()}
        self.transform = create_transform(**settings, is_training=False)
        self.dim = self._dim_of(self.model, settings["input_size"][1:])

    def image_vectors(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        return self._run(self.model, torch.stack(list(prepared)))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EncoderError(f"device {name!r}: {error}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EncoderError(f"device {name!r}: this machine has no CUDA GPU; use auto or cpu")
    return device


def _loaded(spec: str, load: Callable[[], Any]) -> Any:
    """The result of a loader of open_clip or timm, or an EncoderError that says what to do."""
    try:
        return load()
    except Exception as error:
        # The hub client raises OSErrors (no connection, no such repository), which open_clip may wrap in RuntimeError;
        # a configuration or a weights file that is not one raises anything, safetensors' own kind of error included.
        message = textwrap.shorten(str(error) or type(error).__name__, 240, placeholder=" …")
        if "local-dir:" not in spec and ("download" in message or isinstance(error, OSError)):
            message += "; with no network, fetch the weights elsewhere and use local-dir:FOLDER, or the sample encoder"
        raise EncoderError(f"encoder {spec!r} cannot be loaded: {message}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
