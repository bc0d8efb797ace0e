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
    """Where a store is: in a folder of this machine, then on another file system."""
    if request.param == "folder":
        yield str(tmp_path / "releases")
        return
    root = f"/store-{next(_NUMBERS)}"
    yield f"memory:/{root}"
    filesystem = fsspec.filesystem("memory")
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)


@pytest.fixture
def open_store(url: str, tmp_path: Path) -> Callable[[str], Store]:
    """Opens the same store from a machine of that name; each machine has a cache of its own."""
    return lambda machine="local": Store(url, tmp_path / f"cache-{machine}")


@pytest.fixture
def store(open_store: Callable[[str], Store]) -> Store:
    return open_store("local")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Run FAISS on one thread: tiny searches over several OpenMP threads mostly wait for each other."""
    faiss.omp_set_num_threads(1)
