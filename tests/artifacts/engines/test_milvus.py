from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from pymilvus import DataType, MilvusClient

from artifacts.engines.base import CollectionSearch, Engine, EngineAddress, Found
from artifacts.engines.checking import check_sample
from artifacts.engines.collection import BATCH_ROWS, Collection, RowBatch
from artifacts.engines.milvus.expressions import expression
from artifacts.engines.milvus.rows import requests
from artifacts.engines.registry import open_engine
from artifacts.errors import EngineError, EngineUnavailable
from artifacts.products.filters import Condition
from tests.artifacts.engines.conftest import Rows, unit_vectors
from tests.artifacts.engines.contract import EngineContract, loaded, no_progress
from tests.milvus_server import MilvusLiteServer, MilvusServer
from tests.waiting import running, wait_until

NAME = "lookalike_0123456789abcdef"


@pytest.fixture(scope="module")
def milvus() -> Iterator[MilvusServer]:
    with running(MilvusServer()) as server:
        yield server


@pytest.fixture(scope="module")
def milvus_lite() -> Iterator[MilvusLiteServer]:
    with running(MilvusLiteServer()) as server:
        yield server


class ServerTests(EngineContract):
    """Tests of a server that is killed, suspended or asked for what is special to Milvus."""

    other_options: ClassVar = {"M": 8, "efConstruction": 100}

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, server: MilvusServer | MilvusLiteServer) -> Iterator[Engine]:
        engine = open_engine("milvus", EngineAddress(server.url, server.key))
        yield engine
        engine.close()

    def test_writing_a_batch_again_has_each_row_once(self, engine: Engine) -> None:
        few = Rows(300)
        collection = few.collection(NAME)
        try:
            engine.create(collection)
            (batch,) = few.batches(0)
            engine.write(collection, batch)
            engine.write(collection, replace(batch, vectors=batch.vectors[::-1]))
            engine.complete(collection)
            assert engine.count(collection) == 300
            check_sample(engine, collection, np.arange(300), few.vectors[::-1].astype(np.float32), few.columns)
        finally:
            engine.drop(NAME)

    @pytest.mark.parametrize("options", [{"index": "IVF_FLAT", "nlist": 16}, {"shards": 2}])
    def test_collection_with_options_is_searched(
        self, engine: Engine, options: dict[str, int | str], rows: Rows
    ) -> None:
        if "shards" in options and "Lite" in type(self).__name__:
            pytest.skip("milvus-lite has no shards")
        collection = replace(rows.collection(NAME), options=options)
        try:
            engine.build(collection, rows.batches, no_progress)
            query = rows.queries(1)
            (found,) = engine.open(collection).search(query, 50, 16, (), 30)
            assert len(np.intersect1d(found.rows, rows.best(query[0], 50))) >= 25
        finally:
            engine.drop(NAME)

    def test_suspended_server_ends_searches_in_time(
        self, server: MilvusServer | MilvusLiteServer, search: CollectionSearch, rows: Rows
    ) -> None:
        def ask(_: int) -> float:
            began = time.monotonic()
            with pytest.raises(EngineUnavailable, match=r"did not answer|not available"):
                search.search(rows.queries(1), 10, 64, (), 1.0)
            return time.monotonic() - began

        search.search(rows.queries(1), 10, 64, (), 30)
        server.suspend()
        try:
            with ThreadPoolExecutor(8) as threads:
                taken = list(threads.map(ask, range(24)))
        finally:
            server.resume()
        assert max(taken) < 2.0
        wait_until(lambda: self._found(search, rows))

    @staticmethod
    def _found(search: CollectionSearch, rows: Rows) -> list[Found]:
        try:
            return search.search(rows.queries(1), 10, 64, (), 5)
        except EngineUnavailable:
            return []


@pytest.mark.milvus
class TestMilvus(ServerTests):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, milvus: MilvusServer) -> MilvusServer:
        return milvus

    @pytest.mark.parametrize(
        "options",
        [
            {"index": "FLAT"},
            {"index": "AUTOINDEX"},
            {"index": "IVF_SQ8", "nlist": 16},
            {"index": "IVF_PQ", "nlist": 16, "m": 16},
        ],
        ids=lambda options: options["index"],
    )
    def test_index_by_option_is_built_and_searched(
        self, engine: Engine, rows: Rows, options: dict[str, int | str]
    ) -> None:
        collection = replace(rows.collection(NAME), options=options)
        try:
            engine.build(collection, rows.batches, no_progress)
            assert engine.is_complete(collection)
            query = rows.queries(1)
            (found,) = engine.open(collection).search(query, 50, 16, (), 30)
            assert len(np.intersect1d(found.rows, rows.best(query[0], 50))) >= 40
        finally:
            engine.drop(NAME)

    def test_open_search_works_again_after_the_server_was_killed_and_started(
        self,
        milvus: MilvusServer,
        engine: Engine,
        opened: tuple[Collection, CollectionSearch],
        search: CollectionSearch,
        rows: Rows,
    ) -> None:
        (before,) = search.search(rows.queries(1), 10, 512, (), 30)
        milvus.kill()
        began = time.monotonic()
        with pytest.raises(EngineUnavailable):
            search.search(rows.queries(1), 10, 512, (), 5)
        with pytest.raises(EngineUnavailable):
            search.vectors(np.arange(3), 5)
        with pytest.raises(EngineUnavailable):
            engine.ping(5)
        with pytest.raises(EngineUnavailable):
            engine.ping_collection(opened[0], 5)
        assert time.monotonic() - began < 21
        milvus.start()
        wait_until(lambda: self._is_ready(engine, opened[0]), seconds=120)
        (after,) = search.search(rows.queries(1), 10, 512, (), 5)
        np.testing.assert_array_equal(after.rows, before.rows)
        assert len(search.vectors(np.arange(3), 30)) == 3
        engine.ping(5)

    @staticmethod
    def _is_ready(engine: Engine, collection: Collection) -> bool:
        try:
            engine.ping_collection(collection, 1)
        except EngineUnavailable:  # it loads its collections; an error of another kind would be a server's last word
            return False
        return True

    def test_collection_that_was_released_is_an_error_until_it_is_loaded(
        self, milvus: MilvusServer, engine: Engine, rows: Rows
    ) -> None:
        with loaded(engine, rows) as (collection, _):
            client = MilvusClient(milvus.url, token=milvus.key, dedicated=True)
            client.release_collection(collection.name)
            for look in (lambda: engine.ping_collection(collection, 5), lambda: engine.open(collection)):
                with pytest.raises(EngineError, match=f"{collection.name} .* is not loaded") as raised:
                    look()
                assert not isinstance(raised.value, EngineUnavailable)
            client.load_collection(collection.name)
            client.close()
            engine.ping_collection(collection, 5)

    @pytest.mark.parametrize("key", ["root:not-its-password", ""])
    def test_key_that_is_not_accepted_is_an_error_that_does_not_repeat_it(
        self, milvus: MilvusServer, key: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine = open_engine("milvus", EngineAddress(milvus.url, key))
        with caplog.at_level(logging.DEBUG), pytest.raises(EngineError, match="engine_key") as raised:
            engine.names()
        engine.close()
        assert not isinstance(raised.value, EngineUnavailable)
        assert "not-its-password" not in str(raised.value) + repr(engine.address) + caplog.text


@pytest.mark.server
class TestMilvusLite(ServerTests):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, milvus_lite: MilvusLiteServer) -> MilvusLiteServer:
        return milvus_lite


@pytest.mark.server
def test_nothing_is_started_before_the_first_call_and_forks_connect_for_themselves(
    milvus_lite: MilvusLiteServer,
) -> None:
    program = f"""
import os, threading
from artifacts.engines.base import EngineAddress
from artifacts.engines.registry import open_engine
engine = open_engine("milvus", EngineAddress({milvus_lite.url!r}))
assert threading.active_count() == 1
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        engine.ping(20)
        os._exit(7)
    children.append(child)
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
engine.ping(20)
engine.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize("url", ["milvus:19530", "postgresql://db/shop", "http://", "/var/lib/milvus.db", ""])
def test_address_of_another_kind_is_an_error(url: str) -> None:
    with pytest.raises(EngineError, match="engine_url"):
        open_engine("milvus", EngineAddress(url))


def test_credentials_in_the_address_are_an_error_that_does_not_repeat_them() -> None:
    with pytest.raises(EngineError, match="engine_key") as raised:
        open_engine("milvus", EngineAddress("http://root:s3cret@milvus:19530"))
    assert "s3cret" not in str(raised.value)


def test_server_that_is_not_there_is_unavailable() -> None:
    engine = open_engine("milvus", EngineAddress("http://127.0.0.1:1"))
    with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1:1"):
        engine.ping(5)
    engine.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "ANNOY"}, "index: 'ANNOY' is not one of HNSW"),
        ({"nlist": 100}, "'nlist': milvus has none for HNSW; use one of .*efConstruction"),
        ({"M": "16"}, "M: '16' is not a value like 16"),
        ({"M": True}, "M: True is not a value like 16"),
        ({"efConstruction": -1}, "efConstruction: -1"),
        ({"index": "IVF_RABITQ", "refine_type": 8}, "refine_type: 8 is not a value like 'SQ8'"),
        ({"vector_type": "FLOAT8"}, "vector_type: 'FLOAT8' is not one of auto"),
    ],
)
def test_options_that_milvus_does_not_have_are_errors(options: dict[str, int | str], message: str) -> None:
    engine = open_engine("milvus", EngineAddress("http://127.0.0.1:1"))
    with pytest.raises(EngineError, match=message):
        engine.create(replace(Rows(1).collection(NAME), options=options))


def test_large_batch_is_written_in_several_requests() -> None:
    text = "x" * 40_000
    columns = pa.table({"text": [text] * BATCH_ROWS})
    batch = RowBatch(4_000, unit_vectors(BATCH_ROWS), columns)
    collection = Collection(NAME, 6_000, batch.vectors.shape[1], {"text": pa.string()})
    parts = list(requests(collection, batch, DataType.FLOAT_VECTOR))
    assert len(parts) > 3
    assert [row["id"] for part in parts for row in part] == list(range(4_000, 6_000))


def test_text_too_long_for_a_field_is_cut_between_characters() -> None:
    columns = pa.table({"text": ["é" * 2_000, "a" + "é" * 2_000, "short"]})
    batch = RowBatch(0, unit_vectors(3), columns)
    collection = Collection(NAME, 3, batch.vectors.shape[1], {"text": pa.string()})
    ((first, second, third),) = requests(collection, batch, DataType.FLOAT16_VECTOR)
    assert (first["c0"], second["c0"], third["c0"]) == ("é" * 512, "a" + "é" * 511, "short")
    assert first["vector"].dtype == np.float16


def test_columns_beyond_the_fields_of_milvus_are_neither_stored_nor_filtered_on() -> None:
    columns = {f"column {number}": pa.int64() for number in range(40)}
    table = pa.table({name: pa.array([1, None], dtype) for name, dtype in columns.items()})
    batch = RowBatch(0, unit_vectors(2), table)
    collection = Collection(NAME, 2, batch.vectors.shape[1], columns)
    ((row, _),) = requests(collection, batch, DataType.FLOAT_VECTOR)
    assert len(row) == 64
    conditions = (Condition("column 30", any_of=(1,)), Condition("column 31", any_of=(1,)))
    assert expression(collection, conditions) == "c30_missing == false and c30 in [1]"


def test_infinite_bound_is_a_number_that_milvus_can_read() -> None:
    collection = Collection(NAME, 1, 4, {"price": pa.float64()})
    assert "inf" not in expression(collection, (Condition("price", minimum=float("-inf"), below=float("inf")),))
