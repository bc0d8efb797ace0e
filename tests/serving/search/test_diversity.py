"""Diversity, near-duplicates, and what explain tells of a score and of the way there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.ranking.diversity import collapse_duplicates, mmr_order
from tests.serving.answers import ids, problem, scores


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, 6)).astype(np.float32)
    return np.sort(rng.random(count))[::-1], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 1000), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_each_place_goes_to_the_most_relevant_that_is_least_like_those_before(
    count: int, seed: int, diversity: float
) -> None:
    values, vectors = drawn(count, seed)
    order = mmr_order(values, vectors, diversity)
    assert sorted(order) == list(range(count))
    for place in range(1, count):
        shown, left = order[:place], order[place:]
        worth = {
            each: (1 - diversity) * values[each] - diversity * float((vectors[shown] @ vectors[each]).max())
            for each in left
        }
        assert worth[order[place]] == pytest.approx(max(worth.values()), abs=1e-6)


def test_without_diversity_the_order_stays() -> None:
    values, vectors = drawn(20, 0)
    assert mmr_order(values, vectors, 0.0) == list(range(20))


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 1000), st.sampled_from([0.5, 0.9, 1.0]))
def test_folding_keeps_the_first_of_those_that_look_the_same(count: int, seed: int, threshold: float) -> None:
    _, vectors = drawn(count, seed)
    kept = collapse_duplicates(vectors, threshold)
    assert sorted([*kept, *(each for others in kept.values() for each in others)]) == list(range(count))
    assert list(kept) == sorted(kept)
    similar = vectors @ vectors.T
    for first, others in kept.items():
        assert all(other > first and similar[first, other] >= threshold for other in others)
    places = list(kept)
    assert not (np.triu(similar[np.ix_(places, places)] >= threshold, 1)).any()


# ── asked of the server ──────────────────────────────────────────────────────────────────────────────────────────


def test_twins_fold_into_the_best_of_them(rich_client: FlaskClient) -> None:
    plain = rich_client.get("/v1/search/text?q=red&rerank=false&limit=100").get_json()
    folded = rich_client.get("/v1/search/text?q=red&rerank=false&limit=100&collapse=0.9999").get_json()
    # p000, its twins and one picture of pair-0 are the same photo.
    shared_dir = {"p000", "twin-1", "twin-2", "pair-0"}
    first = next(result for result in folded["results"] if result["product_id"] in shared_dir)
    assert {first["product_id"], *first["duplicates"]} == shared_dir
    assert len([each for each in ids(folded) if each in shared_dir]) == 1
    assert first["product_id"] == next(each for each in ids(plain) if each in shared_dir)
    assert all(result["duplicates"] is None for result in plain["results"])
    assert folded["total_found"] == plain["total_found"]  # products that pass the filters, folded or not


def test_diversity_brings_unlike_products_forward(rich_client: FlaskClient) -> None:
    def kinds(diversity: float) -> int:
        url = f"/v1/search/text?q=red&rerank=false&limit=8&diversity={diversity}"
        results = rich_client.get(url).get_json()["results"]
        return len({result["attributes"].get("colour") for result in results})

    assert kinds(0) == 1
    assert kinds(1) >= 5
    assert kinds(0) <= kinds(0.5) <= kinds(1)
    # nobody is dropped for it
    answer = rich_client.get("/v1/search/text?q=red&limit=100&diversity=0.7").get_json()
    assert len(answer["results"]) == 65


def test_explain_takes_a_score_apart(rich_client: FlaskClient) -> None:
    answer = rich_client.get("/v1/search/text?q=red&explain=true&limit=100").get_json()
    for result in answer["results"]:
        assert sum(result["score_parts"].values()) == pytest.approx(result["score"], abs=1e-5)
        assert result["score_parts"]["similarity"] == pytest.approx(result["similarity_score"], abs=1e-6)
        assert ("rating" in result["score_parts"]) == ((result["avg_rating"] or 0) >= 4.5)
        assert ("popularity" in result["score_parts"]) == bool(result["popularity_score"])
    silent = rich_client.get("/v1/search/text?q=red").get_json()
    assert silent["explain"] is None
    assert all(result["score_parts"] is None for result in silent["results"])


def test_explain_tells_path_rows_probes_candidates_and_milliseconds(rich_client: FlaskClient) -> None:
    explain = rich_client.get("/v1/search/text?q=red&explain=true&filter=colour:red").get_json()["explain"]
    assert explain["segments"] == [{"path": "exact", "allowed": 13 + 1, "probes": 0, "candidates": 14}]
    assert set(explain["params"]) == {"nprobe", "rescore", "filtered_probes", "filtered_rescore"}
    assert list(explain["milliseconds"]) == ["wait", "read", "encode", "search", "rank", "enrich"]
    assert all(value >= 0 for value in explain["milliseconds"].values())


def test_a_bare_product_scores_by_similarity_alone(rich_client: FlaskClient) -> None:
    results = rich_client.get("/v1/search/text?q=green&explain=true&limit=100&max_per_category=0").get_json()["results"]
    bare = next(result for result in results if result["product_id"] == "bare")
    assert bare["score"] == bare["similarity_score"]
    assert bare["score_parts"] == {"similarity": bare["similarity_score"]}
    assert scores({"results": results}) == sorted(scores({"results": results}), reverse=True)


@pytest.mark.parametrize("more", ["", "&rerank=false", "&max_per_category=1", "&collapse=0.9999&diversity=0.5"])
def test_the_best_matches_by_an_attribute(rich_client: FlaskClient, more: str) -> None:
    def answer(sort: str) -> list[dict[str, Any]]:
        return rich_client.get(f"/v1/search/text?q=red&limit=100&sort={sort}{more}").get_json()["results"]

    cheap, dear = answer("price"), answer("-price")
    assert len(cheap) >= 40
    assert {each["product_id"] for each in cheap} == {each["product_id"] for each in dear}
    prices = [each["price"] for each in cheap if each["price"] is not None]
    assert prices == sorted(prices)
    assert [each["price"] for each in dear if each["price"] is not None] == prices[::-1]
    assert cheap[-1]["product_id"] == dear[-1]["product_id"] == "bare"  # it has no price
    sizes = [each["attributes"]["size"] for each in answer("size")]
    assert [each for each in sizes if each is not None] == sorted(each for each in sizes if each is not None)
    if more == "&rerank=false":  # where the attribute says nothing, the best come first
        twins = [each["score"] for each in answer("size") if each["attributes"]["size"] == 0]
        assert len(twins) > 2
        assert twins == sorted(twins, reverse=True)


@pytest.mark.parametrize("sort", ["", "-", "nothing", "--price", "price;"])
def test_only_attributes_that_are_there_can_be_sorted_by(rich_client: FlaskClient, sort: str) -> None:
    detail = problem(rich_client.get("/v1/search/text", query_string={"q": "red", "sort": sort}), 422, "sort")
    assert "there is no attribute" in detail
