"""A refresh publishes all that it found, over what is served then, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts.errors import GateFailed, IncompatibleRelease, NoRelease, PublishConflict, StepFailed
from artifacts.lease import Lease
from artifacts.segments.info import STATE_FILE
from jobs.refresh import publication
from jobs.refresh.step import run_refresh
from jobs.steps import StepContext
from tests.pipeline import small_settings
from tests.shop import Shop, assert_same, event

pytestmark = pytest.mark.usefixtures("quick")


class Overtaken:
    """Publishing that another refresh overtakes some times: it changes a price, each time another.

    The other refresh has begun before, so that it does not wait for the lease.
    """

    def __init__(self, shop: Shop, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shop, self._times = shop, times
        self._publish = publication.run_publish
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(publication, "run_publish", self.run_publish)

    def run_publish(self, context: StepContext) -> Any:
        if self._times:
            times, self._times = self._times, 0
            with self._monkeypatch.context() as patch:
                patch.setattr(Lease, "wait_until_free", lambda _: True)
                changes = [event("p002", self._shop.rows, price=100 + times)]
                self._shop.apply_changes(changes, name=f"other-{times}.jsonl")
            self._times = times - 1
        return self._publish(context)


def test_refresh_that_is_overtaken_begins_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    Overtaken(shop, 2, monkeypatch)
    shop.apply_changes([event("p001", shop.rows, price=77)])
    prices = {key: results[0]["price"] for key, results in shop.products().items()}
    assert (prices["p001"], prices["p002"]) == (77, 101)


def test_refresh_that_is_always_overtaken_gives_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    Overtaken(shop, 3, monkeypatch)
    with pytest.raises(PublishConflict):
        shop.apply_changes([event("p001", shop.rows, price=77)])
    assert shop.products()["p002"][0]["price"] == 101


def test_refresh_that_fails_the_gate_publishes_nothing(shop: Shop) -> None:
    before, content = shop.store.manifest(), shop.products()
    removed = dict(list(shop.rows.items())[:20])
    shop.edit(lambda rows: [rows.pop(key) for key in removed])
    for _ in range(2):
        with pytest.raises(GateFailed, match="products"):
            shop.refresh()
    assert (shop.store.manifest(), shop.products()) == (before, content)
    shop.edit(lambda rows: rows.update(removed))
    shop.edit(lambda rows: rows["p030"].update(price="3"))
    assert shop.refresh().report.changes.attributes == 1
    assert_same(shop)


def test_refresh_with_another_encoder_is_refused(shop: Shop) -> None:
    context = shop.context(encoder="python:tests.encoders:MeanColor")
    with pytest.raises(IncompatibleRelease, match=r"embedded with .*ColourWords.*lookalike backfill --encoder"):
        run_refresh(context)


def test_refresh_before_the_first_build_says_what_to_do(tmp_path: Path) -> None:
    context = StepContext.open(small_settings(tmp_path).pipeline, "catalog.csv")
    with pytest.raises(NoRelease, match="lookalike build"):
        run_refresh(context)


def test_release_of_lookalike_0_1_says_what_to_do(shop: Shop) -> None:
    """Its segments have no state of the catalog."""
    for segment in shop.store.manifest().segments:
        (shop.store.segment_path(segment.id) / STATE_FILE).unlink()
    with pytest.raises(StepFailed, match=r"Lookalike 0\.1.*run `lookalike build` once"):
        shop.refresh()
    with pytest.raises(StepFailed, match=r"Lookalike 0\.1.*run `lookalike build` once"):
        shop.compact()


def test_too_many_rejected_rows_publish_nothing(shop: Shop) -> None:
    before = shop.store.current()
    shop.edit(lambda rows: [row.update(price="-1") for row in list(rows.values())[:10]])
    with pytest.raises(StepFailed, match=r"10 of 36 rows are rejected .*LOOKALIKE_MAX_REJECT_RATE"):
        shop.refresh()
    assert shop.store.current() == before


def test_rejects_of_a_refresh_are_a_file_of_its_version(shop: Shop) -> None:
    (shop.images / "text.jpg").write_text("this is no picture")
    shop.edit(lambda rows: (rows["p001"].update(price="-1"), rows["p002"].update(image_url="images/text.jpg")))
    version = shop.refresh().report.version
    assert rejects(shop, version) == {("p001", "bad_value"), ("p002", "not_an_image")}
    # A change file leaves what the last whole catalog rejected, and what it deletes is not rejected.
    changes = [event("p003", shop.rows, price=3.5), {"product_id": "p004", "deleted": True}]
    report = shop.apply_changes(changes).report
    assert report.counts.rejected == {"bad_value": 1, "not_an_image": 1}
    assert report.counts.input_rows == 35
    assert rejects(shop, report.version) == {("p001", "bad_value"), ("p002", "not_an_image")}


def test_reject_ends_and_is_no_longer_counted_when_a_change_file_names_its_product(shop: Shop) -> None:
    shop.edit(lambda rows: (rows["p001"].update(price="-1"), rows["p002"].update(price="-2")))
    shop.refresh()
    changes = [event("p001", shop.rows, price=1), event("p003", shop.rows, price=-3)]
    report = shop.apply_changes(changes).report
    assert [reject[:2] for reject in report.rejects] == [("p003", "bad_value")]
    # p003 is indexed, as it was before its bad row
    assert rejects(shop) == {("p002", "bad_value")}
    counts = report.counts
    assert (counts.rejected, counts.indexed, counts.input_rows) == ({"bad_value": 1}, 35, 36)


def test_reject_without_a_product_is_counted_once_however_often_it_is_read(shop: Shop) -> None:
    nameless = {"image_url": "images/001.jpg", "title": "who am I?"}
    for price in range(3):
        report = shop.apply_changes([nameless, event("p001", shop.rows, price=50 + price)]).report
        assert report.counts.rejected == {"missing_product_id": 1}
    assert shop.apply_changes([event("p001", shop.rows, price=60)]).report.counts.rejected == {"missing_product_id": 1}


def test_refresh_that_would_lose_many_products_for_their_pictures_is_refused(shop: Shop) -> None:
    """A host is down, or a path is wrong: the pictures that are served are better than none."""
    before = shop.products()
    changes = [event(f"p{number:03}", shop.rows, image_url=f"imgs/{number}.jpg") for number in range(25)]
    with pytest.raises(StepFailed, match=r"25 of 25 changed products would no longer be found.*p000: file_not_found"):
        shop.apply_changes(changes)
    assert shop.products() == before
    report = shop.apply_changes(changes[:5]).report
    assert [lost["product_id"] for lost in report.tally.lost] == [f"p{number:03}" for number in range(5)]
    assert "5 products, such as p000: file_not_found" in report.note


def test_queries_of_a_build_that_fails_its_gate_replace_no_others(shop: Shop, tmp_path: Path) -> None:
    """The next refresh measures what the served base was measured with, texts among them."""
    measured = set(shop.store.manifest().recall)
    assert any(name.startswith("text") for name in measured)
    rows = shop.catalog.read_text()
    shop.edit(lambda rows: [rows.pop(key) for key in list(rows)[2:]])
    shop.edit(lambda rows: [row.update(title="") for row in rows.values()])
    with pytest.raises((GateFailed, StepFailed)):
        shop.build()
    shop.catalog.write_text(rows)
    shop.edit(lambda rows: rows["p001"].update(price="77"))
    assert shop.refresh().changed
    assert set(shop.store.manifest().recall) == measured


def rejects(shop: Shop, version: str | None = None) -> set[tuple[str, str]]:
    version = version or shop.store.current()
    path = Path(shop.settings.releases) / f"versions/{version}/rejects.parquet"
    return {(row["product_id"], row["reason"]) for row in pq.read_table(path).to_pylist()}
