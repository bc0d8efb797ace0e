"""The body of `lookalike stream`: a stream with plain lines, and signals that end it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType

from rich.console import Console

from artifacts.config import StreamConfig
from jobs.stream.process import run_stream
from jobs.stream.report import StreamReport
from jobs.stream.sink import Apply


def stream_events(config: StreamConfig, apply: Apply, *, until_caught_up: bool, console: Console) -> StreamReport:
    """Run the stream in this process until it is caught up, or until SIGTERM or SIGINT.

    Args:
        apply: the refresh path; see `jobs.stream.sink`.
        console: for a line about each batch, with the time.

    Raises:
        LookalikeError: see `run_stream`.
    """

    def log(line: str) -> None:
        console.print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}", highlight=False, markup=False, soft_wrap=True)

    with _stop_signals() as stop:
        return run_stream(config, apply, until_caught_up=until_caught_up, stop=stop, log=log)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set; a second signal has its usual effect."""
    stop = threading.Event()
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()
        restore()

    for number in usual:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
