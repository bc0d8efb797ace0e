"""GPUs that are not there: FAISS's calls for GPUs, answered by copies in this machine's memory."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import faiss
import pytest


class FakeGpus:
    """What FAISS has for GPUs.

    Attributes:
        copied: for each copy that was made, the number of its GPU and its rows.
        broken: every search fails while it is true.
        full: every copy fails while it is true.
        searches: number of searches that were asked for.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.copied: list[tuple[int, int]] = []
        self.broken, self.full, self.searches = False, False, 0
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: count)
        monkeypatch.setattr(faiss, "StandardGpuResources", _Resources, raising=False)
        monkeypatch.setattr(faiss, "GpuClonerOptions", SimpleNamespace, raising=False)
        monkeypatch.setattr(faiss, "GpuMultipleClonerOptions", SimpleNamespace, raising=False)
        monkeypatch.setattr(faiss, "index_cpu_to_gpu", self._copy, raising=False)
        monkeypatch.setattr(faiss, "index_cpu_to_gpu_multiple_py", self._copy_to_all, raising=False)

    def _copy(self, _resources: Any, number: int, index: faiss.Index, _options: Any) -> _Copy:
        if self.full:
            raise RuntimeError("out of memory")
        self.copied.append((number, index.ntotal))
        return _Copy(faiss.clone_index(index), self)

    def _copy_to_all(self, resources: list[Any], index: faiss.Index, options: Any, numbers: list[int]) -> _Copy:
        copies = [self._copy(each, number, index, options) for each, number in zip(resources, numbers, strict=True)]
        return copies[0]  # FAISS shares the vectors among them

    def count_search(self) -> None:
        self.searches += 1
        if self.broken:
            raise RuntimeError("the GPU has failed")


class _Copy:
    """An index on a fake GPU."""

    def __init__(self, index: faiss.Index, gpus: FakeGpus) -> None:
        self._owner, self._index, self._gpus = index, faiss.downcast_index(index), gpus

    @property
    def quantizer(self) -> _Copy:
        return _Copy(self._index.quantizer, self._gpus)  # lives as long as the index, which the caller keeps

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._gpus.count_search()
            return call(*args, **kwargs)

        return counted

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._index, name)
        return self._counted(value) if name in ("search", "search_preassigned_c") else value


class _Resources:
    def setTempMemory(self, size: int) -> None:
        pass

    def setPinnedMemory(self, size: int) -> None:
        pass
