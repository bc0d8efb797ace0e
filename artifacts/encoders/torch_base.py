"""What encoders that run a torch model have in common."""

from __future__ import annotations

import hashlib
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
    """A torch model on a device, with a transform from picture to tensor.

    Args:
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, …

    Attributes:
        model: the torch module, on the device and in evaluation mode; set by the subclass.
        transform: from an upright RGB picture to the model's input tensor; set by the subclass.

    Raises:
        EncoderError: there is no such device.
    """

    # open_clip and timm create these at run time: a type checker knows nothing about them.
    model: Any
    transform: Any

    def __init__(self, spec: str, device: str) -> None:
        self.spec = spec
        self.device = resolve_device(device)

    def prepare(self, picture: Image.Image) -> torch.Tensor:
        return self.transform(picture)

    def _run(self, call: Callable[..., torch.Tensor], batch: torch.Tensor) -> np.ndarray:
        """Call the model, or a part of it, on a batch; return float32[n, dim]."""
        # Half precision on a GPU: twice the speed, and its error is far below that of float16 storage.
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"),
        ):
            return call(batch.to(self.device, non_blocking=True)).float().cpu().numpy()

    def _measure_dim(self, call: Callable[..., torch.Tensor], size: int | Sequence[int]) -> int:
        """Return the length of the vectors of a model that takes pictures of this size in px (height, width)."""
        height, width = (size, size) if isinstance(size, int) else size
        return int(self._run(call, torch.zeros(1, 3, height, width)).shape[1])


def resolve_device(name: str) -> torch.device:
    """Return the torch device of a setting; `auto` is a GPU if there is one.

    Raises:
        EncoderError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EncoderError(f"device {name!r} is not understood: use auto, cpu or cuda; {error}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EncoderError(f"device {name!r}: this machine has no CUDA GPU; use auto or cpu")
    return device


def load_or_explain(spec: str, load: Callable[[], Any]) -> Any:
    """Return the result of a loader of open_clip or timm.

    Raises:
        EncoderError: the loader failed; the message says what to do.
    """
    try:
        return load()
    except Exception as error:
        # The hub client raises OSErrors (no connection, no such repository), which open_clip may wrap in RuntimeError;
        # a damaged configuration or weights file raises errors of any class, safetensors' own included.
        message = textwrap.shorten(str(error) or type(error).__name__, 240, placeholder=" …")
        if "local-dir:" not in spec and ("download" in message or isinstance(error, OSError)):
            message += (
                "; without a network, fetch the weights elsewhere and use local-dir:FOLDER, or use the sample encoder"
            )
        raise EncoderError(f"encoder {spec!r} cannot be loaded: {message}") from error


def weights_digest(model: torch.nn.Module) -> str:
    """Return the sha256 of a model's weights, in hex; the same on every device.

    It covers names, shapes and float32 bytes, in the order of the names.
    """
    digest = hashlib.sha256()
    tensors = model.state_dict()
    for name in sorted(tensors):
        array = tensors[name].detach().float().cpu().contiguous().numpy()
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def to_plain(value: Any) -> Any:
    """Convert a preprocessing setting to what JSON can hold: tuples to lists, paths to text."""
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
