"""Pinecone: a namespace for each segment, in one index that exists; its address is the index's host.

A namespace is complete when Pinecone counts all rows in it. Pinecone has no search for several vectors and no setting
of accuracy, and shows what was written a little later.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from pinecone import AsyncIndex
from pinecone.errors import NotFoundError

from artifacts.engines.base import ALL_CONDITIONS, Capabilities, CollectionSearch, Engine, EngineAddress, Found
from artifacts.engines.collection import Collection, RowBatch
from artifacts.engines.pinecone.connection import CALL_SECONDS, IndexCalls, together
from artifacts.engines.pinecone.conversion import (
    filter_of,
    found_of,
    records_of,
    requests_of,
    rows_in,
)
from artifacts.engines.reference import NAME_PREFIX
from artifacts.errors import EngineError, EngineUnavailable
from artifacts.products.filters import Filter

#: Seconds after which rows that do not appear are given up.
_APPEAR_SECONDS = 600


class PineconeEngine(Engine):
    """Needs an index with the metric dotproduct or cosine, and an API key."""

    kind = "pinecone"
    capabilities = Capabilities(
        max_results=10_000, conditions=ALL_CONDITIONS - {"text_range"}, efforts=(), repeatable=False
    )

    def __init__(self, address: EngineAddress) -> None:
        super().__init__(address)
        self._index = IndexCalls(address)

    @classmethod
    def stored_options(cls, options: Mapping[str, int | float | str]) -> dict[str, int | float | str]:
        if options:
            raise EngineError(f"engine_options of pinecone: {next(iter(options))}: there are none; an index has them")
        return {}

    def create(self, collection: Collection) -> None:
        self.stored_options(collection.options)
        stats = self._index.stats()
        if stats.dimension != collection.dim:
            raise EngineError(
                f"{self._index} is for vectors of {stats.dimension} numbers, the segment's have {collection.dim}; "
                "create an index for those"
            )
        if stats.metric == "euclidean":
            raise EngineError(f"{self._index} has the metric euclidean; create one with dotproduct")
        if rows_in(stats, collection.name) > collection.rows:
            self.refuse_to_replace(collection)

    def write(self, collection: Collection, batch: RowBatch) -> None:
        for records in requests_of(records_of(collection, batch)):
            response = self._index.call(
                CALL_SECONDS,
                lambda index, records=records: index.upsert(
                    vectors=records, namespace=collection.name, timeout=CALL_SECONDS
                ),
            )
            if response.upserted_count != len(records):
                raise EngineError(f"{self._index} took {response.upserted_count} of {len(records)} rows; run it again")

    def has(self, collection: Collection, rows: np.ndarray) -> np.ndarray:
        stored = self._index.fetch(collection.name, rows, CALL_SECONDS)
        return np.array([row in stored for row in rows.tolist()], bool)

    def complete(self, collection: Collection) -> None:
        rows = self.count(collection)
        while rows != collection.rows:
            rows = self._wait_for_change(collection, rows)

    def is_complete(self, collection: Collection) -> bool:
        # A namespace is named after its segment's content, so what is in it cannot be another segment's.
        return self.count(collection) == collection.rows

    def count(self, collection: Collection) -> int:
        return rows_in(self._index.stats(), collection.name)

    def _wait_for_change(self, collection: Collection, rows: int) -> int:
        end = time.monotonic() + _APPEAR_SECONDS
        while (count := self.count(collection)) == rows:
            if time.monotonic() > end:
                raise EngineUnavailable(
                    f"{self._index} still shows {rows:,} rows in {collection.name}, which has {collection.rows:,}; "
                    "run the load step again, and drop the namespace if that does not help"
                )
            time.sleep(0.5)
        return count

    def open(self, collection: Collection) -> CollectionSearch:
        self.require_complete(collection)
        return PineconeSearch(self._index, collection)

    def ping(self, seconds: float) -> None:
        self._index.call(seconds, lambda index: index.list_namespaces_paginated(prefix=NAME_PREFIX, limit=1))

    def names(self) -> list[str]:
        async def work(index: AsyncIndex) -> list[str]:
            pages = index.list_namespaces(prefix=NAME_PREFIX, limit=100)
            return [namespace.name async for page in pages for namespace in page.namespaces]

        return sorted(self._index.call(CALL_SECONDS, work))

    def drop(self, name: str) -> None:
        async def work(index: AsyncIndex) -> None:
            with contextlib.suppress(NotFoundError):  # there is none
                await index.delete_namespace(name=name, timeout=CALL_SECONDS)

        self._index.call(CALL_SECONDS, work)

    def close(self) -> None:
        self._index.close()


class PineconeSearch(CollectionSearch):
    """An open namespace."""

    def __init__(self, index: IndexCalls, collection: Collection) -> None:
        self._index, self._collection = index, collection

    def search(self, queries: np.ndarray, k: int, effort: int, conditions: Filter, seconds: float) -> list[Found]:
        name, passing = self._collection.name, filter_of(self._collection, conditions)

        async def work(index: AsyncIndex) -> list[Any]:
            return await together(
                index.query(vector=query, top_k=k, namespace=name, filter=passing, timeout=seconds)
                for query in queries.tolist()
            )

        return [found_of(response.matches) for response in self._index.call(seconds, work)]

    def vectors(self, rows: np.ndarray, seconds: float) -> np.ndarray:
        stored = self._index.fetch(self._collection.name, rows, seconds)
        missing = [row for row in rows.tolist() if row not in stored]
        if missing:
            raise EngineError(f"{self._collection.name} has no row {missing[0]}; run the load step again")
        return np.array([stored[row] for row in rows.tolist()], np.float32).reshape(len(rows), self._collection.dim)
