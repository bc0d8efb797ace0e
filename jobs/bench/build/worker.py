"""One stage of a build in a process of its own, so that its memory can be told apart."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from jobs.sizing.measured import Usage

_Result = TypeVar("_Result")

_SAMPLE_SECONDS = 0.05


def measured(call: Callable[..., _Result], *args: object) -> tuple[_Result, Usage]:
    """Call a function, and sample the memory of this process meanwhile."""
    peak, ended = [_own_mb()], threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            peak[0] = max(peak[0], _own_mb())

    sampler = threading.Thread(target=sample, daemon=True)
    began, core_began = time.monotonic(), time.process_time()
    sampler.start()
    try:
        result = call(*args)
    finally:
        ended.set()
        sampler.join()
    seconds, core_seconds = time.monotonic() - began, time.process_time() - core_began
    return result, Usage(seconds, core_seconds, max(peak[0], _own_mb()))


def processes(count: int) -> ProcessPoolExecutor:
    """Return processes that run what is submitted; they share nothing with this one."""
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))


def _own_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("RssAnon"))
    return int(kilobytes) / 1024
