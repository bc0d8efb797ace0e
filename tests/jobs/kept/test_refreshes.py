"""Refreshes of a shop: what they leave in its workspace, and what a build finds of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.kept import step
from jobs.workspace.refreshes import NEWEST, earlier_refreshes
from tests.pipeline import draw
from tests.shop import Rows, Shop, assert_same, event


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, 12)


def add(shop: Shop, number: int) -> None:
    """Add a product with a picture of its own to the catalog, and refresh from a change file that names it alone."""
    name, image = f"new{number}", f"images/new{number}.jpg"
    draw(shop.images / f"new{number}.jpg", "green", "triangle", 600 + number)

    def edit(rows: Rows) -> None:
        rows[name] = {**rows["p010"], "product_id": name, "image_url": image}

    shop.edit(edit)
    shop.apply_changes([event(name, shop.rows)])


def kept(shop: Shop) -> list[str]:
    return [refresh.name for refresh in list(earlier_refreshes(shop.context().workspace))[::-1]]


def test_build_fetches_and_embeds_nothing_that_merged_refreshes_have(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "MANY", 3)
    for number in range(NEWEST + 3):
        add(shop, number)
    assert len(kept(shop)) == NEWEST + 1
    assert sum(name.endswith("-merged") for name in kept(shop)) == 1
    shop.build()
    for name in ("download", "embed"):
        assert sum(report.done for report in shop.context().workspace.step_reports(name)) == 0
    assert_same(shop)


def test_refreshes_remove_those_that_are_older_than_tombstone_days(shop: Shop) -> None:
    add(shop, 1)
    add(shop, 2)
    before = kept(shop)
    assert len(before) == 2
    shop.settings = shop.settings.model_copy(update={"tombstone_days": 0})
    add(shop, 3)
    assert len(kept(shop)) == 1
    assert kept(shop)[0] > before[1]


def test_refresh_that_the_gate_refused_is_continued_and_not_removed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("refused")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.refresh.publication.run_publish", refuse)
        with pytest.raises(RuntimeError, match="refused"):
            add(shop, 1)
    refused = kept(shop)
    shop.settings = shop.settings.model_copy(update={"tombstone_days": 0})
    add(shop, 2)
    assert set(refused) < set(kept(shop))
    report = shop.apply_changes([event("new1", shop.rows)]).report
    assert (report.changes.new, report.obtained.fetched, report.obtained.embedded) == (1, 0, 0)
