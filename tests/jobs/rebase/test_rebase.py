"""A build that runs while refreshes are published: what is newer than its catalog is carried over, and nothing else."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.candidate import load_candidate
from jobs.compact import step as compact_step
from jobs.evaluate.step import run_evaluate
from jobs.publish import PublishReport
from jobs.rebase import rebase as rebase_module
from jobs.rebase.step import run_publish_rebased, run_rebase
from jobs.workspace.refreshes import NEWEST, earlier_refreshes
from tests.encoders import MeanColor
from tests.pipeline import draw, prepared, run_index
from tests.shop import Shop, assert_same, day, event

pytestmark = pytest.mark.usefixtures("quick")


def build_while(shop: Shop, happens: Callable[[], object], later: Callable[[], object] = lambda: None) -> PublishReport:
    """Build from the catalog as it is now.

    Args:
        happens: called after the index step.
        later: called after the gate.
    """
    context = prepared(shop.catalog, shop.settings)
    run_index(context)
    happens()
    run_rebase(context)
    run_evaluate(context)
    later()
    return run_publish_rebased(context).report


def refresh_changed(shop: Shop, number: int) -> None:
    shop.change(number)
    shop.refresh()


def test_refreshes_that_are_published_meanwhile_are_carried_over(shop: Shop) -> None:
    shop.edit(lambda rows: rows["p030"].update(price="99"))  # the build's own
    build_while(shop, lambda: (refresh_changed(shop, 1), refresh_changed(shop, 2)))
    release = shop.open()
    assert len(release.segments) == 2
    release.close()
    assert_same(shop)
    assert not shop.refresh().changed


def test_refresh_that_overtakes_the_publication_is_carried_over(shop: Shop) -> None:
    shop.edit(lambda rows: rows["p030"].update(price="99"))
    build_while(shop, lambda: refresh_changed(shop, 1), lambda: refresh_changed(shop, 2))
    assert_same(shop)
    assert not shop.refresh().changed


def test_nothing_is_embedded_for_what_is_carried_over(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.edit(lambda rows: rows["p030"].update(price="99"))

    context = prepared(shop.catalog, shop.settings)
    run_index(context)
    refresh_changed(shop, 1)
    monkeypatch.setattr("tests.encoders.ColourWords.prepare", None)
    assert len(run_rebase(context).report.segments) == 2


def test_change_before_the_catalog_was_read_is_not_carried_over(shop: Shop) -> None:
    """The catalog of the build is the newer word on it."""
    shop.apply_changes([event("p001", shop.rows, price=77), {"product_id": "p002", "deleted": True}])
    shop.build()
    products = shop.products()
    assert (products["p001"][0]["price"], "p002" in products) == (1, True)
    release = shop.open()
    assert release.delta is None
    release.close()


def test_event_that_is_later_than_its_row_is_carried_over(timed_shop: Shop) -> None:
    shop = timed_shop
    rows = shop.rows
    shop.apply_changes(
        [
            event("p001", rows, price=77, updated_at=day(6)),
            event("p002", rows, price=78, updated_at=day(6)),
            {"product_id": "p003", "deleted": True, "updated_at": day(6)},
            {"product_id": "p004", "deleted": True, "updated_at": day(6)},
            event("p005", rows, product_id="later", updated_at=day(9)),
            event("p005", rows, product_id="earlier", updated_at=day(6)),
        ]
    )
    shop.edit(
        lambda rows: (
            rows["p002"].update(price="79", updated_at=day(7)),
            rows["p004"].update(updated_at=day(7)),
            rows["p005"].update(updated_at=day(8)),
        )
    )
    shop.build()
    products = shop.products()
    assert [products[key][0]["price"] for key in ("p001", "p002")] == [77, 79]
    assert "p003" not in products
    assert "p004" in products
    assert "later" in products  # the catalog's newest row is older than this event
    assert "earlier" not in products


def test_change_that_is_taken_back_meanwhile_is_taken_back(shop: Shop) -> None:
    """The build has seen a price, a product and a deletion that are all undone when it is published."""
    draw(shop.images / "new.jpg", "green", "triangle", 600)
    before = shop.rows
    shop.edit(
        lambda rows: (
            rows["p001"].update(price="99"),
            rows.pop("p002"),
            rows.update(new={**rows["p003"], "product_id": "new", "image_url": "images/new.jpg"}),
        )
    )
    shop.refresh()

    def happens() -> None:
        shop.edit(lambda rows: (rows.clear(), rows.update(before)))
        shop.refresh()

    build_while(shop, happens)
    assert_same(shop)
    assert not shop.refresh().changed


def test_counts_are_those_of_what_is_served(shop: Shop) -> None:
    (shop.images / "text.jpg").write_text("this is no picture")
    good = {key: shop.rows[key] for key in ("p001", "p002")}
    shop.edit(lambda rows: rows["p001"].update(image_url="images/text.jpg"))
    shop.refresh()

    def happens() -> None:
        shop.edit(
            lambda rows: (
                rows.update(good),
                rows["p002"].update(image_url="images/text.jpg"),
                rows["p003"].update(image_url='["images/003.jpg", "images/missing.jpg"]'),
            )
        )
        shop.refresh()

    build_while(shop, happens)
    counts = shop.store.manifest().counts
    assert (counts.input_rows, counts.indexed) == (36, 35)
    assert (counts.rejected, counts.failed_pictures) == ({"not_an_image": 1}, {"file_not_found": 1})
    assert_same(shop)


def test_build_from_the_same_catalog_keeps_the_served_delta(timed_shop: Shop) -> None:
    timed_shop.apply_changes([event("p001", timed_shop.rows, price=77, updated_at=day(6))])
    before = timed_shop.store.manifest()
    assert timed_shop.build().unchanged
    assert timed_shop.store.manifest() == before


def test_killed_rebase_is_done_again(shop: Shop) -> None:
    """Each of its steps finds what an earlier run has left."""
    shop.edit(lambda rows: rows["p030"].update(price="99"))
    context = prepared(shop.catalog, shop.settings)
    run_index(context)
    refresh_changed(shop, 1)
    segments = [run_rebase(context).report.segments for _ in range(2)]
    assert segments[0] == segments[1]
    run_evaluate(context)
    run_index(context)  # a run from the start
    run_rebase(context)
    assert load_candidate(context.workspace).segments == segments[0]
    run_evaluate(context)
    run_publish_rebased(context)
    assert_same(shop)


def test_build_with_another_encoder_embeds_what_it_carries_over(shop: Shop) -> None:
    """Products that were added, changed and removed meanwhile are so in the new release, with its own vectors."""
    old, new = (
        shop.settings.model_copy(update={"encoder": f"python:tests.encoders:{name}"})
        for name in ("ColourWords", "MeanColor")
    )
    shop.settings = new
    context = prepared(shop.catalog, shop.settings)
    run_index(context)
    shop.settings = old
    refresh_changed(shop, 1)
    for number in range(NEWEST):
        context.workspace.refresh(f"29991231-{number}", 1)
    MeanColor.calls.clear()
    run_rebase(context)
    assert sum(MeanColor.calls) == 2  # the new product's picture, and the replaced one
    _, embedded = (
        refresh for refresh in list(earlier_refreshes(context.workspace))[::-1] if refresh.step_reports("embed")
    )
    (fetched,) = embedded.step_reports("download")
    assert (fetched.rows, fetched.done) == (2, 0)  # a refresh has fetched them, however many there have been since
    run_evaluate(context)
    run_publish_rebased(context)
    assert shop.store.manifest().encoder["spec"].endswith("MeanColor")
    shop.settings = new
    assert_same(shop)
    assert not shop.refresh().changed


def test_refresh_that_is_published_while_the_delta_is_written_is_carried_over(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = shop.rows
    shop.edit(lambda rows: rows["p030"].update(price="99"))
    context = prepared(shop.catalog, shop.settings)
    run_index(context)
    shop.apply_changes([event("p001", rows, price=111)])
    rebase = rebase_module.rebase

    def rebase_and_refresh(*args: Any, **options: Any) -> Any:
        written = rebase(*args, **options)
        monkeypatch.setattr(rebase_module, "rebase", rebase)
        shop.apply_changes([event("p002", rows, price=222)])
        return written

    monkeypatch.setattr(rebase_module, "rebase", rebase_and_refresh)
    run_rebase(context)
    run_evaluate(context)
    run_publish_rebased(context)
    products = shop.products()
    assert [products[key][0]["price"] for key in ("p001", "p002", "p030")] == [111, 222, 99]


def test_event_that_is_earlier_than_its_row_is_not_carried_over_though_it_came_later(timed_shop: Shop) -> None:
    shop = timed_shop
    rows = shop.rows
    shop.edit(lambda rows: rows["p001"].update(price="300", updated_at=day(8)))
    build_while(shop, lambda: shop.apply_changes([event("p001", rows, price=200, updated_at=day(7))]))
    assert shop.products()["p001"][0]["price"] == 300


@pytest.mark.parametrize("happens", ["removed", "rolled back"])
def test_product_that_is_gone_when_a_compaction_is_published_is_gone_after_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, happens: str
) -> None:
    refresh_changed(shop, 1)
    written = compact_step._write_base

    def write_and_remove(*args: Any) -> Any:
        base = written(*args)
        shop.edit(lambda rows: rows.pop("new1"))
        if happens == "removed":
            shop.refresh()
        else:
            shop.store.rollback()
        assert "new1" not in shop.products()
        return base

    monkeypatch.setattr(compact_step, "_write_base", write_and_remove)
    assert shop.compact().changed
    assert "new1" not in shop.products()
    shop.refresh()
    assert_same(shop)


def test_compaction_that_a_build_overtakes_publishes_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh_changed(shop, 1)
    written = compact_step._write_base

    def write_and_build(*args: Any) -> Any:
        base = written(*args)
        shop.edit(lambda rows: rows["p030"].update(price="99"))
        shop.build()
        return base

    monkeypatch.setattr(compact_step, "_write_base", write_and_build)
    result = shop.compact()
    assert (result.changed, result.report.version) == (False, shop.store.current())
    assert_same(shop)


def test_refreshes_that_a_build_has_taken_over_are_removed_after_tombstone_days(shop: Shop) -> None:
    refresh_changed(shop, 1)
    refreshes = shop.workspace / "refreshes"
    assert len(list(refreshes.iterdir())) == 1
    shop.build()
    assert len(list(refreshes.iterdir())) == 1
    shop.settings = shop.settings.model_copy(update={"tombstone_days": 0})
    shop.edit(lambda rows: rows["p030"].update(price="99"))
    shop.build()
    assert list(refreshes.iterdir()) == []


def test_base_is_fetched_where_this_machine_has_it_no_more(tmp_path: Path) -> None:
    """The steps of a build may run on several machines, and a server prunes the cache that it shares with a build."""
    url = f"memory://{uuid.uuid4().hex}"
    shop = Shop(tmp_path, releases=url)
    rows = shop.rows
    shop.edit(lambda rows: rows["p030"].update(price="99"))
    context = prepared(shop.catalog, shop.settings)
    run_index(context)
    shop.apply_changes([event("p001", rows, price=111)])
    shutil.rmtree(shop.store.segment_path("any").parent)
    run_rebase(context)
    run_evaluate(context)
    run_publish_rebased(context)
    prices = {key: results[0]["price"] for key, results in shop.products().items()}
    assert (prices["p001"], prices["p030"]) == (111, 99)
    shop.store.folder.remove("")
