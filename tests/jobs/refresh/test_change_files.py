"""The refresh path as the stream calls it: a change file is applied, and everything that failed is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import GateFailed
from jobs.stream.refreshing import refresh_by
from jobs.stream.sink import AppliedChanges
from tests.pipeline import draw
from tests.shop import Shop, day, event

pytestmark = pytest.mark.usefixtures("quick")


def apply(shop: Shop, events: Sequence[dict[str, Any]], name: str = "events.jsonl") -> AppliedChanges:
    path = shop.catalog.with_name(name)
    path.write_text("".join(json.dumps(row) + "\n" for row in events))
    applied = refresh_by(shop.context())(path)
    assert applied.version == shop.store.current()
    return applied


def events_of(shop: Shop) -> list[dict[str, Any]]:
    """A product is new, one has another price, one another picture; one is deleted, one event is late, one is bad."""
    draw(shop.images / "new.jpg", "green", "triangle", 600)
    draw(shop.images / "other.jpg", "blue", "circle", 601)
    rows = shop.rows
    return [
        event("p001", rows, product_id="new", image_url="images/new.jpg", updated_at=day(6)),
        event("p002", rows, price=99, updated_at=day(6), deleted=False),
        event("p003", rows, image_url="images/other.jpg", updated_at=day(6)),
        {"product_id": "p004", "deleted": True, "updated_at": day(6)},
        event("p005", rows, price=98, updated_at=day(4)),
        event("p006", rows, price=-1, updated_at=day(6)),
        event("p007", rows, image_url='["images/007.jpg", "images/missing.jpg"]', updated_at=day(6)),
        event("p008", rows, image_url="images/missing.jpg", updated_at=day(6)),
    ]


def test_change_file_is_applied_and_its_failures_are_named(timed_shop: Shop) -> None:
    applied = apply(timed_shop, events_of(timed_shop))
    assert (applied.applied, applied.stale) == (6, 1)
    assert [tuple(reject)[:2] for reject in applied.rejects] == [("p004", "inactive"), ("p006", "bad_value")]
    assert [tuple(failure)[:2] for failure in applied.pictures_failed] == [
        ("p007", "file_not_found"),
        ("p008", "file_not_found"),
    ]
    products = timed_shop.products()
    assert products["new"][0]["image_url"] == "images/new.jpg"
    assert products["p002"][0]["price"] == 99
    assert products["p003"][0]["image_url"] == "images/other.jpg"
    assert [products[key][0]["price"] for key in ("p005", "p006")] == [5, 6]
    assert [result["picture"] for result in products["p007"]] == [0]
    assert products.keys() == {*timed_shop.rows, "new"} - {"p004", "p008"}


def test_applying_a_change_file_twice_changes_nothing(timed_shop: Shop) -> None:
    events = events_of(timed_shop)
    first = apply(timed_shop, events)
    content = timed_shop.products()
    again = apply(timed_shop, events)
    assert (again.version, again.applied, again.stale) == (first.version, 0, 1)
    # A process that died after the first time has not passed them on.
    assert again.rejects == first.rejects
    assert [failure[:2] for failure in again.pictures_failed] == [failure[:2] for failure in first.pictures_failed]
    assert timed_shop.products() == content


def test_change_files_applied_in_any_order_end_alike(published_with_times: Shop, tmp_path: Path) -> None:
    shops = [Shop(tmp_path / name, copy_of=published_with_times) for name in ("in order", "reversed")]
    for shop in shops:
        rows = shop.rows
        files = [
            [
                event("p001", rows, price=50, updated_at=day(6)),
                {"product_id": "p002", "deleted": True, "updated_at": day(6)},
            ],
            [event("p001", rows, price=51, updated_at=day(7)), event("p002", rows, price=52, updated_at=day(7))],
            [{"product_id": "p001", "deleted": True, "updated_at": day(8)}],
        ]
        for events in files if shop is shops[0] else reversed(files):
            apply(shop, events)
    assert shops[0].products() == shops[1].products()
    assert "p001" not in shops[0].products()


def test_one_bad_row_of_two_is_reported_and_the_other_applied(shop: Shop) -> None:
    changes = [event("p003", shop.rows, price=5), event("p004", shop.rows, price="cheap")]
    result = shop.apply_changes(changes)
    assert result.report.changes.attributes == 1
    assert "; rejected: 1 rows, such as p004: bad_value, price: cheap is not a number" in result.note
    again = shop.apply_changes(changes[1:])
    assert again.note.startswith("nothing has changed; rejected: 1 rows")


def test_change_file_of_rejects_alone_is_no_error(shop: Shop) -> None:
    before = shop.store.current()
    applied = apply(shop, [event("p001", shop.rows, price=-1)])
    assert (applied.version, applied.applied) == (before, 0)
    assert [tuple(reject)[:2] for reject in applied.rejects] == [("p001", "bad_value")]


def test_change_file_that_fails_the_gate_publishes_nothing(shop: Shop) -> None:
    before = shop.store.current()
    path = shop.catalog.with_name("events.jsonl")
    path.write_text("".join(json.dumps({"product_id": key, "deleted": True}) + "\n" for key in list(shop.rows)[:20]))
    with pytest.raises(GateFailed):
        refresh_by(shop.context())(path)
    assert shop.store.current() == before
