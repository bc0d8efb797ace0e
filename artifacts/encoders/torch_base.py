"""TODO."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from artifacts.encoders.base import Encoder
from artifacts.errors import EncoderError


class TorchEncoder(Encoder):
    """A torch model on a device, with a transform from picture to tensor."""

    # open_clip and timm build these at run time: nothing a type checker could know.
    model: Any
    transform: Any

    def __init__(self, spec: str, device: str) -> None:
        self.spec = spec
        self.device = resolve_device(device)

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


def resolve_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EncoderError(f"device {name!r}: {error}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EncoderError(f"device {name!r}: this machine has no CUDA GPU; use auto or cpu")
    return device


def load_or_explain(spec: str, load: Callable[[], Any]) -> Any:
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


def to_plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
