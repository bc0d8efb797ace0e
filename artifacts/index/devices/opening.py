"""Opens the device that a setting names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import faiss

from artifacts.errors import DeviceError
from artifacts.index.devices.device import CPU, Device
from artifacts.index.devices.faiss_gpu import FaissGpuDevice

#: A file of which at least one exists where torch may find a GPU: NVIDIA's, AMD's, and the one of WSL. Importing torch
#: to ask takes seconds.
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def open_device(name: str) -> Device:
    """Return the device for training and filling an index.

    Args:
        name: auto, cpu, cuda or cuda:N. `cuda` is all GPUs that FAISS sees, or the first one of torch if FAISS sees
            none; `auto` is `cuda` where there is a GPU, else `cpu`.

    Raises:
        DeviceError: the name is none of these, or there is no such GPU.
    """
    if name == "cpu":
        return CPU
    if name != "auto" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise DeviceError(f"index_device {name!r} is not understood: use auto, cpu, cuda or cuda:1")
    seen = faiss.get_num_gpus()
    if seen:
        return FaissGpuDevice(numbers_of(name, seen, "index_device"))
    if name != "auto" or any(Path(driver).exists() for driver in _DRIVERS):
        device = _open_torch("cuda" if name == "auto" else name)
        if device is not None:
            return device
    if name == "auto":
        return CPU
    raise DeviceError(
        f"index_device {name!r}: neither FAISS nor torch sees such a GPU; install the extra `gpu` in place of `cpu`, "
        "or use auto or cpu"
    )


def numbers_of(name: str, seen: int, setting: str) -> Sequence[int]:
    """Return the numbers of the GPUs that a name stands for: `cuda:1` for one, any other name for all.

    Args:
        seen: number of GPUs that FAISS sees.
        setting: that has the name, for the message.

    Raises:
        DeviceError: there is no GPU of that number.
    """
    _, _, number = name.partition(":")
    if not number.isdecimal():
        return range(seen)
    if int(number) >= seen:
        raise DeviceError(f"{setting} {name!r}: FAISS sees GPUs 0 to {seen - 1}")
    return [int(number)]


def _open_torch(name: str) -> Device | None:
    """Return a GPU as torch's; None if torch is not installed or does not see it."""
    if find_spec("torch") is None:
        return None
    import torch

    from artifacts.index.devices.torch_device import TorchDevice

    if not torch.cuda.is_available() or (torch.device(name).index or 0) >= torch.cuda.device_count():
        return None
    return TorchDevice(name)
