"""Fingerprints: digests of everything that a result depends on, and the rule that skips recorded work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


def fingerprint(*parts: object) -> str:
    """Return a short digest of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Recorded(Generic[Value]):
    """The result of an earlier run that is still complete, and the fingerprint of what it was made from."""

    fingerprint: str
    value: Value


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """A result, and whether this run made it."""

    value: Value
    changed: bool


def if_changed(fingerprint: str, recorded: Recorded[Value] | None, work: Callable[[], Value]) -> Outcome[Value]:
    """Return the recorded result if it was made from the same inputs; otherwise do the work.

    Args:
        fingerprint: digest of everything that the result depends on.
        recorded: the earlier result; None if there is none, or if it is incomplete or to be made again.
        work: makes the result and records it.
    """
    if recorded is not None and recorded.fingerprint == fingerprint:
        return Outcome(recorded.value, changed=False)
    return Outcome(work(), changed=True)
