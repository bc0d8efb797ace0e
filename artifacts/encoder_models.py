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

#: Numbers in a text tower from which on bfloat16 is quicker: with ViT-B-32's 63 million it is, with the sample's 3 it
#: is not. A figure and no stopwatch, so that all workers read a text alike.
_LARGE = 20_000_000


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
        super().__init__(spec, device)
        self.model, self.transform = _loaded(spec, lambda: self._made(model, tag))
        self.tokenizer = _loaded(spec, lambda: open_clip.get_tokenizer(model))
        self.model.eval()
        self.weights_sha256 = digest_of(self.model.state_dict())
        settings = getattr(self.model.visual, "preprocess_cfg", None) or asdict(PreprocessCfg())
        self.preprocessing = {name: _plain(value) for name, value in dict(settings).items()}
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

    def quicken(self) -> None:
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

    def _shortened(self) -> _ShortText | None:
        """A CLIP's text tower for short texts, if that gives the same; tried, for it is not ours."""
        model = self.model
        if type(model) is not open_clip.CLIP or model.text_pool_type != "argmax" or model.attn_mask is None:
            return None
        short = _ShortText(model)
        probe = self.tokenizer(["a photo", "a photo of a striped mug with a handle"])
        whole, cut = (self._run(call, probe) for call in (model.encode_text, short))
        same = bool(np.allclose(whole, cut, rtol=1e-3, atol=1e-4 * float(np.abs(whole).max())))
        return short if same else None


class _ShortText(torch.nn.Module):
    """CLIP's `encode_text` over the tokens of the longest text alone, in place of all 77 places.

    The tower is causal and reads a text at its end token, so what pads it after that changes nothing.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name in (
            "token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "attn_mask",
        ):  # fmt: skip
            setattr(self, name, getattr(model, name))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        parts: Any = self
        ends = tokens.argmax(dim=-1)  # the end token has the highest number
        length = int(ends.max()) + 1
        kind = parts.transformer.get_cast_dtype()
        x = parts.token_embedding(tokens[:, :length]).to(kind) + parts.positional_embedding[:length].to(kind)
        x = parts.ln_final(parts.transformer(x, attn_mask=parts.attn_mask[:length, :length]))
        x = x[torch.arange(len(x), device=x.device), ends]
        projection = parts.text_projection
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


def _computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for it; without them it takes longer than float32."""
    there = torch.cpu.get_capabilities()
    return bool(there.get("amx_bf16") or there.get("avx512_bf16"))


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
