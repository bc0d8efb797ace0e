"""The engines that a benchmark is told of: names, addresses, credentials, and where their processes and files are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from artifacts.engines.base import EngineAddress
from artifacts.engines.registry import ENGINES
from artifacts.errors import InputError
from jobs.bench.index.peers.measuring import Held, memory_of_tree

#: What the environment variables of credentials begin with; the engine's kind follows, in capitals.
KEY_PREFIX = "LOOKALIKE_ENGINE_KEY_"


@dataclass(frozen=True)
class NamedEngine:
    """An engine to measure.

    Attributes:
        name: its kind; behind a colon whatever tells it from others of this kind.
        kind: as in the setting `engine`.
        address: with the credential.
        options: as in the setting `engine_options`.
        pid: of its process on this machine; None if it is elsewhere.
        folder: of its data on this machine; None if it is elsewhere.
    """

    name: str
    kind: str
    address: EngineAddress
    options: Mapping[str, int | float | str]
    pid: int | None = None
    folder: Path | None = None

    def memory(self) -> Held | None:
        """Return the memory of its process and of all that this has started; None if it is elsewhere."""
        if self.pid is None:
            return None
        held = [memory for _, memory in memory_of_tree(self.pid)]
        return Held(sum(memory.own_mb for memory in held), sum(memory.mapped_mb for memory in held))

    def disk_mb(self) -> float | None:
        """Return what the files in its folder take on disk; None if it is elsewhere."""
        if self.folder is None:
            return None
        blocks = 0
        for path in self.folder.rglob("*"):
            try:
                blocks += path.stat().st_blocks if path.is_file() else 0
            except FileNotFoundError:
                continue  # the engine has just removed it
        return blocks * 512 / 2**20


def named_engines(
    urls: Sequence[str],
    key: str = "",
    *,
    options: Sequence[str] = (),
    pids: Sequence[str] = (),
    folders: Sequence[str] = (),
) -> list[NamedEngine]:
    """Return the engines of arguments of the form NAME=VALUE.

    Args:
        urls: addresses; they say which engines there are.
        key: credential of those that the environment has none of their own for.
        options: JSON objects.
        pids: process ids.
        folders: of data.

    Raises:
        InputError: an argument that is not of this form, or names an engine that there is not.
    """
    addresses = _by_name("--engine", urls)
    names = list(addresses)
    for name in names:
        if name.partition(":")[0] not in ENGINES:
            raise InputError(f"--engine: {name!r} does not begin with one of {', '.join(ENGINES)}")
    built, running, stored = (
        _by_name(option, values, names)
        for option, values in (("--options", options), ("--pid", pids), ("--data", folders))
    )
    return [
        NamedEngine(
            name,
            kind := name.partition(":")[0],
            EngineAddress(url, os.environ.get(KEY_PREFIX + kind.upper(), key)),
            _options(built.get(name, "{}")),
            _pid(running.get(name)),
            _folder(stored.get(name)),
        )
        for name, url in addresses.items()
    ]


def _by_name(option: str, arguments: Sequence[str], names: Sequence[str] | None = None) -> dict[str, str]:
    found: dict[str, str] = {}
    for argument in arguments:
        name, sign, value = argument.partition("=")
        if not sign or not name or not value:
            # Not the argument itself: it may be an address with a password.
            raise InputError(f"{option}: {name.partition('://')[0]!r} is not of the form NAME=VALUE")
        if name in found:
            raise InputError(f"{option}: {name!r} is there twice; names of one kind differ behind a colon")
        if names is not None and name not in names:
            raise InputError(f"{option}: no --engine is called {name!r}")
        found[name] = value
    return found


def _options(text: str) -> dict[str, int | float | str]:
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--options: {text!r} is not JSON: {error}") from error
    if not isinstance(options, dict) or not all(isinstance(value, int | float | str) for value in options.values()):
        raise InputError(f"--options: {text!r} is not a JSON object of numbers and texts")
    return options


def _pid(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or not Path(f"/proc/{text}").exists():
        raise InputError(f"--pid: there is no process {text!r} on this machine")
    return int(text)


def _folder(text: str | None) -> Path | None:
    if text is not None and not Path(text).is_dir():
        raise InputError(f"--data: there is no folder {text!r}")
    return None if text is None else Path(text)
