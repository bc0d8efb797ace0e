"""Which pictures a refresh fetches: chosen ones again, those that failed for a while later, and no others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from artifacts.errors import StepFailed
from jobs.download.refetch import Refetch
from tests.pipeline import draw
from tests.servers import PictureServer
from tests.shop import Shop, assert_same
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def web_shop(published: Shop, server: PictureServer, tmp_path: Path) -> Iterator[Shop]:
    """A shop that is allowed to fetch from the picture server."""
    yield Shop(tmp_path, copy_of=published, allow_private_addresses=True, download_retries=0)
    server.down = False


def add(shop: Shop, **urls: str) -> None:
    """Add products, each with one picture."""
    row = shop.rows["p001"]
    shop.edit(
        lambda rows: rows.update({key: {**row, "product_id": key, "image_url": url} for key, url in urls.items()})
    )


def vector(shop: Shop, product_id: str) -> np.ndarray | None:
    release = shop.open()
    try:
        return release.product_vectors(product_id)
    finally:
        release.close()


def change_unseen(path: Path) -> None:
    """Put another picture into a file, of the same size and time."""
    before = path.stat()
    draw(path, "black", "circle", 900)
    path.write_bytes(path.read_bytes().ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


# ── chosen pictures ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("refetch", "fetched"),
    [
        (Refetch(products=frozenset({"one"})), 1),
        (Refetch(categories=frozenset({"lamp"})), 2),
        (Refetch(all=True), 38),
    ],
    ids=["product", "category", "all"],
)
def test_picture_that_was_replaced_behind_its_url_is_refetched(
    web_shop: Shop, server: PictureServer, refetch: Refetch, fetched: int, request: pytest.FixtureRequest
) -> None:
    paths = {key: f"/editable/{key}-{request.node.callspec.id}" for key in ("one", "two")}
    add(web_shop, **{key: server.url(path) for key, path in paths.items()})
    web_shop.edit(lambda rows: [rows[key].update(category="lamp") for key in paths])
    web_shop.refresh()
    before = vector(web_shop, "one")
    server.edit(paths["one"])
    assert not web_shop.refresh().changed  # nothing says that it is another picture
    report = web_shop.refresh(refetch=refetch).report
    assert (report.obtained.fetched, report.obtained.embedded) == (fetched, 1)
    after = vector(web_shop, "one")
    assert before is not None
    assert after is not None
    assert not np.allclose(before, after)
    assert server.requests[paths["one"]] == 2


def test_file_with_the_same_size_and_time_is_refetched(shop: Shop) -> None:
    draw(shop.images / "large.jpg", "red", "square", 1)
    with (shop.images / "large.jpg").open("ab") as file:
        file.write(bytes(2000))
    add(shop, new="images/large.jpg")
    shop.refresh()
    change_unseen(shop.images / "large.jpg")
    assert not shop.refresh().changed
    report = shop.refresh(refetch=Refetch(products=frozenset({"new"}))).report
    assert (report.obtained.fetched, report.obtained.embedded) == (1, 1)
    assert_same(shop)


def test_refetch_while_the_server_is_down_keeps_the_pictures(web_shop: Shop, server: PictureServer) -> None:
    add(web_shop, new=server.url("/editable/kept"))
    web_shop.refresh()
    before = web_shop.products()
    server.down = True
    web_shop.refresh(refetch=Refetch(all=True))
    assert web_shop.products() == before
    server.down = False
    server.edit("/editable/kept")
    assert web_shop.refresh(refetch=Refetch(all=True)).report.obtained.embedded == 1


def test_refetched_picture_that_is_gone_for_good_is_removed(web_shop: Shop, server: PictureServer) -> None:
    add(web_shop, new=server.url("/editable/gone?failing=404"))
    web_shop.refresh()
    assert "new" in web_shop.products()
    server.edit("/editable/gone")
    report = web_shop.refresh(refetch=Refetch(products=frozenset({"new"}))).report
    assert report.counts.rejected == {"http_client_error": 1}
    assert "new" not in web_shop.products()


@pytest.mark.parametrize(
    "refetch", [Refetch(products=frozenset({"p001", "p00l"})), Refetch(categories=frozenset({"circle", "cirle"}))]
)
def test_refetch_of_unknown_products_is_refused(shop: Shop, refetch: Refetch) -> None:
    with pytest.raises(StepFailed, match=r"the catalog has no (product 'p00l'|category 'cirle')"):
        shop.refresh(refetch=refetch)


def test_refetch_of_products_and_categories_at_once_is_refused(shop: Shop) -> None:
    with pytest.raises(StepFailed, match="either products or categories"):
        shop.refresh(refetch=Refetch(frozenset({"p001"}), frozenset({"circle"})))


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_failure_that_may_pass_is_retried_after_retry_minutes(web_shop: Shop, server: PictureServer) -> None:
    add(web_shop, new=server.url("/ok.jpg"))
    server.down = True
    assert web_shop.refresh().report.counts.rejected == {"http_server_error": 1}
    server.down = False
    assert not web_shop.refresh().changed  # not yet
    web_shop.settings = web_shop.settings.model_copy(update={"retry_minutes": 3 / 60})
    wait_until(lambda: web_shop.refresh().changed)  # refreshes that find nothing do not put it off
    assert "new" in web_shop.products()
    assert server.requests["/ok.jpg"] == 2
    assert_same(web_shop)


def test_retry_that_fails_again_publishes_nothing(web_shop: Shop, server: PictureServer) -> None:
    server.down = True
    add(web_shop, new=f'["images/001.jpg", "{server.url("/ok.jpg")}"]', other=server.url("/ok.jpg?other"))
    version = web_shop.refresh().report.version
    web_shop.settings = web_shop.settings.model_copy(update={"retry_minutes": 0})
    again = web_shop.refresh()
    assert (again.changed, again.report.version) == (False, version)
    assert server.requests == {"/ok.jpg": 4}  # each picture twice
    assert not list((web_shop.workspace / "refreshes").iterdir())[1:]


def test_lasting_failure_is_not_retried(web_shop: Shop, server: PictureServer) -> None:
    add(web_shop, new=server.url("/status/404"), other="images/missing.jpg")
    web_shop.settings = web_shop.settings.model_copy(update={"retry_minutes": 0})
    assert web_shop.refresh().report.counts.rejected == {"file_not_found": 1, "http_client_error": 1}
    assert not web_shop.refresh().changed
    web_shop.edit(lambda rows: rows["new"].update(price="5"))
    web_shop.refresh()
    assert server.requests["/status/404"] == 1


def test_picture_of_a_product_that_fails_leaves_the_others(web_shop: Shop, server: PictureServer) -> None:
    server.down = True
    add(web_shop, new=f'["{server.url("/ok.jpg")}", "images/001.jpg"]')
    report = web_shop.refresh().report
    assert (report.counts.rejected, report.counts.failed_pictures) == ({}, {"http_server_error": 1})
    assert [result["picture"] for result in web_shop.products()["new"]] == [1]
    server.down = False
    web_shop.settings = web_shop.settings.model_copy(update={"retry_minutes": 0})
    web_shop.refresh()
    assert [result["picture"] for result in web_shop.products()["new"]] == [0, 1]
    assert not web_shop.refresh().changed


def test_event_whose_picture_failed_for_a_while_is_tried_again(web_shop: Shop, server: PictureServer) -> None:
    new = {"product_id": "new", "image_url": server.url("/ok.jpg"), "updated_at": "2026-11-05T00:00:00Z"}
    server.down = True
    first = web_shop.apply_changes([new]).report
    assert [failure[:2] for failure in first.tally.failures] == [("new", "http_server_error")]
    server.down = False
    again = web_shop.apply_changes([new]).report
    assert (again.tally.failures, again.obtained.fetched) == ([], 1)
    assert "new" in web_shop.products()
    assert not web_shop.apply_changes([new]).changed
