"""What a backfill is asked to do, and which parts of it contradict each other."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from artifacts.errors import StepFailed
from jobs.backfill.request import BackfillRequest
from jobs.backfill.step import run_backfill
from jobs.catalog.compare.selection import Selection
from jobs.download.refetch import Refetch
from jobs.steps import StepContext
from tests.shop import Shop

DAY = date(2026, 11, 1)


def test_products_are_processed_whatever_the_catalog_says_of_them() -> None:
    request = BackfillRequest(product_ids=frozenset({"p1"}), redownload=True)
    assert request.selection == Selection(product_ids=frozenset({"p1"}), only=True)
    assert request.refetch == Refetch(products=frozenset({"p1"}))
    assert BackfillRequest(reembed=True).selection == Selection()
    assert BackfillRequest(reembed=True).refetch == Refetch(all=True)


def test_new_encoder_needs_a_whole_catalog() -> None:
    with pytest.raises(StepFailed, match="it needs a whole catalog, not one of changes"):
        BackfillRequest(encoder="sample", changes_only=True).validate()


def test_day_alone_is_applied_as_a_refresh_does() -> None:
    assert BackfillRequest(day=DAY).selection is None
    assert not BackfillRequest(day=DAY).refetch
    assert BackfillRequest(day=DAY, redownload=True).selection == Selection()


@pytest.mark.parametrize(
    "more", [{"product_ids": frozenset({"p1"})}, {"day": DAY}, {"redownload": True}, {"reembed": True}], ids=str
)
def test_new_encoder_takes_every_product(more: dict[str, Any]) -> None:
    BackfillRequest(encoder="sample").validate()
    with pytest.raises(StepFailed, match="a new encoder embeds every product"):
        BackfillRequest(encoder="sample", **more).validate()


def test_empty_range_of_times_is_refused() -> None:
    times = datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    with pytest.raises(StepFailed, match="the range of dates is empty"):
        BackfillRequest(updated_from=times[0], updated_before=times[1]).validate()


def test_day_of_changes_deletes_nothing_and_processes_nothing_else(shop: Shop) -> None:
    header, first, *_ = shop.catalog.read_text().splitlines()
    folder = shop.catalog.parent
    (folder / f"changes-{DAY}.csv").write_text(f"{header}\n{first.replace('brand 0,0,', 'brand 0,77,')}\n")
    context = StepContext.open(shop.settings.pipeline, str(folder / "changes-{date}.csv"))
    report = run_backfill(context, BackfillRequest(day=DAY, changes_only=True)).report
    assert (report.products, report.fetched, report.embedded) == (1, 0, 0)
    assert shop.store.manifest().counts.indexed == 36


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))
