"""Loads, opens and drops the collections of segments in Milvus, and searches them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from pymilvus import DataType, MilvusClient
from pymilvus.client.types import LoadState

from artifacts.engines.base import ALL_CONDITIONS, Capabilities, CollectionSearch, Engine, EngineAddress, Found
from artifacts.engines.collection import Collection, RowBatch
from artifacts.engines.milvus.connection import Connection
from artifacts.engines.milvus.expressions import expression, rows_expression
from artifacts.engines.milvus.indexes import IndexOptions, index_options
from artifacts.engines.milvus.rows import collection_schema, has_shape, requests
from artifacts.engines.reference import NAME_PREFIX
from artifacts.errors import EngineError, EngineUnavailable
from artifacts.products.filters import Filter

#: Seconds of a call that changes or asks for little; of one that writes a batch; of a flush.
_SECONDS, _WRITE_SECONDS, _FLUSH_SECONDS = 20.0, 120.0, 600.0

#: Seconds between two looks at the build of an index, and without any progress before it is given up.
_LOOK_SECONDS, _STALLED_SECONDS = 0.5, 3_600.0

#: Rows of one request for vectors: 8 MB at 512-d.
_VECTORS = 4_000


class MilvusEngine(Engine):
    """Milvus 2.3 and later."""

    kind: ClassVar[str] = "milvus"
    capabilities: ClassVar[Capabilities] = Capabilities(
        max_results=16_384, conditions=ALL_CONDITIONS, efforts=(16, 32, 64, 128, 256, 512, 1024), repeatable=False
    )

    def __init__(self, address: EngineAddress) -> None:
        super().__init__(address)
        self._connection = Connection(address)
        self._made: set[str] = set()  # collections that this object has made and that have no rows yet
        self._vector_types: dict[str, DataType] = {}  # of collections that it has written to

    @classmethod
    def stored_options(cls, options: Mapping[str, int | float | str]) -> dict[str, int | float | str]:
        return index_options(options).stored

    def create(self, collection: Collection) -> None:
        options = index_options(collection.options)
        if self._has_shape(collection):
            return
        if self._described(collection.name) is not None and self._index(collection.name) is not None:
            self.refuse_to_replace(collection)
        self.drop(collection.name)

        def make(client: Any, seconds: float) -> None:
            schema = collection_schema(collection, _vector_type(options, client.get_server_version(timeout=seconds)))
            client.create_collection(collection.name, schema=schema, num_shards=options.shards, timeout=seconds)

        self._connection.call(_SECONDS, make)
        self._made.add(collection.name)

    def first_missing_row(self, collection: Collection) -> int:
        if collection.name in self._made:
            self._made.remove(collection.name)
            return 0
        self._make_searchable(collection)  # rows can be asked for only then
        return super().first_missing_row(collection)

    def write(self, collection: Collection, batch: RowBatch) -> None:
        name = collection.name
        vector_type = self._vector_types.get(name) or self._vector_types.setdefault(name, self._vector_type(name))
        for rows in requests(collection, batch, vector_type):
            # Not `insert`: the client repeats a request whose answer was lost, and ids need not be unique in Milvus.
            self._connection.call(
                _WRITE_SECONDS,
                lambda client, seconds, rows=rows: client.upsert(collection.name, rows, timeout=seconds),
            )

    def has(self, collection: Collection, rows: np.ndarray) -> np.ndarray:
        found = self._query(collection.name, rows_expression(rows.tolist()), "id")
        return np.isin(rows, [row["id"] for row in found])

    def complete(self, collection: Collection) -> None:
        self._make_searchable(collection)
        self.check_count(collection, self.count(collection))

    def is_complete(self, collection: Collection) -> bool:
        # Not whether the index is finished: Milvus merges segments as it likes, and builds theirs anew.
        return (
            self._has_shape(collection)
            and self._index(collection.name) is not None
            and self._load_state(collection.name)[0]
            and self.count(collection) == collection.rows
        )

    def count(self, collection: Collection) -> int:
        (row,) = self._query(collection.name, "", "count(*)")
        return row["count(*)"]

    def open(self, collection: Collection) -> CollectionSearch:
        options = index_options(collection.options)
        if self._described(collection.name) is None:
            raise EngineError(f"{self._connection} has no collection {collection.name}; run the load step again")
        self.ping_collection(collection, _SECONDS)
        self.require_complete(collection)
        return _MilvusSearch(self._connection, collection, options, self._vector_type(collection.name))

    def ping(self, seconds: float) -> None:
        self._connection.call(seconds, lambda client, left: client.list_collections(timeout=left))

    def ping_collection(self, collection: Collection, seconds: float) -> None:
        # A Milvus that was started again answers long before it has loaded its collections.
        loaded, state = self._load_state(collection.name, seconds)
        if state is LoadState.NotExist or state is LoadState.NotLoad:  # not `==`: a progress of 0 or 1 equals them
            raise EngineError(f"{collection.name} in {self._connection} is not loaded; load it there")
        if not loaded:
            raise EngineUnavailable(f"{self._connection} is still loading {collection.name}")

    def names(self) -> list[str]:
        names = self._connection.call(_SECONDS, lambda client, seconds: client.list_collections(timeout=seconds))
        return [name for name in names if name.startswith(NAME_PREFIX)]

    def drop(self, name: str) -> None:
        def drop(client: Any, seconds: float) -> None:
            if client.has_collection(name, timeout=seconds):
                client.drop_collection(name, timeout=seconds)

        self._connection.call(_SECONDS, drop)
        self._made.discard(name)
        self._vector_types.pop(name, None)

    def close(self) -> None:
        self._connection.close()

    # ── states of a collection ───────────────────────────────────────────────────────────────────────────────────

    def _described(self, name: str) -> dict[str, Any] | None:
        def describe(client: Any, seconds: float) -> dict[str, Any] | None:
            if not client.has_collection(name, timeout=seconds):
                return None
            return client.describe_collection(name, timeout=seconds)

        return self._connection.call(_SECONDS, describe)

    def _index(self, name: str) -> dict[str, Any] | None:
        return self._connection.call(
            _SECONDS, lambda client, seconds: client.describe_index(name, "vector", timeout=seconds)
        )

    def _has_shape(self, collection: Collection) -> bool:
        """Return whether a collection is there, of this dimension and with these columns."""
        there = self._described(collection.name)
        return there is not None and has_shape(there, collection, _vector_type_of(there))

    def _vector_type(self, name: str) -> DataType:
        there = self._described(name)
        if there is None:
            raise EngineError(f"{self._connection} has no collection {name}; run the load step again")
        return _vector_type_of(there)

    def _query(self, name: str, filter_: str, field: str) -> list[dict[str, Any]]:
        """Return a field of the rows that pass, with everything that has been written."""
        return self._connection.call(
            _SECONDS,
            lambda client, seconds: client.query(
                name, filter_, output_fields=[field], consistency_level="Strong", timeout=seconds
            ),
        )

    def _make_searchable(self, collection: Collection) -> None:
        """Store what was written, build the index over it, and load it."""
        name, options = collection.name, index_options(collection.options)
        index = MilvusClient.prepare_index_params(
            "vector", index_type=options.index, metric_type="IP", params=dict(options.build)
        )
        call = self._connection.call
        call(_FLUSH_SECONDS, lambda client, seconds: client.flush(name, timeout=seconds))
        if self._index(name) is None:
            call(_SECONDS, lambda client, seconds: client.create_index(name, index, timeout=seconds, sync=False))
        self._wait(f"the index of {name}", lambda: self._index_state(name))
        call(_SECONDS, lambda client, seconds: client.load_collection(name, timeout=seconds, _async=True))
        self._wait(f"the loading of {name}", lambda: self._load_state(name))

    def _index_state(self, name: str) -> tuple[bool, object]:
        """Return whether the index is built, and something that changes as it is."""
        state = self._index(name)
        if state is None:
            return False, None
        if state["state"] == "Failed":
            raise EngineError(f"{self._connection} cannot build the index of {name}; its log says why")
        return state["state"] == "Finished" and not state["pending_index_rows"], state["indexed_rows"]

    def _load_state(self, name: str, seconds: float = _SECONDS) -> tuple[bool, object]:
        state = self._connection.call(seconds, lambda client, left: client.get_load_state(name, timeout=left))
        return state["state"] == LoadState.Loaded, state.get("progress", state["state"])

    def _wait(self, what: str, look: Callable[[], tuple[bool, object]]) -> None:
        done, progress = look()
        end = time.monotonic() + _STALLED_SECONDS
        while not done:
            time.sleep(_LOOK_SECONDS)
            done, now = look()
            if now != progress:
                progress, end = now, time.monotonic() + _STALLED_SECONDS
            if time.monotonic() > end:
                raise EngineUnavailable(f"{self._connection} does not get on with {what}; its log may say why")


class _MilvusSearch(CollectionSearch):
    def __init__(
        self, connection: Connection, collection: Collection, options: IndexOptions, vector_type: DataType
    ) -> None:
        self._connection = connection
        self._collection = collection
        self._options = options
        self._numbers = np.float16 if vector_type == DataType.FLOAT16_VECTOR else np.float32

    def search(self, queries: np.ndarray, k: int, effort: int, conditions: Filter, seconds: float) -> list[Found]:
        def search(client: Any, left: float) -> list[Found]:
            hits = client.search(
                self._collection.name,
                data=list(queries.astype(self._numbers)),
                anns_field="vector",
                filter=expression(self._collection, conditions),
                limit=k,
                search_params=self._options.search_params(k, effort),
                output_fields=["id"],  # without, milvus-lite returns all fields
                consistency_level="Eventually",  # others wait for writes of which there are none
                timeout=left,
            )
            return [Found(np.array(each.ids, np.int64), np.array(each.distances, np.float32)) for each in hits]

        return self._connection.call(seconds, search)

    def vectors(self, rows: np.ndarray, seconds: float) -> np.ndarray:
        vectors = np.empty((len(rows), self._collection.dim), np.float32)
        end = time.monotonic() + seconds
        for first in range(0, len(rows), _VECTORS):
            some = rows[first : first + _VECTORS]

            def query(client: Any, left: float, some: np.ndarray = some) -> list[dict[str, Any]]:
                return client.query(
                    self._collection.name,
                    rows_expression(np.unique(some).tolist()),
                    output_fields=["id", "vector"],
                    consistency_level="Eventually",
                    strict_float32=True,
                    timeout=left,
                )

            found = {row["id"]: row["vector"] for row in self._connection.call(end - time.monotonic(), query)}
            missing = [row for row in some.tolist() if row not in found]
            if missing:
                raise EngineError(f"{self._collection.name} in {self._connection} has no row {missing[0]}")
            vectors[first : first + len(some)] = [self._vector(found[row]) for row in some.tolist()]
        return vectors

    def _vector(self, value: Any) -> np.ndarray:
        if isinstance(value, list) and isinstance(value[0], bytes):  # of float16
            return np.frombuffer(value[0], self._numbers)
        return np.asarray(value)


def _vector_type_of(described: dict[str, Any]) -> DataType:
    return next((field["type"] for field in described["fields"] if field["name"] == "vector"), DataType.FLOAT_VECTOR)


def _vector_type(options: IndexOptions, version: str) -> DataType:
    """Return the type of vectors: float16 from Milvus 2.5 on. Older ones and milvus-lite cannot index it, or slowly."""
    if options.vector_type != "auto":
        return DataType[options.vector_type]
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) >= (2, 5):
        return DataType.FLOAT16_VECTOR
    return DataType.FLOAT_VECTOR
