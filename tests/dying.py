"""Lets a process die in the middle of its work, as by `kill -9`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from typing import Any


def count_calls(calls: Iterable[tuple[object, str]]) -> list[int]:
    """Count the calls of these functions from now on; returns a list whose only item is their number."""
    number = [0]

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            number[0] += 1
            return call(*args, **options)

        return counted

    for owner, name in calls:
        setattr(owner, name, counting(getattr(owner, name)))
    return number


def die_before_call(calls: Iterable[tuple[object, str]], number: int) -> None:
    """Kill this process before one of these functions is called for the `number`-th time.

    Args:
        calls: the owner and the name of each function.
    """
    remaining = [number]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            remaining[0] -= 1
            if remaining[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return counted

    for owner, name in calls:
        setattr(owner, name, deadly(getattr(owner, name)))
