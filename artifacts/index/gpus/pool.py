"""The GPUs that a process searches on, and when it stops to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import faiss

from artifacts.errors import DeviceError
from artifacts.index.devices.opening import numbers_of

Answer = TypeVar("Answer")

#: FAISS's GPU indexes return at most so many results, and probe at most so many lists.
MAX_RESULTS = 2048

#: Failures without a success between them after which the GPUs are not asked again.
_MAX_FAILURES = 3

#: Memory of a GPU that is kept for the intermediate results of a copy's searches, and of the host for its transfers.
#: FAISS's defaults are 1.5 GB and 256 MB.
_TEMPORARY_BYTES, _PINNED_BYTES = 256 * 1024 * 1024, 16 * 1024 * 1024


class GpuReporter(Protocol):
    """Is told of searches that the CPU has to answer for the GPUs. Called from several threads at once."""

    def failed(self, error: str, given_up: bool) -> None:
        """A search failed on a GPU; GPUs may have been given up for it."""
        ...

    def too_deep(self, queries: int) -> None:
        """Queries asked for more than MAX_RESULTS candidates or lists."""
        ...


@dataclass(frozen=True)
class GpuCopy:
    """An index on a GPU, or a piece of one. Neither it nor its resources may be used by two threads at once."""

    index: faiss.Index
    resources: Any
    lock: threading.Lock = field(default_factory=threading.Lock)


class GpuPool:
    """GPUs to search on. Safe to use from several threads at once.

    Args:
        name: `cuda`, all GPUs with a copy of every index on each; `cuda:shards`, all GPUs with a piece of every index
            on each; `cuda:1`, that GPU.
        reporter: is told of searches that the CPU has to answer.

    Attributes:
        pieces: that an index is cut in; 1 if each GPU has it as a whole.

    Raises:
        DeviceError: the name is none of these, or FAISS sees no such GPU.
    """

    def __init__(self, name: str, reporter: GpuReporter) -> None:
        kind, _, which = name.partition(":")
        if kind != "cuda" or (which not in ("", "shards") and not which.isdecimal()):
            raise DeviceError(f"search_device {name!r} is not understood: use cpu, cuda, cuda:shards or cuda:1")
        seen = faiss.get_num_gpus()
        if not seen:
            raise DeviceError(
                f"search_device {name!r}: FAISS sees no GPU; install the extra `gpu` in place of `cpu`, or use cpu"
            )
        self._numbers = numbers_of(name, seen, "search_device")
        self.pieces = len(self._numbers) if which == "shards" else 1
        self._reporter = reporter
        self._failures = 0
        self._turn = 0
        self._threads = ThreadPoolExecutor(self.pieces, "gpu") if self.pieces > 1 else None

    @property
    def usable(self) -> bool:
        """Whether the GPUs have not failed too often."""
        return self._failures < _MAX_FAILURES

    def copy(self, pieces: Iterator[faiss.Index]) -> Sequence[GpuCopy]:
        """Copy an index to the GPUs.

        Args:
            pieces: as many as `pieces` says; taken one after the other, so that one is in memory at a time.

        Returns:
            A copy of each piece, one on each GPU; of the whole index on each GPU if there is one piece.

        Raises:
            RuntimeError: from FAISS, if there is not enough memory.
        """
        if self.pieces > 1:
            return [_copy(piece, number) for piece, number in zip(pieces, self._numbers, strict=True)]
        (whole,) = pieces
        return [_copy(whole, number) for number in self._numbers]

    def reaches(self, depth: int, queries: int) -> bool:
        """Return whether GPUs can search so deep, and report the queries if they cannot.

        Args:
            depth: candidates of each query, or lists to probe, whichever are more.
        """
        if depth > MAX_RESULTS and self.usable:
            self._reporter.too_deep(queries)
        return depth <= MAX_RESULTS

    def search(
        self, copies: Sequence[GpuCopy], ask: Callable[[faiss.Index], Answer], *, pieces: bool = True
    ) -> list[Answer] | None:
        """Search one copy of an index, or all its pieces at once.

        Args:
            ask: called with the index of each copy that is searched, under the copy's lock.
            pieces: whether all pieces have to be asked, and not any one of them.

        Returns:
            The answers, one for each piece; None if the GPUs are not usable or have failed: the CPU has to search.
        """
        if not self.usable:
            return None
        try:
            if pieces and self._threads is not None:
                answers = list(self._threads.map(lambda copy: _ask(copy, ask), copies))
            else:
                with self._free(copies) as copy:
                    answers = [ask(copy.index)]
        except RuntimeError as error:  # FAISS's own: not enough memory, mostly
            self._failures += 1
            self._reporter.failed(str(error), not self.usable)
            return None
        self._failures = 0
        return answers

    @contextmanager
    def _free(self, copies: Sequence[GpuCopy]) -> Iterator[GpuCopy]:
        """Lock a copy that no search uses, or wait for the next in turn."""
        first = self._turn = (self._turn + 1) % len(copies)  # two threads may take the same turn, which does no harm
        turn = [*copies[first:], *copies[:first]]
        copy = next((each for each in turn if each.lock.acquire(blocking=False)), None)
        if copy is None:
            copy = turn[0]
            copy.lock.acquire()
        try:
            yield copy
        finally:
            copy.lock.release()


def _ask(copy: GpuCopy, ask: Callable[[faiss.Index], Answer]) -> Answer:
    with copy.lock:
        return ask(copy.index)


def _copy(index: faiss.Index, number: int) -> GpuCopy:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_TEMPORARY_BYTES)
    resources.setPinnedMemory(_PINNED_BYTES)
    options = faiss.GpuClonerOptions()
    options.use_cuvs = False  # other layouts and limits, in another build of FAISS
    # PQ's tables of 56 parts and more fit a GPU's shared memory only so. Flat indexes stay in float32.
    options.useFloat16 = isinstance(index, faiss.IndexIVFPQ)
    return GpuCopy(faiss.index_cpu_to_gpu(resources, number, index, options), resources)
