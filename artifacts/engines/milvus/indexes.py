"""Which index a collection has, with which parameters, and what the effort of a search is to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifacts.errors import EngineError

Option = int | float | str

_IVF: dict[str, Option] = {"nlist": 1024}

#: Parameters of each index, with their defaults, whose types they have to have. None: what Milvus takes.
_PARAMETERS: dict[str, dict[str, Option]] = {
    "HNSW": {"M": 16, "efConstruction": 200},
    "IVF_FLAT": _IVF,
    "IVF_SQ8": _IVF,
    "IVF_PQ": {**_IVF, "m": 32, "nbits": 8},
    "IVF_RABITQ": {**_IVF, "refine": "true", "refine_type": "SQ8"},
    "FLAT": {},
    "AUTOINDEX": {},
}

#: Parameters of a search, of each index, that are options too.
_SEARCH_PARAMETERS: dict[str, dict[str, Option]] = {"IVF_RABITQ": {"rbq_query_bits": 0, "refine_k": 2.0}}

#: Options of a collection, whatever its index.
_COLLECTION_OPTIONS: dict[str, Option] = {"index": "HNSW", "shards": 1, "vector_type": "auto"}

VECTOR_TYPES = ("auto", "FLOAT_VECTOR", "FLOAT16_VECTOR")


@dataclass(frozen=True)
class IndexOptions:
    """How a collection is made and searched.

    Attributes:
        index: type of the index.
        shards: of the collection, which loading writes to in parallel.
        vector_type: "auto" for float16 where Milvus can index it.
        build: parameters of the index.
        search: parameters of each search, without the effort.
    """

    index: str
    shards: int
    vector_type: str
    build: Mapping[str, Option]
    search: Mapping[str, Option]

    @property
    def stored(self) -> dict[str, Option]:
        """The options that what a collection holds depends on."""
        return {"index": self.index, "shards": self.shards, "vector_type": self.vector_type, **self.build}

    def search_params(self, k: int, effort: int) -> dict[str, Any]:
        """Return the parameters of a search for `k` rows."""
        params: dict[str, Option] = dict(self.search)
        if self.index == "HNSW":
            params["ef"] = max(effort, k)  # less is refused
        elif "nlist" in self.build:
            params["nprobe"] = min(effort, int(self.build["nlist"]))
        return {"metric_type": "IP", "params": params}


def index_options(options: Mapping[str, Option]) -> IndexOptions:
    """Read a collection's options.

    Raises:
        EngineError: one is unknown, or its value is of another type.
    """
    index = str(options.get("index", _COLLECTION_OPTIONS["index"]))
    if index not in _PARAMETERS:
        raise EngineError(f"engine option index: {index!r} is not one of {', '.join(_PARAMETERS)}")
    search = _SEARCH_PARAMETERS.get(index, {})
    known = {**_COLLECTION_OPTIONS, **_PARAMETERS[index], **search}
    for name, value in options.items():
        if name not in known:
            raise EngineError(f"engine option {name!r}: milvus has none for {index}; use one of {', '.join(known)}")
        if type(value) is not type(known[name]) or (isinstance(value, int) and value < 0):
            # Milvus itself would retry the build of an index for ever.
            raise EngineError(f"engine option {name}: {value!r} is not a value like {known[name]!r}")
    chosen = {**known, **options}
    if chosen["vector_type"] not in VECTOR_TYPES:
        kinds = ", ".join(VECTOR_TYPES)
        raise EngineError(f"engine option vector_type: {chosen['vector_type']!r} is not one of {kinds}")
    return IndexOptions(
        index=index,
        shards=int(chosen["shards"]),
        vector_type=str(chosen["vector_type"]),
        build={name: chosen[name] for name in _PARAMETERS[index]},
        search={name: chosen[name] for name in search},
    )
