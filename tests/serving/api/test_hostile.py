"""Hostile input gets a 4xx problem, and every answer conforms to the OpenAPI document."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from artifacts.settings import Settings
from serving.app import create_app
from tests.serving.answers import ids, photo, problem

pytestmark = pytest.mark.slow


INJECTIONS = [
    "' OR '1'='1", "'; DROP TABLE products; --", "red') UNION SELECT row FROM products --", "?", "$1", "{0}", "%", "_",
    "\\", "]]>", "${jndi:ldap://x}", "../../etc/passwd", "red\nblue", "\u202e", "\ufeff", "💥" * 50, "NULL", "true",
]  # fmt: skip


def search(client: FlaskClient, pairs: list[tuple[str, str]]) -> Any:
    return client.get("/v1/search/text?" + urlencode([("q", "red"), *pairs]))


@pytest.mark.parametrize("text", INJECTIONS)
def test_injections_in_filter_values_match_nothing(rich_client: FlaskClient, text: str) -> None:
    for name in ("category", "brand"):
        assert search(rich_client, [(name, text)]).get_json()["total_found"] == 0
        assert search(rich_client, [(f"{name}_not", text)]).get_json()["total_found"] == 65
    for name in ("filter", "filter_min", "filter_max", "filter_below", "filter_not"):
        answer = search(rich_client, [(name, f"colour:{text}")])
        assert answer.status_code == 200
        assert answer.get_json()["total_found"] < 65 or name == "filter_not"
    assert ids(search(rich_client, []).get_json())  # the products are still there


@pytest.mark.parametrize("text", INJECTIONS)
def test_injections_in_attribute_names_are_rejected(rich_client: FlaskClient, text: str) -> None:
    for name in ("filter", "filter_not", "filter_min", "filter_max", "filter_below"):
        detail = problem(search(rich_client, [(name, f"{text.replace(':', '')}:1")]), 422, name)
        assert "there is no attribute" in detail
        assert len(detail) < 1000
    for name in ("missing", "present"):
        assert "there is no attribute" in problem(search(rich_client, [(name, text)]), 422, name)
    assert "there is no attribute" in problem(search(rich_client, [("facets", text.replace(",", ""))]), 422, "facets")


@pytest.mark.parametrize(
    "column", ["product_id", "title", "image_url", "row", "first_picture", "picture", "PRICE", "price "]
)
def test_internal_columns_cannot_be_filtered_on(rich_client: FlaskClient, column: str) -> None:
    assert "there is no attribute" in problem(search(rich_client, [("filter", f"{column}:1")]), 422, "filter")


@pytest.mark.parametrize(
    ("pairs", "field", "detail"),
    [
        ([("filter", f"colour:{n}") for n in range(10_000)], "filter", "more than 200 values"),
        ([("category", str(n)) for n in range(10_000)], "filter", "more than 200 values"),
        ([("filter_min", f"price:{n}") for n in range(10_000)], "filter", "more than 200 values"),
        ([("missing", "price")] * 10_000, "filter", "more than 200 values"),
        ([("facets", "brand")] * 10_000, None, ""),
        ([("facets", ",".join(f"x{n}" for n in range(10_000)))], "facets", "at most 20"),
        ([("price_min", "nan")], "price_min", "finite"),
        ([("price_max", "inf")], "price_max", "finite"),
        ([("price_min", "1e999")], "price_min", "finite"),
        ([("filter", "price:nan")], "filter", "not a number"),
        ([("filter_min", "price:NaN")], "filter_min", "not a number"),
        ([("filter_min", "price:cheap")], "filter_min", "not a number"),
        ([("filter_below", "size:1.5")], "filter_below", "not an integer"),
        ([("filter", "size:99999999999999999999")], "filter", "not an integer"),
        ([("filter_max", "added_at:yesterday")], "filter_max", "not an ISO 8601 date"),
        ([("filter", "colour:\x00")], "filter", "NUL"),
        ([("filter", "colour")], "filter", "name:value"),
        ([("filter", "")], "filter", "name:value"),
        ([("diversity", "nan")], "diversity", ""),
        ([("diversity", "2")], "diversity", "less than or equal to 1"),
        ([("collapse", "0.1")], "collapse", "greater than or equal to 0.5"),
        ([("recall", "inf")], "recall", ""),
        ([("limit", "1e3")], "limit", ""),
        ([("limit", "9" * 400)], "limit", ""),
        ([("offset", "9" * 20)], "offset", ""),
        ([("max_per_category", "-1")], "max_per_category", ""),
        ([("limit", "5"), ("limit", "6")], None, ""),
        ([("q' OR 1=1", "x")], "q' OR 1=1", "not permitted"),
    ],
)
def test_hostile_parameters_are_rejected_by_name(
    rich_client: FlaskClient, pairs: list[tuple[str, str]], field: str | None, detail: str
) -> None:
    response = search(rich_client, pairs)
    if field is None:
        assert response.status_code in (200, 422)
    else:
        assert detail in problem(response, 422, field)


def test_ten_thousand_filter_values_in_json_are_rejected(rich_client: FlaskClient) -> None:
    body = {"text": "red", "filter": [f"colour:{n}" for n in range(10_000)]}
    assert "more than 200 values" in problem(rich_client.post("/v1/search", json=body), 422, "filter")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"images":[', b'{"weights":'])
@pytest.mark.parametrize("depth", [50, 5_000, 200_000])
def test_deeply_nested_json_is_rejected(rich_client: FlaskClient, opening: bytes, depth: int) -> None:
    for route in ("/v1/search", "/v1/search/batch"):
        response = rich_client.post(route, data=opening * depth, content_type="application/json")
        assert response.status_code in (400, 413, 422)
        assert response.mimetype == "application/problem+json"
    closed = b'{"text":"red","filter":' + b"[" * depth + b"]" * depth + b"}"
    response = rich_client.post("/v1/search", data=closed, content_type="application/json")
    assert response.status_code in (400, 422)
    assert response.mimetype == "application/problem+json"


@pytest.mark.parametrize(
    "value", [None, 5, True, {"name": "colour"}, [["colour:red"]], [5], [None], [{}], "colour:red"]
)
def test_filters_of_the_wrong_type_are_rejected(rich_client: FlaskClient, value: Any) -> None:
    for name in ("filter", "category", "missing", "facets"):
        response = rich_client.post("/v1/search", json={"text": "red", name: value})
        assert response.status_code == 422
        assert response.get_json()["field"].split(".")[0] == name


@pytest.mark.parametrize("name", ["text", "crop", "limit", "price_min", "cursor", "image_weight", "filter", "rerank"])
@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 100_000, "null", '"red"', "{}", "NaN", "1e999", "\x00"])
def test_form_fields_are_read_as_text(rich_client: FlaskClient, name: str, value: str) -> None:
    data = {"text": "red", name: value}
    response = rich_client.post("/v1/search/hybrid", data=data, content_type="multipart/form-data")
    if response.status_code != 200:
        assert problem(response, 422, name)
    else:
        assert name == "text"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["text", "images", "vector", "like", "unlike", "weights", "category", "filter", "filter_min", "price_min", "limit",
     "offset", "cursor", "rerank", "diversity", "collapse", "facets", "recall", "explain", "missing"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(FIELDS, JSON, max_size=5))
def test_arbitrary_json_is_answered_or_rejected(rich_client: FlaskClient, body: dict[str, Any]) -> None:
    response = rich_client.post("/v1/search", json=body)
    assert response.status_code in (200, 400, 410, 413, 415, 422), response.get_data(as_text=True)
    assert response.mimetype == ("application/json" if response.status_code == 200 else "application/problem+json")


FORM_FIELDS = st.sampled_from(
    ["text", "crop", "image_weight", "text_weight", "category", "filter", "filter_not", "price_max", "limit", "offset",
     "cursor", "rerank", "diversity", "collapse", "facets", "recall", "explain", "missing", "nothing", "image"]
)  # fmt: skip


@pytest.mark.parametrize("route", ["/v1/search/image", "/v1/search/hybrid"])
@pytest.mark.parametrize("content_type", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_arbitrary_form_is_answered_or_rejected(
    rich_client: FlaskClient, rich_shop: Path, route: str, content_type: str
) -> None:
    picture = photo(rich_shop, 0).read()
    file = st.binary(max_size=40) | st.sampled_from([picture, picture[:200], b"GIF89a" + bytes(20)])
    files = st.fixed_dictionaries({}, optional={"image": file, "image_url": file, "limit": file})
    fields = st.dictionaries(FORM_FIELDS, st.text(max_size=20) | JSON.map(str), max_size=5)

    @settings(max_examples=100)
    @given(fields, files, fields)
    def send(texts: dict[str, str], uploads: dict[str, bytes], url: dict[str, str]) -> None:
        parts: dict[str, Any] = dict(texts)
        if content_type == "multipart/form-data":
            parts |= {name: (BytesIO(content), "x.jpg") for name, content in uploads.items()}
        response = rich_client.post(route, data=parts, content_type=content_type, query_string=url)
        assert response.status_code in (200, 400, 410, 413, 415, 422), response.get_data(as_text=True)
        expected = "application/json" if response.status_code == 200 else "application/problem+json"
        assert response.mimetype == expected

    send()


# ── the whole OpenAPI document ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def document(rich_client: FlaskClient) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_wsgi("/openapi.json", rich_client.application)


def operations() -> list[Any]:
    """Every operation, once for valid requests, and once for invalid ones if it accepts any input.

    Invalid forms are left to `test_arbitrary_form_is_answered_or_rejected`: while generating one, schemathesis 4.32
    occasionally matches its own pictures against a text pattern, and fails with "Unsupported type: 'Binary'".
    """
    cases: list[Any] = []
    for path, methods in create_app(Settings().server, watch=False).api_doc["paths"].items():
        for method, operation in methods.items():
            cases.append((path, method, schemathesis.GenerationMode.POSITIVE))
            body = operation.get("requestBody", {}).get("content", {})
            query = any(parameter["in"] == "query" for parameter in operation.get("parameters", ()))
            if "multipart/form-data" not in body and (body or query):
                cases.append((path, method, schemathesis.GenerationMode.NEGATIVE))
    return cases


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize(("path", "method", "mode"), operations())
def test_answers_conform_to_the_openapi_document(
    document: schemathesis.BaseSchema, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=document[path][method.upper()].as_strategy(generation_mode=mode))
    def call(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    call()
