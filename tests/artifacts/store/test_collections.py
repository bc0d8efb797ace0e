"""Collections of segments that no version names are dropped after a while, and with them the segments."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from artifacts.engines.reference import EngineRef
from artifacts.errors import EngineUnavailable
from artifacts.storage import Folder
from artifacts.store.collections import drop_collection, keep_collections
from artifacts.store.store import Store
from tests.artifacts.building import manifest_of, store_segment, unit_vectors, write_segment

URL = "postgresql://127.0.0.1/shop"


class Pool:
    """Takes the place of the engines of a process."""

    def __init__(self) -> None:
        self.dropped: list[tuple[str, str, str]] = []
        self.is_down = False

    def engine(self, kind: str, recorded_url: str = "") -> Any:
        pool = self

        class Engine:
            def drop(self, name: str) -> None:
                if pool.is_down:
                    raise EngineUnavailable("down")
                pool.dropped.append((kind, recorded_url, name))

        return Engine()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A store with a segment of files, `a`, and one of an engine, `b`."""
    engine = EngineRef(kind="pgvector", name="lookalike_b_0")
    write_segment(tmp_path / "segments/a", unit_vectors(5), segment_id="a")
    write_segment(tmp_path / "segments/b", unit_vectors(5), segment_id="b", engine=engine)
    return Folder(str(tmp_path))


def since(folder: Folder, age: timedelta) -> None:
    """Let `b` have been found unnamed so long ago."""
    marker = json.loads(folder.read_bytes("unnamed/b.json"))
    marker["since"] = (datetime.now(UTC) - age).isoformat()
    folder.write_text("unnamed/b.json", json.dumps(marker))


def test_collection_is_dropped_once_it_was_unnamed_for_the_grace_at_its_recorded_address(folder: Folder) -> None:
    pool = Pool()
    assert not drop_collection(folder, pool, 3600, "b", URL)  # type: ignore[arg-type]
    assert not drop_collection(folder, pool, 3600, "b")  # type: ignore[arg-type]
    since(folder, timedelta(hours=2))
    assert drop_collection(folder, pool, 3600, "b")  # type: ignore[arg-type]
    assert pool.dropped == [("pgvector", URL, "lookalike_b_0")]
    assert folder.names("unnamed") == []


def test_lease_of_a_load_that_was_killed_goes_with_the_collection(folder: Folder, tmp_path: Path) -> None:
    lease = Store(str(tmp_path), tmp_path / "cache").load_lease("b")
    with lease.held():
        (file,) = tmp_path.glob("*.lease")
        content = file.read_bytes()
    file.write_bytes(content)  # as its holder leaves it that is killed
    assert drop_collection(folder, Pool(), 0, "b", URL)  # type: ignore[arg-type]
    assert list(tmp_path.glob("*.lease")) == []


def test_segment_stays_while_its_engine_is_down_or_unknown(folder: Folder) -> None:
    pool = Pool()
    pool.is_down = True
    assert not drop_collection(folder, pool, 0, "b", URL)  # type: ignore[arg-type]
    assert not drop_collection(folder, None, 0, "b", URL)
    pool.is_down = False
    assert drop_collection(folder, pool, 0, "b")  # type: ignore[arg-type]
    assert pool.dropped == [("pgvector", URL, "lookalike_b_0")]


def test_segments_of_files_and_incomplete_ones_have_nothing_to_drop(folder: Folder) -> None:
    assert drop_collection(folder, None, 3600, "a")
    assert drop_collection(folder, None, 3600, "missing")
    assert folder.names("unnamed") == []


def test_segment_that_is_named_again_begins_its_grace_anew(folder: Folder) -> None:
    pool = Pool()
    drop_collection(folder, pool, 3600, "b", URL)  # type: ignore[arg-type]
    since(folder, timedelta(hours=2))
    keep_collections(folder, {"b"})
    assert not drop_collection(folder, pool, 3600, "b", URL)  # type: ignore[arg-type]
    assert pool.dropped == []


def test_pruning_keeps_a_segment_until_its_collection_is_dropped(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "releases"), tmp_path / "cache")
    segments = []
    for second, name in enumerate(("a", "b")):
        segments.append(store_segment(store, name, engine=EngineRef(kind="pgvector", name=f"lookalike_{name}_0")))
        store.publish(manifest_of(segments[-1:], second=second, engine_url=URL), {}, expected=store.current())
    pool = Pool()
    pool.is_down = True
    store.prune(1, grace_seconds=0, engines=pool)  # type: ignore[arg-type]
    assert store.folder.names("segments") == ["a", "b"]
    pool.is_down = False
    removed = store.prune(1, grace_seconds=0, engines=pool)  # type: ignore[arg-type]
    assert removed == ["segments/a"]
    assert pool.dropped == [("pgvector", URL, "lookalike_a_0")]  # at the address of a version that is gone


@pytest.fixture
def pruned(tmp_path: Path) -> tuple[Store, Pool]:
    """A store whose first pruning has removed the version that named `b`, hours after it was published."""
    store, pool = Store(str(tmp_path / "releases"), tmp_path / "cache"), Pool()
    for second, name in enumerate(("b", "c")):
        segment = store_segment(store, name, engine=EngineRef(kind="pgvector", name=f"lookalike_{name}_0"))
        store.publish(manifest_of([segment], second=second, engine_url=URL), {}, expected=store.current())
    age(store, hours=2)
    assert len(store.prune(1, engines=pool)) == 1  # type: ignore[arg-type]
    assert store.folder.names("segments") == ["b", "c"]
    return store, pool


def age(store: Store, hours: float) -> None:
    """Let `b` have been written so long ago."""
    written = time.time() - hours * 3600
    os.utime(store.segment_path("b"), (written, written))


def test_pruning_drops_the_collection_of_a_young_segment_an_hour_after_its_version(pruned: tuple[Store, Pool]) -> None:
    store, pool = pruned
    since(store.folder, timedelta(minutes=50))
    assert store.prune(1, engines=pool) == []  # type: ignore[arg-type]
    since(store.folder, timedelta(minutes=61))
    age(store, hours=3)
    assert store.prune(1, engines=pool) == ["segments/b"]  # type: ignore[arg-type]
    assert pool.dropped == [("pgvector", URL, "lookalike_b_0")]


def test_pruning_keeps_the_collection_of_an_unnamed_segment_that_a_build_uses_again(
    pruned: tuple[Store, Pool],
) -> None:
    store, pool = pruned
    since(store.folder, timedelta(hours=2))
    assert store.has_segment("b")
    age(store, hours=1)  # the build goes on
    assert store.prune(1, engines=pool) == []  # type: ignore[arg-type]
    assert pool.dropped == []
    assert store.folder.names("segments") == ["b", "c"]


def test_prunings_at_once_remove_everything_and_leave_no_marker(tmp_path: Path) -> None:
    for trial in range(5):
        url, pool = str(tmp_path / f"releases-{trial}"), Pool()
        store = Store(url, tmp_path / "cache")
        for name in "abcdef":
            store_segment(store, name, engine=EngineRef(kind="pgvector", name=f"lookalike_{name}_0"))
        barrier = threading.Barrier(4)

        def prune(url: str = url, barrier: threading.Barrier = barrier, pool: Pool = pool) -> None:
            other = Store(url, tmp_path / "cache")
            barrier.wait()
            other.prune(1, grace_seconds=0, engines=pool)  # type: ignore[arg-type]

        with ThreadPoolExecutor(4) as threads:
            for pruning in [threads.submit(prune) for _ in range(4)]:
                pruning.result()
        assert store.folder.names("segments") == []
        assert {name for _, _, name in pool.dropped} == {f"lookalike_{name}_0" for name in "abcdef"}
        store.prune(1, grace_seconds=0, engines=pool)  # type: ignore[arg-type]
        assert store.folder.names("unnamed") == []
