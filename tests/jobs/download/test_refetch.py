"""Refetch: which products' pictures are fetched although their URLs are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import InputError, StepFailed
from artifacts.settings import Settings
from jobs.download.refetch import Refetch
from jobs.download.step import download_shard, plan_download, run_download
from jobs.workspace.workspace import Workspace
from tests.catalogs import read_shards, write_catalog
from tests.pipeline import context_on
from tests.servers import PictureServer

SETTINGS = Settings(shards=2, allow_private_addresses=True, download_retries=0)
CATEGORIES = {"a": "Shoes", "b": "Shoes, boots", "c": None, "d": "Shoes"}


@pytest.fixture
def downloaded(tmp_path: Path, server: PictureServer) -> Workspace:
    """A workspace with four products, downloaded; the server's counters are at zero."""
    products = {product: [server.url(f"/n/{number}.jpg")] for number, product in enumerate(CATEGORIES)}
    workspace = write_catalog(tmp_path, products, shards=2, categories=CATEGORIES)
    for shard in range(2):
        download_shard(workspace, shard, SETTINGS.pipeline.download)
    server.reset()
    return workspace


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"products": "b"}, [1]),
        ({"products": "d, a"}, [0, 3]),
        ({"categories": ["Shoes"]}, [0, 3]),
        ({"categories": [" Shoes, boots "], "products": "c"}, [1, 2]),
        ({"all": True}, [0, 1, 2, 3]),
        ({}, []),
        ({"categories": [""]}, []),
    ],
)
def test_exactly_the_selected_products_are_fetched(
    downloaded: Workspace, server: PictureServer, options: dict[str, Any], numbers: list[int]
) -> None:
    selection = Refetch.of(**options)
    assert bool(selection) == bool(numbers)
    selection.require_known(downloaded)
    context = context_on(downloaded, SETTINGS, in_process=True)
    result = run_download(context, refetch=selection)
    assert dict(server.requests) == {f"/n/{number}.jpg": 1 for number in numbers}
    assert (result.report.done, result.report.reused) == (len(numbers), 4 - len(numbers))
    assert plan_download(context).changed == []  # only once


def test_refetch_gets_the_new_picture_of_a_url(tmp_path: Path, server: PictureServer) -> None:
    workspace = write_catalog(tmp_path, {"a": [server.url("/editable/a.jpg")]})
    limits = SETTINGS.pipeline.download
    download_shard(workspace, 0, limits)
    before = read_shards(tmp_path, "images")["sha256"].to_pylist()
    server.edit("/editable/a.jpg")
    assert download_shard(workspace, 0, limits).skipped
    download_shard(workspace, 0, limits, refetch=Refetch(all=True))
    assert read_shards(tmp_path, "images")["sha256"].to_pylist() != before
    assert server.conditional["/editable/a.jpg"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"products": "a,x"}, "the catalog has no product 'x': it is not in the column product_id"),
        ({"products": "x,y,z"}, "no product 'x' and 2 others"),
        ({"categories": ["shoes", "Shoes"]}, "no category 'shoes': names are those of the column category"),
    ],
)
def test_unknown_products_and_categories_are_named(
    downloaded: Workspace, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StepFailed, match=message):
        Refetch.of(**options).require_known(downloaded)


def test_entry_with_a_comma_is_put_in_quotes() -> None:
    assert Refetch.of('1,"2,5", 3').products == {"1", "2,5", "3"}


@pytest.mark.parametrize("products", ["", " , "])
def test_empty_list_of_products_is_refused(products: str) -> None:
    """It comes from an empty variable of a shell, and must not mean all products."""
    with pytest.raises(InputError, match="no product is named"):
        Refetch.of(products)
