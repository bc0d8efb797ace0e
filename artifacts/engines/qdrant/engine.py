"""Qdrant: a collection for each segment, an HNSW graph over float16 vectors, and an index for each column.

What a collection was made for is in its metadata, with a mark that `complete` sets last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from artifacts.engines.base import ALL_CONDITIONS, Capabilities, CollectionSearch, Engine, EngineAddress, Found
from artifacts.engines.collection import Collection, RowBatch
from artifacts.engines.payloads import payloads_of
from artifacts.engines.qdrant.connection import Connection
from artifacts.engines.qdrant.conversion import (
    QdrantOptions,
    filter_of,
    found_of,
    has_shape,
    index_of,
    options_of,
    quantization_of,
    shape_of,
)
from artifacts.engines.reference import NAME_PREFIX
from artifacts.errors import EngineError, EngineUnavailable
from artifacts.products.filters import Filter

#: Points of one request: Qdrant advises 64 to 256 and takes 32 MB; these are 6 MB of JSON at 2,048-d.
_POINTS = 256
#: Queries of one request, and vectors that are fetched by one.
_QUERIES, _VECTORS = 100, 1_000
#: Seconds after which a call that loads, and one that only asks, is given up; and the building of an index.
_LOAD_SECONDS, _ASK_SECONDS, _INDEX_SECONDS = 120, 30, 24 * 3600


class QdrantEngine(Engine):
    """Addresses are http(s)://host:port; memory: and path:folder are small ones in process, for tests and trials."""

    kind = "qdrant"
    capabilities = Capabilities(
        max_results=None,
        conditions=ALL_CONDITIONS - {"text_range"},
        efforts=(64, 128, 256, 512),
        repeatable=False,  # replicas build graphs of their own
    )

    def __init__(self, address: EngineAddress) -> None:
        super().__init__(address)
        self._server = Connection(address)

    @classmethod
    def stored_options(cls, options: Mapping[str, int | float | str]) -> dict[str, int | float | str]:
        return options_of(options).model_dump(exclude={"oversampling"})

    def create(self, collection: Collection) -> None:
        options, name = options_of(collection.options), collection.name
        with self._server.client(_LOAD_SECONDS) as client:
            exists = client.collection_exists(name)
            if exists and not has_shape(metadata := _metadata(client, name), collection):
                if metadata.get("complete"):
                    self.refuse_to_replace(collection)
                client.delete_collection(name)
                exists = False
            if not exists:
                client.create_collection(
                    name,
                    vectors_config=models.VectorParams(
                        size=collection.dim,
                        distance=models.Distance.DOT,
                        datatype=models.Datatype.FLOAT16,
                        on_disk=bool(options.on_disk),
                    ),
                    hnsw_config=models.HnswConfigDiff(
                        m=options.m,
                        ef_construct=options.ef_construct,
                        full_scan_threshold=options.full_scan_threshold,
                        on_disk=bool(options.on_disk),
                    ),
                    optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),  # off until all rows are there
                    quantization_config=quantization_of(options),
                    shard_number=options.shard_number,
                    replication_factor=options.replication_factor,
                    metadata={"shape": shape_of(collection), "complete": False},
                )
            if not has_shape(_metadata(client, name), collection):
                raise EngineError(f"{self._server} keeps no metadata of collections; use Qdrant 1.16 or later")
            # Before the graph is built, so that it gets links among the rows of each value.
            indexed = client.get_collection(name).payload_schema
            for column, dtype in collection.columns.items():
                if collection.field(column) not in indexed:
                    client.create_payload_index(name, collection.field(column), index_of(dtype))

    def write(self, collection: Collection, batch: RowBatch) -> None:
        # Eight decimals are exact for float16, and half as long in JSON.
        vectors = np.round(batch.vectors.astype(np.float64), 8)
        payloads = payloads_of(collection, batch.columns)
        for first in range(0, len(vectors), _POINTS):
            part = slice(first, first + _POINTS)
            points = models.Batch(
                ids=batch.rows[part].tolist(), vectors=vectors[part].tolist(), payloads=payloads[part]
            )
            with self._server.client(_LOAD_SECONDS) as client:
                client.upsert(collection.name, points, wait=True)

    def has(self, collection: Collection, rows: np.ndarray) -> np.ndarray:
        with self._server.client(_ASK_SECONDS) as client:
            found = client.retrieve(collection.name, rows.tolist(), with_payload=False, with_vectors=False)
        return np.isin(rows, np.array([point.id for point in found], np.int64))

    def complete(self, collection: Collection) -> None:
        name, threshold = collection.name, options_of(collection.options).indexing_threshold
        self.check_count(collection, self.count(collection))
        end = time.monotonic() + _INDEX_SECONDS
        status = models.CollectionStatus.GREY
        while status != models.CollectionStatus.GREEN:
            with self._server.client(_LOAD_SECONDS) as client:
                # Grey is also a server that was restarted: it goes on with the index after an update.
                if status == models.CollectionStatus.GREY:
                    optimizers = models.OptimizersConfigDiff(indexing_threshold=threshold)
                    client.update_collection(name, optimizers_config=optimizers)
                info = client.get_collection(name)
            status = info.status
            if status == models.CollectionStatus.RED:
                raise EngineError(f"{self._server} cannot build the index of {name}: {info.optimizer_status}")
            if time.monotonic() > end:
                raise EngineUnavailable(f"{self._server} has not built the index of {name} in a day; look at its log")
            if status != models.CollectionStatus.GREEN:
                time.sleep(0.5)
        with self._server.client(_LOAD_SECONDS) as client:
            client.update_collection(name, metadata={"complete": True})

    def is_complete(self, collection: Collection) -> bool:
        with self._server.client(_ASK_SECONDS) as client:
            if not client.collection_exists(collection.name):
                return False
            metadata = _metadata(client, collection.name)
        return has_shape(metadata, collection) and metadata.get("complete") is True

    def count(self, collection: Collection) -> int:
        with self._server.client(_LOAD_SECONDS) as client:
            return client.count(collection.name, exact=True).count

    def open(self, collection: Collection) -> CollectionSearch:
        self.require_complete(collection)
        return QdrantSearch(self._server, collection, options_of(collection.options))

    def ping(self, seconds: float) -> None:
        with self._server.client(seconds) as client:
            client.get_collections()

    def names(self) -> list[str]:
        with self._server.client(_ASK_SECONDS) as client:
            names = [each.name for each in client.get_collections().collections]
        return sorted(name for name in names if name.startswith(NAME_PREFIX))

    def drop(self, name: str) -> None:
        with self._server.client(_LOAD_SECONDS) as client:
            client.delete_collection(name)

    def close(self) -> None:
        self._server.close()


def _metadata(client: QdrantClient, name: str) -> Mapping[str, Any]:
    return client.get_collection(name).config.metadata or {}


class QdrantSearch(CollectionSearch):
    """An open collection."""

    def __init__(self, server: Connection, collection: Collection, options: QdrantOptions) -> None:
        self._server, self._collection, self._options = server, collection, options

    def search(self, queries: np.ndarray, k: int, effort: int, conditions: Filter, seconds: float) -> list[Found]:
        end, found = time.monotonic() + seconds, []
        quantization = None
        if self._options.quantization != "none":
            quantization = models.QuantizationSearchParams(rescore=True, oversampling=self._options.oversampling)
        params = models.SearchParams(hnsw_ef=effort or None, quantization=quantization)
        passing = filter_of(self._collection, conditions)
        for first in range(0, len(queries), _QUERIES):
            requests = [
                models.QueryRequest(query=query, limit=k, filter=passing, params=params, with_payload=False)
                for query in queries[first : first + _QUERIES].tolist()
            ]
            left = end - time.monotonic()
            with self._server.client(left) as client:
                # Qdrant gives up by itself, too, at the next whole second.
                answers = client.query_batch_points(self._collection.name, requests, timeout=max(1, math.ceil(left)))
            found += [found_of(answer.points) for answer in answers]
        return found

    def vectors(self, rows: np.ndarray, seconds: float) -> np.ndarray:
        end, name = time.monotonic() + seconds, self._collection.name
        stored: dict[Any, Any] = {}
        for first in range(0, len(rows), _VECTORS):
            with self._server.client(end - time.monotonic()) as client:
                points = client.retrieve(
                    name, rows[first : first + _VECTORS].tolist(), with_payload=False, with_vectors=True
                )
            stored.update((point.id, point.vector) for point in points)
        missing = [row for row in rows.tolist() if row not in stored]
        if missing:
            raise EngineError(f"{name} has no row {missing[0]}; run the load step again")
        return np.array([stored[row] for row in rows.tolist()], np.float32).reshape(len(rows), self._collection.dim)
