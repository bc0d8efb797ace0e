"""Requests that are refused: the status, the problem, and the field it names."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from artifacts.settings import Settings
from serving.services import services_of
from tests.pipeline import publish_small, small_settings
from tests.serving.answers import client_for, ids, photo, problem


def test_unknown_products_pictures_and_routes_return_404(client: FlaskClient) -> None:
    for path in ("/v1/products/nope", "/v1/products/nope/similar", "/v1/products/nope/image"):
        assert "nope" in problem(client.get(path), 404, "product_id")
    problem(client.get("/v1/products/p001/image?picture=5"), 404, "picture")
    problem(client.get("/v2/nothing"), 404)
    problem(client.post("/v1/search/text?q=a"), 405)


@pytest.mark.parametrize(
    ("query", "field", "detail"),
    [
        ("", "q", "required"),
        ("q=", "q", "at least 1"),
        ("q=%20%20", "q", "empty"),
        (f"q={'x' * 1001}", "q", "at most 1000"),
        ("q=a&limit=0", "limit", "greater than or equal to 1"),
        ("q=a&limit=101", "limit", "less than or equal to 100"),
        ("q=a&limit=many", "limit", "integer"),
        ("q=a&offset=-1", "offset", "greater"),
        ("q=a&offset=999999", "offset", "10000"),
        ("q=a&price_min=nan", "price_min", "finite"),
        ("q=a&price_min=cheap", "price_min", "number"),
        ("q=a&price_min=5&price_max=4", "price_min", "above price_max"),
        ("q=a&filter=colour", "filter", "name:value"),
        ("q=a&filter=:red", "filter", "name:value"),
        ("q=a&filter=nothing:1", "filter", "there is no attribute"),
        ("q=a&filter=size:big", "filter", "integer"),
        ("q=a&filter_not=size:big", "filter_not", "integer"),
        ("q=a&filter=price:inf'--:1", "filter", "not a number"),
        ("q=a&facets=nothing", "facets", "there is no attribute"),
        ("q=a&facets=added_at", "facets", "filter_min"),
        ("q=a&categroy=circle", "categroy", "not permitted"),
        ("q=a&rerank=perhaps", "rerank", "boolean"),
        ("q=a&recall=99", "recall", "less than"),
        ("q=a&" + "&".join(f"brand={n}" for n in range(201)), "filter", "more than 200 values"),
    ],
)
def test_invalid_parameters_are_named_in_the_problem(client: FlaskClient, query: str, field: str, detail: str) -> None:
    assert detail in problem(client.get(f"/v1/search/text?{query}"), 422, field)


@pytest.mark.parametrize(
    ("content", "status", "detail"),
    [
        (b"", 415, "empty"),
        (b"<html>not a picture</html>", 415, "not a picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, 415, ""),
        (b"x" * 300_001, 413, "300,000 bytes"),
    ],
)
def test_uploads_that_are_not_pictures_are_rejected(
    client: FlaskClient, content: bytes, status: int, detail: str
) -> None:
    response = client.post("/v1/search/image", data={"image": (io.BytesIO(content), "x.jpg")})
    assert detail in problem(response, status, "image")


def test_truncated_tiny_missing_and_excess_pictures_are_rejected(client: FlaskClient, shop: Path) -> None:
    cut = io.BytesIO(photo(shop, 0).read()[:900])
    problem(client.post("/v1/search/image", data={"image": (cut, "cut.jpg")}), 422, "image")
    tiny = io.BytesIO()
    Image.new("RGB", (49, 200)).save(tiny, "PNG")
    tiny.seek(0)
    assert "at least 50 px" in problem(client.post("/v1/search/image", data={"image": (tiny, "t.png")}), 422, "image")
    problem(client.post("/v1/search/image"), 422, "image")
    four = {"image": [(photo(shop, n), f"{n}.jpg") for n in range(4)]}
    assert "at most 3" in problem(client.post("/v1/search/image", data=four), 422, "image")


@pytest.mark.parametrize(
    "crop", ["", "1,2,3", "a,b,c,d", "0,0,2,1", "0.5,0,0.4,1", "0,0,0.001,1", "nan,0,1,1", "0,0,1,1,1"]
)
def test_invalid_crops_are_rejected(client: FlaskClient, shop: Path, crop: str) -> None:
    response = client.post("/v1/search/image", data={"image": (photo(shop, 0), "x.jpg"), "crop": crop})
    problem(response, 422, "crop")


def test_oversized_body_is_rejected_unread(client: FlaskClient) -> None:
    response = client.post("/v1/search/image", data={"image": (io.BytesIO(b"x" * 6_000_000), "x.jpg")})
    problem(response, 413)


def test_encoder_without_text_rejects_text_queries(tmp_path: Path) -> None:
    from tests.pipeline import write_small_catalog

    settings = small_settings(tmp_path, encoder="python:tests.encoders:MeanColor")
    publish_small(write_small_catalog(tmp_path / "shop", products=6), settings)
    visual = client_for(settings)
    assert "sees pictures only" in problem(visual.get("/v1/search/text?q=red"), 422)
    assert visual.get("/v1/release").get_json()["supports_text"] is False
    picture = photo(tmp_path / "shop", 1)
    assert (
        ids(visual.post("/v1/search/image", data={"image": (picture, "x.jpg"), "rerank": "false"}).get_json())[0]
        == "p001"
    )


def test_requests_get_503_until_a_release_is_loaded(tmp_path: Path) -> None:
    empty = client_for(Settings(releases=str(tmp_path / "none")))
    for path in ("/v1/search/text?q=a", "/v1/products/a", "/v1/release", "/readyz"):
        response = empty.get(path)
        problem(response, 503)
        assert int(response.headers["Retry-After"]) > 0
    assert empty.get("/healthz").status_code == 200


def test_zero_vector_is_rejected(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = services_of(client.application).watcher.snapshot().encoder
    monkeypatch.setattr(type(encoder), "text_vectors", lambda self, texts: np.zeros((len(texts), self.dim)))
    assert "no direction" in problem(client.get("/v1/search/text?q=red"), 422, "q")


def test_internal_errors_reveal_no_details(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr("serving.search.service.SearchService.run", fail)
    assert "secret" not in problem(client.get("/v1/search/text?q=red"), 500)
