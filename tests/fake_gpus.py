"""GPUs that are not there: FAISS's calls for GPUs, answered by copies in this machine's memory."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import pytest


@dataclass(slots=True)
class ClonerOptions:
    """The fields of FAISS's GpuClonerOptions (1.15). With slots, assigning to any other name is an error."""

    indicesOptions: int = 3  # INDICES_64_BIT
    useFloat16CoarseQuantizer: bool = False
    useFloat16: bool = False
    usePrecomputed: bool = False
    reserveVecs: int = 0
    storeTransposed: bool = False
    verbose: bool = False
    use_cuvs: bool = True  # in a build with cuVS
    allowCpuCoarseQuantizer: bool = False


@dataclass(slots=True)
class MultipleClonerOptions(ClonerOptions):
    """The fields of FAISS's GpuMultipleClonerOptions (1.15)."""

    shard: bool = False
    shard_type: int = 1
    common_ivf_quantizer: bool = False


class FakeGpus:
    """What FAISS has for GPUs.

    Attributes:
        copied: for each copy that was made, the number of its GPU and its rows.
        broken: every search fails while it is true.
        full: every copy fails while it is true.
        memory: rows that fit on each GPU; any number if None.
        searches: number of searches that were asked for.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.copied: list[tuple[int, int]] = []
        self.broken, self.full, self.searches = False, False, 0
        self.memory: int | None = None
        self._copies: dict[int, weakref.WeakSet[_Copy]] = defaultdict(weakref.WeakSet)
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: count)
        monkeypatch.setattr(faiss, "StandardGpuResources", _Resources, raising=False)
        monkeypatch.setattr(faiss, "GpuClonerOptions", ClonerOptions, raising=False)
        monkeypatch.setattr(faiss, "GpuMultipleClonerOptions", MultipleClonerOptions, raising=False)
        monkeypatch.setattr(faiss, "index_cpu_to_gpu", self._copy, raising=False)
        monkeypatch.setattr(faiss, "index_cpu_to_gpu_multiple_py", self._copy_to_all, raising=False)

    def _copy(self, _resources: Any, number: int, index: faiss.Index, options: Any) -> _Copy:
        assert isinstance(options, ClonerOptions)
        used = sum(copy.ntotal for copy in self._copies[number])
        if self.full or (self.memory is not None and used + index.ntotal > self.memory):
            raise RuntimeError("out of memory")
        self.copied.append((number, index.ntotal))
        copy = _Copy(faiss.clone_index(index), self)
        self._copies[number].add(copy)
        return copy

    def _copy_to_all(self, resources: list[Any], index: faiss.Index, options: Any, numbers: list[int]) -> _Copy:
        assert isinstance(options, MultipleClonerOptions)
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
