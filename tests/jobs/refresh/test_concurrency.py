"""Refreshes beside builds, other refreshes and pruning: every change is applied, once, and no work is done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from artifacts.errors import PublishConflict
from jobs.candidate import read_rejects
from jobs.download.refetch import Refetch
from jobs.evaluate.step import run_evaluate
from jobs.index.step import run_index
from jobs.rebase import step as rebase_step
from jobs.rebase.step import run_publish_rebased, run_rebase
from jobs.refresh import candidate
from jobs.refresh import step as refresh_step
from jobs.refresh.step import run_refresh
from jobs.steps import StepResult
from tests.pipeline import prepared
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
        killed.setattr(refresh_step, "run_evaluate", Mock(side_effect=KeyboardInterrupt))
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


def test_two_refreshes_of_the_same_changes_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is a cron job, one begun by hand."""
    changes = [event("p001", shop.rows, price=50, image_url="images/002.jpg")]
    inner: list[StepResult[Any]] = []
    interrupt_once(monkeypatch, refresh_step, "run_publish", lambda: inner.append(shop.apply_changes(changes)))
    outer = shop.apply_changes(changes)
    assert (inner[0].changed, outer.changed) == (True, False)
    assert price(shop, "p001") == 50


def test_refresh_is_not_disturbed_by_one_of_the_same_changes_that_dies(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = [event("p001", shop.rows, price=50, image_url="images/002.jpg")]

    def die_at_the_gate() -> None:
        with monkeypatch.context() as other:
            other.setattr(refresh_step, "run_evaluate", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                shop.apply_changes(changes)

    interrupt_once(monkeypatch, refresh_step, "run_publish", die_at_the_gate)
    assert shop.apply_changes(changes).changed
    assert price(shop, "p001") == 50


def test_refresh_that_is_overtaken_leaves_no_folder_without_pictures(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_once(monkeypatch, refresh_step, "run_publish", lambda: publish_prices(shop, 1))
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
    interrupt_once(monkeypatch, refresh_step, "run_publish", lambda: publish_prices(shop, 1))
    products = frozenset(f"p{number:03}" for number in range(4))
    assert shop.refresh(refetch=Refetch(products=products), reembed=True).changed
    assert server.requests == {f"/editable/{number}.jpg": 1 for number in range(4)}


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
