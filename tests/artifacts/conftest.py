"""Fixtures of the tests of artifacts/."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import fsspec
import pytest

from artifacts.store.store import Store

_NUMBERS = itertools.count()


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a store: a folder of this machine, then one that is not on it."""
    if request.param == "folder":
        yield str(tmp_path / "releases")
        return
    root = f"/place-{next(_NUMBERS)}"
    yield f"memory:/{root}"
    filesystem = fsspec.filesystem("memory")
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)


@pytest.fixture
def open_store(url: str, tmp_path: Path) -> Callable[[str], Store]:
    """Opens the same store from a machine of that name: each has a cache of its own."""
    return lambda machine="here": Store(url, tmp_path / f"cache-{machine}")


@pytest.fixture
def store(open_store: Callable[[str], Store]) -> Store:
    return open_store("here")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny searches over several OpenMP threads wait for each other more than they search, most of all when busy."""
    faiss.omp_set_num_threads(1)
