"""The routes of a product, of the release, health and metrics; the OpenAPI document; response headers."""

from __future__ import annotations

import io

from flask.testing import FlaskClient
from PIL import Image

from artifacts.settings import Settings
from tests.serving.answers import client_for


def test_product_route_returns_attributes_and_pictures(client: FlaskClient) -> None:
    answer = client.get("/v1/products/p005").get_json()
    assert answer["title"] == "black square number 5"
    assert answer["price"] == 5
    assert answer["pictures"] == [answer["image_url"]]
    picture = client.get(answer["image_url"])
    assert picture.mimetype == "image/jpeg"
    with Image.open(io.BytesIO(picture.data)) as image:
        assert image.size == (160, 160)
    assert client.get(answer["image_url"], headers={"If-None-Match": picture.headers["ETag"]}).status_code == 304


def test_release_and_health_routes_describe_the_server(client: FlaskClient) -> None:
    release = client.get("/v1/release").get_json()
    assert release["products"] == release["pictures"] == 36
    assert release["columns"]["colour"] == "large_string"
    assert release["supports_text"] is True
    assert client.get("/healthz").get_json() == {"status": "ok"}
    assert client.get("/readyz").get_json() == {"status": "ok", "release": release["version"], "failure": None}


def test_metrics_have_their_documented_names(published: Settings) -> None:
    client = client_for(published)  # gauges belong to the process, and have the values of the app that was made last
    client.get("/v1/search/text?q=red")
    text = client.get("/metrics").get_data(as_text=True)
    for name in (
        'image_search_latency_seconds_bucket{le="0.05",search_type="text"}',
        'image_search_requests_total{search_type="text",status="ok"}',
        "image_search_index_size 36.0",
        "image_search_result_diversity_count",
    ):
        assert name in text


def test_openapi_document_covers_every_route(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    routes = {
        rule.rule.replace("<path:product_id>", "{product_id}")
        for rule in client.application.url_map.iter_rules()
        if rule.rule.startswith("/v1") or rule.rule in ("/healthz", "/readyz", "/metrics")
    }
    assert routes == set(document["paths"])
    text = document["paths"]["/v1/search/text"]["get"]
    assert {parameter["name"] for parameter in text["parameters"]} >= {"q", "category", "filter", "limit", "facets"}
    assert "application/problem+json" in text["responses"]["422"]["content"]
    assert all(len(parameter["description"]) > 5 for parameter in text["parameters"])


def test_responses_carry_security_headers(client: FlaskClient) -> None:
    for path in ("/", "/page/app.js", "/v1/release", "/v2/nothing"):
        with client.get(path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]


def test_operation_ids_do_not_name_blueprints(client: FlaskClient) -> None:
    """Generated clients name their methods by them, so they must not change when a route moves to another module."""
    paths = client.get("/openapi.json").get_json()["paths"]
    assert paths["/healthz"]["get"]["operationId"] == "api_healthz_healthz_get"
    assert paths["/v1/events/click"]["post"]["operationId"] == "api_click_v1_events_click_post"
    assert paths["/v1/search/text"]["get"]["operationId"] == "search_search_text_v1_search_text_get"
