"""The latest event of a product wins, in whatever order events and catalogs arrive."""

from __future__ import annotations

from typing import Any

import pytest

from tests.shop import Shop, day, event

pytestmark = pytest.mark.usefixtures("quick")


def price(shop: Shop, product_id: str) -> float | None:
    """The price that is served; None if the product is not."""
    results = shop.products().get(product_id)
    return results[0]["price"] if results else None


def deletion(product_id: str, number: int | None = None) -> dict[str, Any]:
    return {"product_id": product_id, "deleted": True} | ({} if number is None else {"updated_at": day(number)})


def test_older_row_of_a_catalog_is_not_applied(timed_shop: Shop) -> None:
    timed_shop.edit(lambda rows: rows["p001"].update(price="99", updated_at=day(4)))
    result = timed_shop.refresh()
    assert (result.changed, result.report.changes.stale) == (False, 1)
    timed_shop.edit(lambda rows: rows["p001"].update(updated_at=day(5)))  # the same time: content decides
    assert timed_shop.refresh().report.changes.attributes == 1
    assert price(timed_shop, "p001") == 99


def test_older_event_is_not_applied(timed_shop: Shop) -> None:
    rows = timed_shop.rows
    events = [event("p001", rows, price=98, updated_at=day(4)), event("p002", rows, price=97, updated_at=day(6))]
    report = timed_shop.apply_changes(events).report
    assert (report.changes.stale, report.changes.attributes) == (1, 1)
    assert (price(timed_shop, "p001"), price(timed_shop, "p002")) == (1, 97)
    # The catalog does not know of the event yet.
    assert timed_shop.refresh().report.changes.stale == 1
    assert price(timed_shop, "p002") == 97


def test_event_without_a_time_is_always_applied(timed_shop: Shop) -> None:
    timed_shop.apply_changes([event("p001", timed_shop.rows, price=98, updated_at=None)])
    assert price(timed_shop, "p001") == 98


def test_older_event_does_not_bring_a_deleted_product_back(timed_shop: Shop) -> None:
    timed_shop.apply_changes([deletion("p001", 7)])
    late = [event("p001", timed_shop.rows, updated_at=day(6))]
    result = timed_shop.apply_changes(late)
    assert (result.changed, result.report.changes.stale) == (False, 1)
    timed_shop.apply_changes([event("p001", timed_shop.rows, price=50, updated_at=day(8))])
    assert price(timed_shop, "p001") == 50


@pytest.mark.parametrize("then", ["compact", "build", "build and compact"])
def test_deletion_is_remembered_by_the_next_base(timed_shop: Shop, then: str) -> None:
    late = [event("p001", timed_shop.rows, updated_at=day(6))]
    timed_shop.apply_changes([deletion("p001", 7), deletion("never seen", 7)])
    if "build" in then:
        timed_shop.edit(lambda rows: rows.pop("p001"))
        timed_shop.build()
    if "compact" in then:
        timed_shop.compact()
    late.append({**late[0], "product_id": "never seen"})
    result = timed_shop.apply_changes(late)
    assert (result.changed, result.report.changes.stale) == (False, 2)
    assert timed_shop.products().keys() == set(timed_shop.rows) - {"p001"}


def test_deletion_of_an_unknown_product_is_forgotten_after_tombstone_days(timed_shop: Shop) -> None:
    late = [event("p001", timed_shop.rows, product_id="new", updated_at=day(6))]
    timed_shop.apply_changes([deletion("new", 7)])
    timed_shop.settings = timed_shop.settings.model_copy(update={"tombstone_days": 0})
    timed_shop.apply_changes([event("p002", timed_shop.rows, price=3, updated_at=day(7))])  # writes the delta anew
    assert timed_shop.apply_changes(late).report.changes.new == 1


def test_compaction_forgets_deletions_after_tombstone_days(timed_shop: Shop) -> None:
    late = [event("p001", timed_shop.rows, updated_at=day(6))]
    timed_shop.apply_changes([deletion("p001", 7)])
    timed_shop.compact()  # the tombstone is in the base now
    timed_shop.apply_changes([event("p002", timed_shop.rows, price=3, updated_at=day(7))])
    timed_shop.settings = timed_shop.settings.model_copy(update={"tombstone_days": 0})
    timed_shop.compact()
    assert timed_shop.apply_changes(late).report.changes.new == 1


def test_deletion_of_a_product_of_the_base_is_remembered_as_long_as_the_base(timed_shop: Shop) -> None:
    timed_shop.settings = timed_shop.settings.model_copy(update={"tombstone_days": 0})
    timed_shop.apply_changes([deletion("p001", 7)])
    timed_shop.apply_changes([event("p002", timed_shop.rows, price=3, updated_at=day(7))])
    assert timed_shop.apply_changes([event("p001", timed_shop.rows, updated_at=day(6))]).report.changes.stale == 1


def test_product_that_a_catalog_cannot_know_yet_is_kept(timed_shop: Shop) -> None:
    timed_shop.apply_changes([event("p001", timed_shop.rows, product_id="new", updated_at=day(9))])
    result = timed_shop.refresh()  # its newest row is of the 5th
    assert (result.changed, result.report.changes.kept) == (False, 1)
    timed_shop.edit(lambda rows: rows["p002"].update(price="3", updated_at=day(10)))
    assert timed_shop.refresh().report.changes.deleted == 1
    assert "new" not in timed_shop.products()


def test_deletion_older_than_the_product_is_not_applied(timed_shop: Shop) -> None:
    result = timed_shop.apply_changes([deletion("p001", 4)])
    assert (result.changed, result.report.changes.kept) == (False, 1)
    assert timed_shop.apply_changes([deletion("p001")]).report.changes.deleted == 1
    assert "p001" not in timed_shop.products()
