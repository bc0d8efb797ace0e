"""Creates objects of user-supplied classes, named by a spec `python:package.module:Class`."""

from __future__ import annotations

import importlib

from artifacts.errors import LookalikeError

PREFIX = "python:"


def make_plugin(spec: str, role: str, error: type[LookalikeError] = LookalikeError) -> object:
    """Import the class that a spec names and create an object of it, without arguments.

    Args:
        spec: `python:package.module:Class`.
        role: what the object is for, for error messages: encoder, ranker, …
        error: the class of the error to raise.

    Raises:
        LookalikeError: of class `error`; the import or the constructor failed.
    """
    module, _, name = spec.removeprefix(PREFIX).partition(":")
    try:
        return getattr(importlib.import_module(module), name)()
    except Exception as cause:  # foreign code can raise anything
        raise error(f"{role} {spec!r} cannot be created: {type(cause).__name__}: {cause}") from cause
