"""A server while its shop moves to another encoder and back: a query is encoded for the release that answers it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from artifacts.settings import Settings
from jobs.backfill.request import BackfillRequest
from jobs.backfill.step import run_backfill
from serving.services import services_of
from tests.serving.answers import client_for, ids, photo
from tests.shop import Shop

NEW_ENCODER = "python:tests.encoders:MeanColor"

pytestmark = pytest.mark.slow


def search(client: FlaskClient, shop: Shop) -> dict[str, Any]:
    """Search by a picture of the shop, without its signals."""
    form = {"image": (photo(shop.catalog.parent, 4), "4.jpg"), "limit": 50, "rerank": "false"}
    response = client.post("/v1/search/image", data=form)
    assert response.status_code == 200, response.get_data(as_text=True)
    return response.get_json()


def test_queries_are_encoded_by_the_encoder_of_the_release_that_answers(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    # Vectors of queries are cached: those of one encoder must not be used with the other.
    client = client_for(Settings(releases=shop.settings.releases, cache=shop.settings.cache, deadline_seconds=60))
    watcher = services_of(client.application).watcher
    before = search(client, shop)
    assert "p004" in ids(before)[:6]  # six products are white
    old = watcher.snapshot()

    run_backfill(replace(shop.context(), in_process=True), BackfillRequest(encoder=NEW_ENCODER))
    assert search(client, shop)["results"] == before["results"]  # until the next poll
    watcher.poll()
    new = watcher.snapshot()
    assert (old.encoder.dim, new.encoder.dim) == (8, 4)
    after = search(client, shop)
    assert "p004" in ids(after)[:6]
    assert after["results"] != before["results"]

    shop.store.rollback()
    watcher.poll()
    assert search(client, shop)["results"] == before["results"]
    assert watcher.snapshot().manifest.version == old.manifest.version
