"""Loads classes of the shop's own, named as `python:package.module:Class`."""

from __future__ import annotations

import importlib

from artifacts.errors import LookalikeError

PREFIX = "python:"


def make_plugin(spec: str, role: str, error: type[LookalikeError] = LookalikeError) -> object:
    """An object of the class that a spec names, made without arguments.

    Args:
        spec: `python:package.module:Class`.
        role: what the object is for, for the message: encoder, ranker, …
        error: raised if it cannot be made.
    """
    module, _, name = spec.removeprefix(PREFIX).partition(":")
    try:
        return getattr(importlib.import_module(module), name)()
    except Exception as cause:  # foreign code can raise anything
        raise error(f"{role} {spec!r} cannot be made: {type(cause).__name__}: {cause}") from cause
