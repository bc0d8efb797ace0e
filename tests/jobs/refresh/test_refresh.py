"""Refreshing: what a catalog changes becomes searchable, and the rest costs nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from jobs.refresh.served import Served, State
from tests.pipeline import draw
from tests.shop import Rows, Shop, assert_same


def assert_delta_names(shop: Shop, named: set[str]) -> None:
    """The served delta speaks for these products."""
    with State(Served.of(shop.store).state_files) as state:
        assert set(state.delta()["product_id"].to_pylist()) == named


def test_refresh_without_changes_does_nothing(shop: Shop) -> None:
    result = shop.refresh()
    assert (result.changed, result.note) == (False, "nothing has changed")
    assert not (Path(shop.settings.workspace) / "refreshes").exists()


def test_refresh_applies_all_kinds_of_changes(shop: Shop) -> None:
    def change(rows: Rows) -> None:
        rows["p001"]["price"] = "99.5"
        rows["p002"]["title"] = "another title"
        del rows["p003"]
        draw(shop.folder / "shop/images/new.jpg", "red", "circle", 500)
        draw(shop.folder / "shop/images/other.jpg", "blue", "square", 501)
        rows["new"] = {**rows["p005"], "product_id": "new", "image_url": "images/new.jpg"}
        rows["p006"]["image_url"] = "images/other.jpg"

    shop.edit(change)
    result = shop.refresh()
    assert result.changed
    report = result.report
    assert (report.changes.new, report.changes.pictures, report.changes.attributes, report.changes.deleted) == (
        1,
        1,
        2,
        1,
    )
    assert (report.obtained.fetched, report.obtained.embedded) == (2, 2)
    assert (report.tally.written, report.tally.updated) == (2, 2)
    assert_same(shop)
    assert not shop.refresh().changed


def test_other_attributes_alone_fetch_and_embed_nothing(shop: Shop) -> None:
    shop.edit(lambda rows: rows["p007"].update(price="3", brand="another", added_at="2026-02-02"))
    report = shop.refresh().report
    assert (report.obtained.fetched, report.obtained.embedded) == (0, 0)
    release = shop.open()
    assert release.delta is not None
    assert (release.delta.info.rows, len(release.delta.updated_rows)) == (0, 1)
    release.close()
    assert_same(shop)
    assert not list((Path(shop.settings.workspace) / "refreshes").iterdir())


def test_bytes_that_are_known_are_not_embedded(shop: Shop) -> None:
    images = shop.folder / "shop/images"
    shutil.copy(images / "004.jpg", images / "copy.jpg")

    def change(rows: Rows) -> None:
        rows["p004"]["image_url"] = "images/copy.jpg"  # the same picture under another name
        rows["twin"] = {**rows["p004"], "product_id": "twin", "image_url": "images/copy.jpg"}

    shop.edit(change)
    report = shop.refresh().report
    assert (report.obtained.fetched, report.obtained.embedded, report.obtained.known) == (2, 0, 1)
    assert (report.tally.written, report.tally.updated) == (1, 1)
    assert_same(shop)


def test_refreshes_are_cumulative(shop: Shop) -> None:
    for number in range(4):
        draw(shop.folder / f"shop/images/new{number}.jpg", "green", "triangle", 600 + number)

        def change(rows: Rows, number: int = number) -> None:
            new = {**rows["p010"], "product_id": f"new{number}", "image_url": f"images/new{number}.jpg"}
            rows[f"new{number}"] = new
            rows["p011"]["price"] = str(100 + number)
            if number:
                rows[f"new{number - 1}"]["price"] = "7"  # a product of the last delta
            if number == 3:
                del rows["new0"]
                del rows["p012"]
                rows["p011"]["price"] = "11"  # as in the base again

        shop.edit(change)
        report = shop.refresh().report
        assert report.obtained.embedded == 1
        assert_same(shop)
    release = shop.open()
    assert len(release.segments) == 2
    release.close()


def test_a_picture_that_is_changed_back_is_the_bases_again(shop: Shop) -> None:
    first = shop.store.manifest()
    draw(shop.folder / "shop/images/other.jpg", "blue", "square", 501)
    shop.edit(lambda rows: rows["p006"].update(image_url="images/other.jpg"))
    shop.refresh()
    shop.edit(lambda rows: rows["p006"].update(image_url="images/006.jpg"))
    report = shop.refresh().report
    assert (report.obtained.embedded, report.tally.as_in_base, report.delta_share) == (0, 1, 0)
    assert_same(shop)
    # The delta remembers for some days that there was a change, for builds that run meanwhile.
    shop.settings = shop.settings.model_copy(update={"tombstone_days": 0})
    shop.edit(lambda rows: rows["p007"].update(price="99"))
    shop.refresh()
    shop.edit(lambda rows: rows["p007"].update(price="7"))
    shop.refresh()
    assert_delta_names(shop, {"p007"})
    shop.edit(lambda rows: rows["p008"].update(price="99"))
    shop.refresh()
    assert_delta_names(shop, {"p008"})
    assert shop.store.manifest().segments[0] == first.segments[0]


def test_products_with_several_pictures(shop: Shop) -> None:
    for number in range(3):
        draw(shop.folder / f"shop/images/extra{number}.jpg", "yellow", "square", 700 + number)

    def several(rows: Rows) -> None:
        rows["p001"]["image_url"] = '["images/001.jpg", "images/extra0.jpg", "images/missing.jpg"]'
        rows["two"] = {**rows["p002"], "product_id": "two", "image_url": '["images/extra1.jpg", "images/extra0.jpg"]'}

    shop.edit(several)
    report = shop.refresh().report
    assert report.obtained.fetched == 3
    assert_same(shop)
    shop.edit(lambda rows: rows["two"].update(image_url='["images/extra1.jpg", "images/extra2.jpg"]', price="4"))
    report = shop.refresh().report
    assert (report.obtained.fetched, report.obtained.embedded) == (1, 1)
    assert_same(shop)


def test_a_product_whose_pictures_fail_is_rejected_and_comes_back(shop: Shop) -> None:
    (shop.folder / "shop/images/text.jpg").write_text("this is no picture")
    shop.edit(lambda rows: rows["p020"].update(image_url="images/text.jpg"))
    report = shop.refresh().report
    assert report.counts.rejected == {"not_an_image": 1}
    release = shop.open()
    assert "p020" not in release
    release.close()
    assert_same(shop)
    assert not shop.refresh().changed
    shop.edit(lambda rows: rows["p020"].update(image_url="images/020.jpg"))
    shop.refresh()
    assert_same(shop)


def test_a_delta_of_a_trained_base_keeps_its_codes(tmp_path: Path) -> None:
    shop = Shop(tmp_path, products=300, flat_max_rows=0, train_rows_per_list=16)
    for number in range(2):
        draw(tmp_path / f"shop/images/new{number}.jpg", "green", "triangle", 600 + number)
        shop.edit(
            lambda rows, number=number: rows.update(
                {f"new{number}": {**rows["p010"], "product_id": f"new{number}", "image_url": f"images/new{number}.jpg"}}
            )
        )
        result = shop.refresh()
        assert result.report.drift is not None
    release = shop.open()
    assert release.delta is not None
    assert release.delta.info.index.codec == "pq"
    assert release.searcher.ivf is not None
    assert release.searcher.ivf.rows == 302
    release.close()
    assert_same(shop)


def test_the_settings_of_a_refresh_are_those_of_the_base(shop: Shop) -> None:
    shop.edit(lambda rows: rows["p001"].update(price="4"))
    before = shop.open().manifest
    shop.refresh()
    after = shop.open().manifest
    assert (after.settings, after.search, after.encoder) == (before.settings, before.search, before.encoder)
    assert after.previous == before.version
