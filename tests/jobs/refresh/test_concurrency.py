"""Refreshes beside builds, other refreshes and pruning: every change is applied, once, and no work is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from artifacts.errors import GateFailed, PublishConflict
from jobs.candidate import read_rejects
from jobs.compact import step as compact_step
from jobs.download.refetch import Refetch
from jobs.evaluate.step import run_evaluate
from jobs.rebase import step as rebase_step
from jobs.rebase.step import run_publish_rebased, run_rebase
from jobs.refresh import candidate, publication
from jobs.refresh.step import run_refresh
from jobs.steps import StepResult
from jobs.workspace.refreshes import NEWEST
from tests.pipeline import prepared, run_index
from tests.servers import PictureServer
from tests.shop import Rows, Shop, event

pytestmark = pytest.mark.usefixtures("quick")


def interrupt_once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, interrupt: Callable[[], object]) -> None:
    """Call `interrupt` before the first call of a module's function."""
    function, pending = getattr(module, name), [interrupt]

    def interrupted(*args: Any, **options: Any) -> Any:
        if pending:
            pending.pop()()
        return function(*args, **options)

    monkeypatch.setattr(module, name, interrupted)


def publish_prices(shop: Shop, count: int) -> None:
    """Publish so many other prices of one product."""
    for price in range(count):
        shop.apply_changes([event("p010", shop.rows, price=1000 + price)], name="other.jsonl")


def price(shop: Shop, product_id: str) -> float:
    return shop.products()[product_id][0]["price"]


def refreshes(shop: Shop) -> list[str]:
    folder = shop.workspace / "refreshes"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are pruned at once."""
    monkeypatch.setattr("artifacts.store.store.VERSION_GRACE_SECONDS", -1)


# ── beside a build ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_change_that_was_applied_after_a_build_read_its_catalog_is_newer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a first attempt to apply it was killed before that."""
    changes = [event("p001", shop.rows, price=50)]
    with monkeypatch.context() as killed:
        killed.setattr(publication, "run_evaluate", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shop.apply_changes(changes)
    shop.edit(lambda rows: rows["p002"].update(price="77"))
    build = prepared(shop.catalog, shop.settings)
    run_index(build)
    assert shop.apply_changes(changes).changed
    run_rebase(build)
    run_evaluate(build)
    run_publish_rebased(build)
    assert (price(shop, "p001"), price(shop, "p002")) == (50, 77)


@pytest.mark.usefixtures("no_grace")
def test_build_is_published_although_the_version_that_it_began_with_is_pruned(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.edit(lambda rows: rows["p002"].update(price="77"))
    build = prepared(shop.catalog, shop.settings)
    run_index(build)
    run_rebase(build)
    publish_prices(shop, 5)
    run_evaluate(build)
    interrupt_once(monkeypatch, rebase_step, "run_evaluate", lambda: publish_prices(shop, 6))
    run_publish_rebased(build)
    assert (price(shop, "p010"), price(shop, "p002")) == (1005, 77)


# ── beside other refreshes ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("no_grace")
def test_refresh_whose_version_is_pruned_meanwhile_begins_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_once(monkeypatch, candidate, "make_candidate", lambda: publish_prices(shop, 6))
    assert shop.apply_changes([event("p001", shop.rows, price=50)]).changed
    assert (price(shop, "p001"), price(shop, "p010")) == (50, 1005)


@pytest.mark.parametrize("work", ["refresh", "compact"])
def test_delta_of_a_pruned_version_stays_while_a_process_reads_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """A stream publishes every few seconds, and the work takes longer than its versions are kept."""
    monkeypatch.setattr("artifacts.store.store.VERSION_GRACE_SECONDS", 0.5)
    monkeypatch.setattr("artifacts.store.store._KEEP_SECONDS", 0.05)
    shop.apply_changes([event("p002", shop.rows, price=70)])
    publish = partial(publish_prices, shop, 6)
    if work == "refresh":
        interrupt_once(monkeypatch, candidate, "write_delta", publish)
        shop.apply_changes([event("p001", shop.rows, price=50)])
    else:
        interrupt_once(monkeypatch, compact_step, "write_compacted", publish)
        assert shop.compact().changed
    prices = [price(shop, product_id) for product_id in ("p001", "p002", "p010")]
    assert prices == [50 if work == "refresh" else 1.0, 70, 1005]


def test_refresh_that_fails_its_gate_leaves_no_delta(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = shop.store.folder.names("segments")
    refused = Mock(side_effect=GateFailed("not good enough"))
    monkeypatch.setattr(publication, "run_evaluate", refused)
    for _ in range(2):
        with pytest.raises(GateFailed):
            shop.apply_changes([event("p001", shop.rows, price=50)])
    assert shop.store.folder.names("segments") == segments


def test_two_refreshes_of_the_same_changes_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is a cron job, one begun by hand."""
    changes = [event("p001", shop.rows, price=50, image_url="images/002.jpg")]
    inner: list[StepResult[Any]] = []
    interrupt_once(monkeypatch, publication, "run_publish", lambda: inner.append(shop.apply_changes(changes)))
    outer = shop.apply_changes(changes)
    assert (inner[0].changed, outer.changed) == (True, False)
    assert price(shop, "p001") == 50


def test_refresh_is_not_disturbed_by_one_of_the_same_changes_that_dies(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [event("p001", shop.rows, price=50, image_url="images/002.jpg")]

    def die_at_the_gate() -> None:
        with monkeypatch.context() as other:
            other.setattr(publication, "run_evaluate", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                shop.apply_changes(changes)

    interrupt_once(monkeypatch, publication, "run_publish", die_at_the_gate)
    assert shop.apply_changes(changes).changed
    assert price(shop, "p001") == 50


def test_refresh_that_is_overtaken_leaves_no_folder_without_pictures(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_once(monkeypatch, publication, "run_publish", lambda: publish_prices(shop, 1))
    assert shop.apply_changes([event("p001", shop.rows, price=50)]).changed
    assert refreshes(shop) == []


@pytest.fixture
def web_shop(tmp_path: Path) -> Iterator[tuple[Shop, PictureServer]]:
    """A shop in which four products have pictures on a server."""
    with PictureServer() as server:

        def urls(rows: Rows) -> None:
            for number in range(4):
                rows[f"p{number:03}"]["image_url"] = server.url(f"/editable/{number}.jpg")

        yield Shop(tmp_path, prepare=urls, allow_private_addresses=True, shards=1), server


def test_refetch_that_is_overtaken_does_not_fetch_again(
    web_shop: tuple[Shop, PictureServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, server = web_shop
    server.edit("/editable/1.jpg")
    server.reset()
    interrupt_once(monkeypatch, publication, "run_publish", lambda: publish_prices(shop, 1))
    products = frozenset(f"p{number:03}" for number in range(4))
    assert shop.refresh(refetch=Refetch(products=products), reembed=True).changed
    assert server.requests == {f"/editable/{number}.jpg": 1 for number in range(4)}


def test_refresh_that_many_overtake_does_not_fetch_again(
    web_shop: tuple[Shop, PictureServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, server = web_shop
    changes = [
        event(f"p{number:03}", shop.rows, image_url=server.url(f"/editable/{number}.jpg?v=2")) for number in range(4)
    ]
    server.reset()

    def publish_pictures() -> None:
        for number in range(NEWEST + 1):
            picture = {"image_url": f"images/{number:03}.jpg", "price": 7}
            shop.apply_changes([event("p020", shop.rows, **picture)], name="other.jsonl")

    interrupt_once(monkeypatch, publication, "run_publish", publish_pictures)
    changes.append(event("p020", shop.rows, price=8))
    assert shop.apply_changes(changes).changed
    assert server.requests == {f"/editable/{number}.jpg": 1 for number in range(4)}


def test_failed_pictures_are_tried_again_although_every_refresh_finds_a_new_file(
    web_shop: tuple[Shop, PictureServer], tmp_path: Path
) -> None:
    shop, server = web_shop
    folder = tmp_path / "feed"
    folder.mkdir()

    def read(name: str, **values: Any) -> StepResult[Any]:
        row = event(values.pop("product_id"), shop.rows, **values)
        (folder / name).write_text(json.dumps(row) + "\n")
        settings = {"picture_base": str(shop.catalog.parent), "retry_minutes": 0, "download_retries": 0}
        return run_refresh(replace(shop.context(**settings), catalog=str(folder)), changes_only=True)

    read("1.jsonl", product_id="p001", image_url=server.url("/status/503"))
    server.reset()
    assert read("2.jsonl", product_id="p002", price=51).changed
    assert price(shop, "p002") == 51
    assert server.requests == {"/status/503": 1}


def test_partitions_that_wait_are_applied_before_failed_pictures_are_tried_again(
    web_shop: tuple[Shop, PictureServer], tmp_path: Path
) -> None:
    shop, server = web_shop
    source = str(tmp_path / "changes-{date}.jsonl")

    def write(day: int, **values: Any) -> None:
        path = tmp_path / f"changes-2026-01-{day:02}.jsonl"
        path.write_text(json.dumps(event(values.pop("product_id"), shop.rows, **values)) + "\n")

    def read() -> StepResult[Any]:
        settings = {"picture_base": str(shop.catalog.parent), "retry_minutes": 0, "download_retries": 0}
        return run_refresh(replace(shop.context(**settings), catalog=source), changes_only=True)

    write(1, product_id="p001", image_url=server.url("/status/503.jpg"))
    read()
    write(2, product_id="p002", price=51)
    write(3, product_id="p003", price=52)
    server.reset()
    assert read().changed
    assert (price(shop, "p002"), price(shop, "p003")) == (51, 52)
    assert not server.requests


# ── the same version again and again ─────────────────────────────────────────────────────────────────────────────────


def test_conflict_is_raised_for_a_version_that_was_pruned(shop: Shop) -> None:
    with pytest.raises(PublishConflict, match="20260101T000000Z-0 has been pruned"):
        read_rejects(shop.store, "20260101T000000Z-0")
