"""The tree of errors: it is the one that the docstring draws, and errors cross process borders."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from artifacts import errors
from artifacts.schema import Reason


def drawn_tree() -> dict[str, str]:
    """Name -> parent, as the docstring draws it."""
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([ │├└─]*?)([A-Z][A-Za-z]+)(?:  |$)", line)
        if not match or not hasattr(errors, match[2]):
            continue
        depth, name = len(match[1]), match[2]
        while path and path[-1][0] >= depth:
            path.pop()
        parents[name] = path[-1][1] if path else "Exception"
        path.append((depth, name))
    return parents


def test_the_docstring_draws_every_class():
    members = [member for _, member in inspect.getmembers(errors, inspect.isclass)]
    classes = [member for member in members if member.__module__ == errors.__name__]
    assert drawn_tree() == {error.__name__: error.__bases__[0].__name__ for error in classes}
    assert len(classes) > 10


def test_every_class_has_a_docstring():
    for name in drawn_tree():
        assert getattr(errors, name).__doc__, name


@pytest.mark.parametrize(
    "error",
    [
        errors.PictureError(Reason.TOO_SMALL, "1x1 px"),
        errors.QueryError("price_min", "is not a number"),
        errors.QueryPictureError("image", "1x1 px", Reason.TOO_SMALL),
        errors.CorruptFile("vectors.f16", "is missing"),
        errors.NoRelease("nothing yet"),
    ],
)
def test_errors_survive_pickling(error: errors.LookalikeError):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
