"""The tree of errors is the one that the docstring draws."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from artifacts import errors
from artifacts.schema import Reason


def drawn() -> dict[str, str]:
    """name -> parent, as the docstring draws it."""
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([ │├└─]*?)([A-Z][A-Za-z]+)(?:  |$)", line)
        if not found or not hasattr(errors, found[2]):
            continue
        depth, name = len(found[1]), found[2]
        while path and path[-1][0] >= depth:
            path.pop()
        parents[name] = path[-1][1] if path else "Exception"
        path.append((depth, name))
    return parents


def test_docstring_draws_the_classes():
    classes = inspect.getmembers(errors, lambda each: inspect.isclass(each) and each.__module__ == errors.__name__)
    assert drawn() == {name: kind.__bases__[0].__name__ for name, kind in classes}
    assert len(classes) > 10


def test_every_class_says_what_it_is():
    for name in drawn():
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
def test_errors_cross_process_borders(error: errors.LookalikeError):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
