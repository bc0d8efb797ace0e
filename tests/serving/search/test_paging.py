"""Paging: pages join to the list of a single search, also while releases change; and which cursors are rejected."""

from __future__ import annotations

import base64
import json
import random
import time as timer
from datetime import UTC, datetime, time
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.settings import Settings
from serving.search import task as task_module
from serving.search.paging import Cursor
from serving.services import services_of
from tests.serving.answers import client_for, ids, problem
from tests.serving.versions import publish_another


def pages(client: FlaskClient, query: dict[str, Any], limits: list[int]) -> list[dict[str, Any]]:
    """Follow a search's cursors to its end; pages have the lengths in `limits` in turn."""
    answers: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        limit = limits[len(answers) % len(limits)]
        response = client.get("/v1/search/text?" + urlencode({**query, **cursor, "limit": limit}, doseq=True))
        assert response.status_code == 200, response.get_data(as_text=True)
        answers.append(response.get_json())
        if answers[-1]["next_cursor"] is None:
            return answers
        cursor = {"cursor": answers[-1]["next_cursor"]}


QUERIES = st.fixed_dictionaries(
    {"q": st.sampled_from(["red", "blue and white", "nothing in particular"])},
    optional={
        "category": st.lists(st.sampled_from(["circle", "square", "pair"]), min_size=1, max_size=2, unique=True),
        "brand_not": st.just("brand 1"),
        "price_max": st.sampled_from([0, 30, 500]),
        "filter": st.sampled_from(["size:1", "colour:red"]),
        "missing": st.just("brand"),
        "rerank": st.sampled_from(["true", "false"]),
        "max_per_category": st.integers(0, 3),
        "diversity": st.sampled_from([0, 0.3, 1]),
        "collapse": st.sampled_from([0.9, 0.999]),
        "sort": st.sampled_from(["price", "-added_at", "-colour"]),
    },
)


@pytest.mark.parametrize("window", [200, 4])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, limits=st.lists(st.integers(1, 40), min_size=1, max_size=3))
def test_pages_join_to_the_whole_list(
    rich_client: FlaskClient, window: int, query: dict[str, Any], limits: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # With a small window, a page spans several tiers.
        patch.setattr(task_module, "WINDOW", window)
        patch.setattr(task_module, "PLAIN_WINDOW", window)
        whole = rich_client.get("/v1/search/text?" + urlencode({**query, "limit": 100}, doseq=True)).get_json()
        answers = pages(rich_client, query, limits)
    listed = [result for answer in answers for result in answer["results"]]
    assert listed == whole["results"]
    assert len({result["product_id"] for result in listed}) == len(listed)
    assert all(answer["total_found"] == whole["total_found"] for answer in answers)
    collapsed = sum(len(result["duplicates"] or ()) for result in listed)
    # A list sorted by an attribute ends with the window.
    assert len(listed) + collapsed == min(whole["total_found"], window if "sort" in query else 10**9)
    assert all(len(answer["results"]) == limits[n % len(limits)] for n, answer in enumerate(answers[:-1]))


def test_offsets_cut_the_same_list_as_cursors(rich_client: FlaskClient) -> None:
    whole = ids(rich_client.get("/v1/search/text?q=red&limit=100").get_json())
    for offset in random.Random(0).sample(range(65), 12):
        answer = rich_client.get(f"/v1/search/text?q=red&limit=9&offset={offset}").get_json()
        assert ids(answer) == whole[offset : offset + 9]
        assert (answer["next_cursor"] is None) == (offset + 9 >= 65)
    # A cursor continues from any page.
    rest = rich_client.get(f"/v1/search/text?q=red&limit=100&cursor={answer['next_cursor']}").get_json()
    assert ids(rest) == whole[offset + 9 :]


def test_every_search_route_has_pages(rich_client: FlaskClient) -> None:
    first = rich_client.get("/v1/products/p004/similar?limit=5").get_json()
    second = rich_client.get(f"/v1/products/p004/similar?limit=5&cursor={first['next_cursor']}").get_json()
    assert ids(first) + ids(second) == ids(rich_client.get("/v1/products/p004/similar?limit=10").get_json())
    body = {"like": ["p004"], "unlike": ["p002"], "limit": 5}
    first = rich_client.post("/v1/search", json=body).get_json()
    second = rich_client.post("/v1/search", json={**body, "cursor": first["next_cursor"]}).get_json()
    assert ids(first) + ids(second) == ids(rich_client.post("/v1/search", json={**body, "limit": 10}).get_json())


def test_paging_ends_at_the_maximum_offset(rich: Settings) -> None:
    client = client_for(rich.model_copy(update={"max_offset": 20}))
    answers = pages(client, {"q": "red"}, [10])
    assert len(answers) == 3
    assert "at most 20" in problem(client.get("/v1/search/text?q=red&offset=21"), 422, "offset")


# ── while releases change ────────────────────────────────────────────────────────────────────────────────────────


def test_cursor_stays_on_the_release_it_began_on(versions: Settings) -> None:
    client = client_for(versions)
    watcher = services_of(client.application).watcher
    whole = ids(client.get("/v1/search/text?q=red&limit=100").get_json())
    first = client.get("/v1/search/text?q=red&limit=10").get_json()
    publish_another(versions, 30)
    watcher.poll()
    second = client.get(f"/v1/search/text?q=red&limit=10&cursor={first['next_cursor']}").get_json()
    assert ids(first) + ids(second) == whole[:20]
    assert second["release"] == first["release"] != client.get("/v1/release").get_json()["version"]
    assert second["total_found"] == 36
    assert client.get("/v1/search/text?q=red").get_json()["total_found"] == 30
    # After another release, the first one is still loaded.
    publish_another(versions, 33)
    watcher.poll()
    third = client.get(f"/v1/search/text?q=red&limit=10&cursor={second['next_cursor']}").get_json()
    assert ids(third) == whole[20:30]


def test_cursor_of_a_replaced_release_expires(versions: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_for(versions)
    watcher = services_of(client.application).watcher
    cursor = client.get("/v1/search/text?q=red&limit=10").get_json()["next_cursor"]
    publish_another(versions, 30)
    watcher.poll()
    url = f"/v1/search/text?q=red&limit=10&cursor={cursor}"
    assert client.get(url).status_code == 200
    now = timer.monotonic()
    monkeypatch.setattr("serving.releases.watcher.time.monotonic", lambda: now + versions.cursor_seconds + 1)
    watcher.poll()
    assert "search again from the first page" in problem(client.get(url), 410, "cursor")


def test_cursor_of_a_release_not_loaded_yet_asks_for_a_retry(versions: Settings) -> None:
    """Another worker or replica may have loaded the release earlier."""
    ahead, behind = client_for(versions), client_for(versions)
    publish_another(versions, 30)
    services_of(ahead.application).watcher.poll()
    cursor = ahead.get("/v1/search/text?q=red&limit=10").get_json()["next_cursor"]
    response = behind.get(f"/v1/search/text?q=red&limit=10&cursor={cursor}")
    assert "not loaded here yet" in problem(response, 503)
    assert int(response.headers["Retry-After"]) > 0
    services_of(behind.application).watcher.poll()
    assert behind.get(f"/v1/search/text?q=red&limit=10&cursor={cursor}").status_code == 200


def test_unreachable_store_does_not_turn_a_cursor_into_a_server_error(
    rich: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_for(rich)

    def fail(_: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("artifacts.store.store.Store.current", fail)
    url = "/v1/search/text?" + urlencode({"q": "red", "cursor": forge_cursor(r="99991231T000000Z-000000000000")})
    problem(client.get(url), 410, "cursor")


# ── invalid cursors ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        {"q": "blue"},
        {"category": ["circle"]},
        {"rerank": "false"},
        {"diversity": "0.5"},
        {"collapse": "0.9"},
        {"recall": "2"},
        {"max_per_category": "1"},
        {"price_min": "3"},
    ],
)
def test_cursor_of_another_search_is_rejected(rich_client: FlaskClient, change: dict[str, str]) -> None:
    cursor = rich_client.get("/v1/search/text?q=red&limit=5").get_json()["next_cursor"]
    url = "/v1/search/text?" + urlencode({"q": "red", "limit": 5, "cursor": cursor, **change}, doseq=True)
    assert "belongs to another search" in problem(rich_client.get(url), 422, "cursor")


def test_cursor_accepts_the_same_filter_written_differently(rich_client: FlaskClient) -> None:
    url = "/v1/search/text?q=red&limit=5&"
    cursor = rich_client.get(f"{url}category=circle&category=square&brand=brand 1").get_json()["next_cursor"]
    again = rich_client.get(f"{url}brand=brand 1&filter=category:square&filter=category:circle&cursor={cursor}")
    assert again.status_code == 200


def test_limit_facets_and_explain_may_change_between_pages(rich_client: FlaskClient) -> None:
    cursor = rich_client.get("/v1/search/text?q=red&limit=5").get_json()["next_cursor"]
    url = "/v1/search/text?" + urlencode({"q": "red", "limit": 50, "cursor": cursor, "facets": "brand", "explain": 1})
    assert rich_client.get(url).get_json()["facets"]["brand"]


def test_cursor_with_an_offset_is_rejected(rich_client: FlaskClient) -> None:
    cursor = rich_client.get("/v1/search/text?q=red&limit=5").get_json()["next_cursor"]
    url = f"/v1/search/text?q=red&limit=5&offset=5&cursor={cursor}"
    assert "cannot be combined with a cursor" in problem(rich_client.get(url), 422, "offset")


def forge_cursor(**parts: Any) -> str:
    fields = {"r": "v", "o": 5, "s": "x", "d": "2026-11-22", **parts}
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "", "x", "é", "!!!!", "e30", "W10", "bnVsbA", "%00", "A" * 500,
        forge_cursor(o=-1), forge_cursor(o="5"), forge_cursor(o=True), forge_cursor(o=1.5), forge_cursor(r=5),
        forge_cursor(s=None), forge_cursor(d="today"), forge_cursor(d=5),
        base64.urlsafe_b64encode(b"[" * 300).decode(),
    ],
)  # fmt: skip
def test_malformed_cursors_are_rejected(rich_client: FlaskClient, cursor: str) -> None:
    response = rich_client.get("/v1/search/text?" + urlencode({"q": "red", "cursor": cursor}))
    assert "is not a cursor" in problem(response, 422, "cursor")


def test_forged_cursors_are_rejected(rich_client: FlaskClient) -> None:
    url = "/v1/search/text?" + urlencode({"q": "red", "cursor": forge_cursor(r="../../etc/passwd")})
    problem(rich_client.get(url), 410, "cursor")
    version = rich_client.get("/v1/release").get_json()["version"]
    url = "/v1/search/text?" + urlencode({"q": "red", "cursor": forge_cursor(r=version)})
    assert "another search" in problem(rich_client.get(url), 422, "cursor")
    url = "/v1/search/text?" + urlencode({"q": "red", "cursor": forge_cursor(r=version, o=10**9)})
    assert "at most 10000" in problem(rich_client.get(url), 422, "offset")


@given(
    st.builds(
        Cursor,
        release=st.text(max_size=60),
        offset=st.integers(0, 10**6),
        search=st.text(max_size=30),
        today=st.dates().map(lambda day: datetime.combine(day, time(), UTC)),
    )
)
def test_cursors_decode_to_what_was_encoded(cursor: Cursor) -> None:
    assert Cursor.decoded(cursor.encoded()) == cursor
