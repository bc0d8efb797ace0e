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
from artifacts.index.devices.guarded import GuardedDevice

#: A file of which at least one exists where torch may find a GPU: NVIDIA's, AMD's, and the one of WSL. Importing torch
#: to ask takes seconds.
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def open_device(name: str, task: int | None = None) -> Device:
    """Return the device for training and filling an index.

    Args:
        name: auto, cpu, cuda or cuda:N. `cuda` is all GPUs that FAISS sees, or the first one of torch if FAISS sees
            none; `auto` is `cuda` where there is a GPU, else `cpu`, and the CPU takes over where a GPU fails.
        task: number of a task that may run beside others on this machine: `auto` and `cuda` are one GPU then, that of
            this number modulo those that are seen. None for all GPUs.

    Returns:
        The device; it raises DeviceError where a GPU fails that was named.

    Raises:
        DeviceError: the name is none of these, or there is no such GPU.
    """
    if name == "cpu":
        return CPU
    if name != "auto" and not re.fullmatch(r"cuda(:\d+)?", name):
        raise DeviceError(f"index_device {name!r} is not understood: use auto, cpu, cuda or cuda:1")
    device = _open_gpu(name, task)
    if device is not None:
        return GuardedDevice(device, falls_back=name == "auto")
    if name == "auto":
        return CPU
    raise DeviceError(
        f"index_device {name!r}: neither FAISS nor torch sees such a GPU; install the extra `gpu` in place of `cpu`, "
        "or use auto or cpu"
    )


def _open_gpu(name: str, task: int | None) -> Device | None:
    """Return the GPUs that a name stands for; None if there are none.

    Raises:
        DeviceError: FAISS sees GPUs, but none of that number.
    """
    seen = faiss.get_num_gpus()
    if seen:
        numbers = numbers_of(name, seen, "index_device")
        return FaissGpuDevice(numbers if task is None else [numbers[task % len(numbers)]])
    if name == "auto" and not any(Path(driver).exists() for driver in _DRIVERS):
        return None
    return _open_torch("cuda" if name == "auto" else name, task)


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


def _open_torch(name: str, task: int | None) -> Device | None:
    """Return a GPU as torch's; None if torch is not installed or does not see it."""
    if find_spec("torch") is None:
        return None
    import torch

    from artifacts.index.devices.torch_device import TorchDevice

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (torch.device(name).index or 0) >= count:
        return None
    if name == "cuda" and task is not None:
        name = f"cuda:{task % count}"
    return TorchDevice(name)
