"""Backfilling: chosen products are processed again, or all of them by a new encoder beside the served release."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts.errors import GateFailed, IncompatibleRelease, StepFailed
from jobs.backfill.request import BackfillRequest
from jobs.backfill.step import BackfillReport, plan_backfill, run_backfill
from jobs.steps import StepResult
from tests.encoders import ColourWords
from tests.pipeline import draw
from tests.shop import Shop, assert_same, day

pytestmark = pytest.mark.usefixtures("quick")

NEW_ENCODER = "python:tests.encoders:MeanColor"


def backfill(shop: Shop, **request: Any) -> StepResult[BackfillReport]:
    """Backfill without Spark."""
    return run_backfill(replace(shop.context(), in_process=True), BackfillRequest(**request))


def vectors(shop: Shop, *product_ids: str) -> list[np.ndarray]:
    release = shop.open()
    try:
        found = [release.product_vectors(product_id) for product_id in product_ids]
    finally:
        release.close()
    return [vector for vector in found if vector is not None]


def replace_unseen(path: Path, seed: int) -> None:
    """Put another picture into a file, of the same size and time."""
    before = path.stat()
    draw(path, "blue", "square", seed)
    content = path.read_bytes()
    assert len(content) <= before.st_size
    path.write_bytes(content.ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def replaced(shop: Shop) -> Shop:
    """A shop whose pictures p000, p006 and p012 were replaced behind its back: a square, a circle and a triangle."""
    for number in (0, 6, 12):
        with (shop.images / f"{number:03}.jpg").open("ab") as file:
            file.write(bytes(4000))
    shop.refresh()
    for number in (0, 6, 12):
        replace_unseen(shop.images / f"{number:03}.jpg", 900 + number)
    return shop


# ── chosen products ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("request_", "fetched", "embedded"),
    [
        ({"product_ids": frozenset({"p000", "p006", "p001"})}, 3, 2),
        ({"categories": frozenset({"circle"})}, 12, 1),
        ({"product_ids": frozenset({"p000", "p006"}), "categories": frozenset({"circle"})}, 1, 1),
        ({}, 36, 3),
    ],
    ids=["products", "category", "both", "all"],
)
def test_chosen_products_are_downloaded_again(
    replaced: Shop, request_: dict[str, Any], fetched: int, embedded: int
) -> None:
    assert not replaced.refresh().changed
    report = backfill(replaced, redownload=True, **request_).report
    assert (report.fetched, report.embedded) == (fetched, embedded)


def test_products_of_a_range_of_dates_are_downloaded_again(timed_shop: Shop) -> None:
    shop = timed_shop
    shop.edit(lambda rows: [rows[f"p{number:03}"].update(updated_at=day(number)) for number in range(6, 12)])
    shop.refresh()
    # One that was changed since, and is not in the range: its picture is not fetched.
    shop.edit(lambda rows: rows["p020"].update(price="99", updated_at=day(20)))
    times = {"updated_from": datetime(2026, 11, 7, tzinfo=UTC), "updated_before": datetime(2026, 11, 9, tzinfo=UTC)}
    report = backfill(shop, redownload=True, **times).report
    assert (report.fetched, report.embedded) == (2, 0)
    assert shop.products()["p020"][0]["price"] != 99
    assert shop.refresh().changed  # what the catalog says of others was left to the next refresh
    assert shop.products()["p020"][0]["price"] == 99


@pytest.mark.parametrize("changes_only", [False, True])
def test_only_chosen_products_are_changed(shop: Shop, changes_only: bool) -> None:
    shop.edit(lambda rows: [rows[f"p{number:03}"].update(price="99") for number in range(30)])
    shop.edit(lambda rows: rows.pop("p034"))
    backfill(shop, product_ids=frozenset({"p000", "p001"}), changes_only=changes_only)
    changed = {key for key, results in shop.products().items() if results[0]["price"] == 99}
    assert changed == {"p000", "p001"}
    assert len(shop.products()) == 36
    assert shop.refresh().report.changes.attributes == 28
    assert_same(shop)


def test_backfill_of_a_product_that_the_catalog_has_lost_deletes_it(shop: Shop) -> None:
    shop.edit(lambda rows: [rows.pop(key) for key in ("p034", "p035")])
    backfill(shop, product_ids=frozenset({"p034"}))
    assert set(shop.rows) | {"p035"} == set(shop.products())


def test_pictures_that_are_the_same_change_nothing(shop: Shop) -> None:
    before = shop.store.current()
    result = backfill(shop, categories=frozenset({"circle"}), redownload=True)
    assert (result.changed, result.report.fetched, shop.store.current()) == (False, 12, before)
    assert not backfill(shop, product_ids=frozenset({"p001"}), reembed=True).changed


def test_products_are_embedded_again_and_their_vectors_replaced(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = vectors(shop, "p001", "p002")
    image_vectors = ColourWords.image_vectors
    monkeypatch.setattr(ColourWords, "image_vectors", lambda self, prepared: image_vectors(self, prepared)[:, ::-1])
    report = backfill(shop, product_ids=frozenset({"p001"}), reembed=True).report
    assert (report.fetched, report.embedded) == (1, 1)
    after = vectors(shop, "p001", "p002")
    assert np.allclose(after[0], before[0][:, ::-1], atol=1e-3)
    assert np.array_equal(after[1], before[1])
    # The new vectors stay when something else of the product changes.
    monkeypatch.undo()
    shop.edit(lambda rows: rows["p001"].update(price="99"))
    shop.refresh()
    assert np.array_equal(vectors(shop, "p001")[0], after[0])
    shop.compact()
    assert np.array_equal(vectors(shop, "p001")[0], after[0])


def test_backfill_of_unknown_products_is_refused(shop: Shop) -> None:
    with pytest.raises(StepFailed, match="the catalog has no product 'p00l'"):
        backfill(shop, product_ids=frozenset({"p001", "p00l"}), redownload=True)


def test_backfill_of_a_day_reads_its_partition(shop: Shop) -> None:
    for number in (1, 2):
        shutil.copy(shop.catalog, shop.catalog.with_name(f"catalog-2026-11-0{number}.csv"))
    shop.catalog = shop.catalog.with_name("catalog-2026-11-01.csv")
    shop.edit(lambda rows: rows["p001"].update(price="99"))
    shop.catalog = shop.catalog.with_name("catalog-{date}.csv")
    backfill(shop, day=date(2026, 11, 1))
    assert shop.products()["p001"][0]["price"] == 99
    backfill(shop)
    assert shop.products()["p001"][0]["price"] == 1


@pytest.mark.parametrize(
    "request_",
    [
        {"encoder": NEW_ENCODER, "product_ids": frozenset({"p001"})},
        {"encoder": NEW_ENCODER, "reembed": True},
        {"encoder": NEW_ENCODER, "redownload": True},
        {"encoder": NEW_ENCODER, "updated_from": datetime(2026, 11, 7, tzinfo=UTC)},
        {"updated_from": datetime(2026, 11, 7, tzinfo=UTC), "updated_before": datetime(2026, 11, 7, tzinfo=UTC)},
    ],
)
@pytest.mark.parametrize("call", [run_backfill, plan_backfill])
def test_contradicting_requests_are_refused(shop: Shop, call: Callable[..., object], request_: dict[str, Any]) -> None:
    with pytest.raises(StepFailed, match=r"leave out product ids|the range of dates is empty"):
        call(shop.context(), BackfillRequest(**request_))


# ── dry run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("request_", "plan"),
    [
        ({"product_ids": frozenset({"p001"}), "redownload": True}, (1, 1, 1, 0)),
        ({"categories": frozenset({"circle"}), "reembed": True}, (12, 12, 12, 0)),
        ({}, (35, 0, 0, 1)),
        ({"encoder": NEW_ENCODER}, (35, 0, 36, 1)),
    ],
    ids=["product", "category", "all", "encoder"],
)
def test_dry_run_says_what_would_be_done_and_does_nothing(
    shop: Shop, request_: dict[str, Any], plan: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalog has one product less, and another price."""
    shop.edit(lambda rows: (rows.pop("p035"), rows["p020"].update(price="99")))
    monkeypatch.setattr("tests.encoders.ColourWords.prepare", None)
    before = files(Path(shop.settings.releases)) | files(shop.workspace)
    planned = plan_backfill(shop.context(), BackfillRequest(**request_))
    assert (planned.products, planned.pictures, planned.embeddings, planned.deleted) == plan
    assert files(Path(shop.settings.releases)) | files(shop.workspace) == before
    assert any("to process" in line for line in planned.lines())


@pytest.mark.parametrize("request_", [{"product_ids": frozenset({"p00l"})}, {"categories": frozenset({"cirle"})}])
def test_dry_run_refuses_what_the_run_would(shop: Shop, request_: dict[str, Any]) -> None:
    for call in (plan_backfill, run_backfill):
        with pytest.raises(StepFailed, match=r"the catalog has no (product 'p00l'|category 'cirle')"):
            call(shop.context(), BackfillRequest(**request_))


# ── a new encoder ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_new_encoder_goes_live_and_rollback_is_instant(tmp_path: Path) -> None:
    shop = Shop(tmp_path)  # no copy: pictures are fetched again for a catalog in another folder
    old = shop.store.manifest()
    report = backfill(shop, encoder=NEW_ENCODER).report
    assert (report.fetched, report.embedded, report.products) == (0, 36, 36)
    new = shop.store.manifest()
    assert (new.version, new.encoder["spec"]) == (report.version, NEW_ENCODER)
    assert vectors(shop, "p001")[0].shape == (1, 4)
    assert shop.store.rollback() == old.version
    assert vectors(shop, "p001")[0].shape == (1, 8)
    # Going forward again takes no embedding, either.
    assert backfill(shop, encoder=NEW_ENCODER).report.embedded == 0
    assert shop.store.manifest().encoder["spec"] == NEW_ENCODER


def test_new_encoder_is_not_served_before_it_passes_the_gate(shop: Shop) -> None:
    before = shop.store.current()
    removed = dict(list(shop.rows.items())[:20])
    shop.edit(lambda rows: [rows.pop(key) for key in removed])
    with pytest.raises(GateFailed):
        backfill(shop, encoder=NEW_ENCODER)
    assert shop.store.current() == before
    shop.edit(lambda rows: rows.update(removed))
    assert backfill(shop, encoder=NEW_ENCODER).changed
    assert shop.store.manifest().encoder["spec"] == NEW_ENCODER


def test_refreshes_go_on_with_the_encoder_that_is_served(shop: Shop) -> None:
    backfill(shop, encoder=NEW_ENCODER)
    shop.edit(lambda rows: rows["p001"].update(image_url="images/002.jpg"))
    with pytest.raises(IncompatibleRelease, match="lookalike backfill --encoder"):
        shop.refresh()
    shop.settings = shop.settings.model_copy(update={"encoder": NEW_ENCODER})
    assert shop.refresh().report.changes.pictures == 1
    assert_same(shop)
