"""Trained quantizers that a workspace keeps: training takes long, and a catalog that has changed a little needs none.

<sha256>.faiss    the trained, empty index
<sha256>.json     Quantizer, written after it
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from artifacts.errors import CorruptFile
from artifacts.storage import sha256_of
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import Workspace

if TYPE_CHECKING:
    import faiss

#: Newest quantizers that are kept: two encoders side by side, and the one before of each.
_KEPT = 4


@dataclass(frozen=True)
class Quantizer:
    """How a quantizer was trained.

    Attributes:
        sha256: of its file.
        encoder_id: of the vectors.
        factory: FAISS factory string.
        seed: of the sample and of k-means.
        rows_per_list: `train_rows_per_list` as it was set.
        train_rows: vectors in the sample.
        trained_at: aware.
        check: mean cosine of a check sample with their centroids, see `jobs.index.train`.
        similarity: mean cosine of the rows of the segment that it was trained for with their centroids; None until that
            segment is complete.
        list_similarity: how alike the rows of each list are, see `artifacts.index.training.Clusters`; none in records
            from before it was kept.
    """

    sha256: str
    encoder_id: str
    factory: str
    seed: int
    rows_per_list: int
    train_rows: int
    trained_at: datetime
    check: float
    similarity: float | None = None
    list_similarity: tuple[float, ...] = ()


def keep(workspace: Workspace, trained: faiss.Index, describe: Callable[[str], Quantizer]) -> Quantizer:
    """Write a trained, empty index to the workspace.

    Args:
        describe: called with the sha256 of its file.
    """
    from artifacts.index import build

    with tempfile.TemporaryDirectory(prefix="lookalike-") as scratch:
        path = Path(scratch) / "quantizer.faiss"
        build.write(trained, path)
        content = path.read_bytes()
    quantizer = describe(hashlib.sha256(content).hexdigest())
    workspace.quantizers.write_bytes(_file(quantizer.sha256), content)
    write_record(workspace.quantizers, _record(quantizer.sha256), quantizer)
    return quantizer


def kept(workspace: Workspace) -> list[Quantizer]:
    """Return the quantizers that a workspace keeps, newest first; damaged records are left out."""
    names = [name.removesuffix(".json") for name in workspace.quantizers.names() if name.endswith(".json")]
    found = [quantizer for name in names if (quantizer := _read(workspace, name))]
    return sorted(found, key=lambda quantizer: quantizer.trained_at, reverse=True)


@contextmanager
def file_of(workspace: Workspace, sha256: str) -> Iterator[Path]:
    """Yield the path on this machine of a quantizer's file.

    Raises:
        CorruptFile: it is missing or damaged.
    """
    with tempfile.TemporaryDirectory(prefix="lookalike-") as scratch:
        name = _file(sha256)
        if workspace.quantizers.is_local:
            path = workspace.quantizers.local(name)
        else:
            path = Path(scratch) / name
            if workspace.quantizers.exists(name):
                workspace.quantizers.fs.get_file(workspace.quantizers.path(name), str(path))
        if not path.is_file() or sha256_of(path) != sha256:
            raise CorruptFile(workspace.quantizers.path(name), "is missing or damaged; run the train step again")
        yield path


def load(workspace: Workspace, sha256: str) -> faiss.Index:
    """Read a trained, empty index into memory.

    Raises:
        CorruptFile: its file is missing or damaged.
    """
    from artifacts.index import build

    with file_of(workspace, sha256) as path:
        return build.read(path)


def is_intact(workspace: Workspace, sha256: str) -> bool:
    """Return whether a quantizer's file is there and has its digest."""
    try:
        with file_of(workspace, sha256):
            return True
    except CorruptFile:
        return False


def list_similarity(workspace: Workspace, sha256: str) -> np.ndarray | None:
    """Return how alike the rows of each list are, float32[lists]; None if the record does not say."""
    quantizer = _read(workspace, sha256)
    return np.array(quantizer.list_similarity, np.float32) if quantizer and quantizer.list_similarity else None


def record_similarity(workspace: Workspace, sha256: str, similarity: float | None) -> None:
    """Record the mean cosine of the segment that a quantizer was trained for."""
    quantizer = _read(workspace, sha256)
    if quantizer is not None and quantizer.similarity is None:
        write_record(workspace.quantizers, _record(sha256), replace(quantizer, similarity=similarity))


def remove_old(workspace: Workspace, used: str) -> None:
    """Remove all quantizers but the newest ones and the one in use."""
    for quantizer in kept(workspace)[_KEPT:]:
        if quantizer.sha256 != used:
            workspace.quantizers.remove(_record(quantizer.sha256))
            workspace.quantizers.remove(_file(quantizer.sha256))


def _read(workspace: Workspace, sha256: str) -> Quantizer | None:
    try:
        return read_record(workspace.quantizers, _record(sha256), Quantizer)
    except CorruptFile:
        return None


def _file(sha256: str) -> str:
    return f"{sha256}.faiss"


def _record(sha256: str) -> str:
    return f"{sha256}.json"
