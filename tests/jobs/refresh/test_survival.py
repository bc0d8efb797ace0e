"""Refresh, compact, backfill and the rebase of a build, killed with `kill -9` before each change of the disk.

What is served is whole at any time, and is the release before or the one after. Another run ends as if nothing had
happened, and embeds no picture whose vector was on the disk.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts.index.params import SearchParams
from artifacts.schema import OK
from tests.jobs.refresh.killed import SETTINGS, VERBS, Processes
from tests.pipeline import draw, prepared, run_index
from tests.shop import Shop, contents

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick")]


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    running = Processes()
    yield running
    running.close()


# ── before each verb ─────────────────────────────────────────────────────────────────────────────────────────────────


def before_refresh(shop: Shop) -> None:
    shop.change(1, step=3)
    shop.refresh()
    shop.change(2, step=3)


def before_compact(shop: Shop) -> None:
    shop.change(1, step=3)
    shop.refresh()


def before_rebase(shop: Shop) -> None:
    shop.change(1, step=3)
    run_index(prepared(shop.catalog, shop.settings))
    shop.change(2, step=3)
    shop.refresh()


def before_backfill(shop: Shop) -> None:
    """A picture was replaced behind the shop's back."""
    path = shop.images / "004.jpg"
    with path.open("ab") as file:
        file.write(bytes(4000))
    shop.change(1, step=3)
    shop.refresh()
    status = path.stat()
    draw(path, "black", "circle", 900)
    path.write_bytes(path.read_bytes().ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


BEFORE: dict[str, Callable[[Shop], None]] = {
    "refresh": before_refresh,
    "compact": before_compact,
    "rebase": before_rebase,
    "backfill": before_backfill,
    "new_encoder": before_compact,
}


#: Points at which each verb is killed: so many at least.
POINTS = {"refresh": 22, "compact": 13, "rebase": 10, "backfill": 22, "new_encoder": 22}
#: A backfill of chosen products is a refresh: of its points every third will do.
STEPS = {"backfill": 3}


# ── what is there ────────────────────────────────────────────────────────────────────────────────────────────────────


def served(shop: Shop) -> dict[str, Any]:
    """The products that are served, with their vectors; every file is intact, and a search finds them all."""
    for version in shop.store.versions():
        shop.store.verify(version)
    release = shop.open()
    try:
        products: dict[str, Any] = contents(release)
        rows = release.searcher.rows_that_can_be_found()
        vectors = release.searcher.vectors.take(rows)
        hits, _ = release.search(vectors[:1], 50, SearchParams(), exact=True)
        assert sorted(release.product_ids(hits[0])) == sorted(products)
        return {key: (results, release.product_vectors(key).tolist()) for key, results in products.items()}  # type: ignore[union-attr]
    finally:
        release.close()


def embedded(workspace: Path) -> set[tuple[str, str]]:
    """Encoder and picture of each vector in a workspace and its refreshes."""
    return {
        (path.parent.name, row["sha256"])
        for path in workspace.rglob("embeddings/*/shard-*.parquet")
        for row in pq.read_table(path, columns=["sha256", "status"]).to_pylist()
        if row["status"] == OK
    }


@pytest.mark.parametrize("verb", list(VERBS))
def test_verb_survives_a_kill_before_every_change_of_the_disk(tmp_path: Path, verb: str, processes: Processes) -> None:
    folder, start = tmp_path / "shop", tmp_path / "start"
    shop = Shop(folder, 12, **SETTINGS)
    BEFORE[verb](shop)
    shutil.copytree(folder, start)
    before, vectors_before = served(shop), embedded(shop.workspace)
    VERBS[verb](shop)
    after, new_vectors = served(shop), embedded(shop.workspace) - vectors_before
    number, code, ends = 1 - STEPS.get(verb, 1), -signal.SIGKILL, set()
    while code:
        number += STEPS.get(verb, 1)
        shutil.rmtree(folder)
        shutil.copytree(start, folder)
        code = processes.run(verb, folder, number)
        assert code in (0, -signal.SIGKILL)
        now = served(shop)
        assert now in (before, after), number
        ends.add(now == after)
        known = embedded(shop.workspace)
        assert VERBS[verb](shop) == (0 if code == 0 else len(new_vectors - known)), number
        assert served(shop) == after, number
        assert shop.store.current() == shop.store.versions()[-1]
    assert number > POINTS[verb]
    assert ends == {before == after, True}
