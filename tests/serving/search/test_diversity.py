"""Diversity, near-duplicates, sorting by an attribute, and explanations of scores and searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.ranking.diversity import collapse_duplicates, mmr_order
from tests.serving.answers import ids, problem, scores


def random_products(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Descending scores, and unit vectors."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, 6)).astype(np.float32)
    return np.sort(rng.random(count))[::-1], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 1000), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_mmr_order_maximizes_relevance_less_similarity_at_each_position(
    count: int, seed: int, diversity: float
) -> None:
    values, vectors = random_products(count, seed)
    order = mmr_order(values, vectors, diversity)
    assert sorted(order) == list(range(count))
    for position in range(1, count):
        before, remaining = order[:position], order[position:]
        relevance = {
            index: (1 - diversity) * values[index] - diversity * float((vectors[before] @ vectors[index]).max())
            for index in remaining
        }
        assert relevance[order[position]] == pytest.approx(max(relevance.values()), abs=1e-6)


def test_mmr_order_without_diversity_keeps_the_order() -> None:
    values, vectors = random_products(20, 0)
    assert mmr_order(values, vectors, 0.0) == list(range(20))


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 1000), st.sampled_from([0.5, 0.9, 1.0]))
def test_collapse_keeps_the_first_of_similar_products(count: int, seed: int, threshold: float) -> None:
    _, vectors = random_products(count, seed)
    kept = collapse_duplicates(vectors, threshold)
    assert sorted([*kept, *(index for others in kept.values() for index in others)]) == list(range(count))
    assert list(kept) == sorted(kept)
    similar = vectors @ vectors.T
    for first, others in kept.items():
        assert all(other > first and similar[first, other] >= threshold for other in others)
    firsts = list(kept)
    assert not (np.triu(similar[np.ix_(firsts, firsts)] >= threshold, 1)).any()


# ── through the server ───────────────────────────────────────────────────────────────────────────────────────────


def test_collapse_folds_duplicates_into_the_best_of_them(rich_client: FlaskClient) -> None:
    plain = rich_client.get("/v1/search/text?q=red&rerank=false&limit=100").get_json()
    collapsed = rich_client.get("/v1/search/text?q=red&rerank=false&limit=100&collapse=0.9999").get_json()
    # p000, its twins and one picture of pair-0 are the same photo.
    twins = {"p000", "twin-1", "twin-2", "pair-0"}
    first = next(result for result in collapsed["results"] if result["product_id"] in twins)
    assert {first["product_id"], *first["duplicates"]} == twins
    assert len([product_id for product_id in ids(collapsed) if product_id in twins]) == 1
    assert first["product_id"] == next(product_id for product_id in ids(plain) if product_id in twins)
    assert all(result["duplicates"] is None for result in plain["results"])
    assert collapsed["total_found"] == plain["total_found"]  # products that pass the filters, collapsed or not


def test_diversity_moves_dissimilar_products_forward(rich_client: FlaskClient) -> None:
    def count_colours(diversity: float) -> int:
        url = f"/v1/search/text?q=red&rerank=false&limit=8&diversity={diversity}"
        results = rich_client.get(url).get_json()["results"]
        return len({result["attributes"].get("colour") for result in results})

    assert count_colours(0) == 1
    assert count_colours(1) >= 5
    assert count_colours(0) <= count_colours(0.5) <= count_colours(1)
    # No product is dropped.
    answer = rich_client.get("/v1/search/text?q=red&limit=100&diversity=0.7").get_json()
    assert len(answer["results"]) == 65


def test_explain_breaks_scores_into_parts(rich_client: FlaskClient) -> None:
    answer = rich_client.get("/v1/search/text?q=red&explain=true&limit=100").get_json()
    for result in answer["results"]:
        assert sum(result["score_parts"].values()) == pytest.approx(result["score"], abs=1e-5)
        assert result["score_parts"]["similarity"] == pytest.approx(result["similarity_score"], abs=1e-6)
        assert ("rating" in result["score_parts"]) == ((result["avg_rating"] or 0) >= 4.5)
        assert ("popularity" in result["score_parts"]) == bool(result["popularity_score"])
    unexplained = rich_client.get("/v1/search/text?q=red").get_json()
    assert unexplained["explain"] is None
    assert all(result["score_parts"] is None for result in unexplained["results"])


def test_explain_reports_plan_parameters_and_timings(rich_client: FlaskClient) -> None:
    explain = rich_client.get("/v1/search/text?q=red&explain=true&filter=colour:red").get_json()["explain"]
    assert explain["segments"] == [{"path": "exact", "allowed": 13 + 1, "probes": 0, "candidates": 14}]
    assert set(explain["params"]) == {"nprobe", "rescore", "filtered_probes", "filtered_rescore", "breadth"}
    assert list(explain["milliseconds"]) == ["wait", "read", "encode", "search", "rank", "enrich"]
    assert all(value >= 0 for value in explain["milliseconds"].values())


def test_product_without_signals_scores_by_similarity_alone(rich_client: FlaskClient) -> None:
    results = rich_client.get("/v1/search/text?q=green&explain=true&limit=100&max_per_category=0").get_json()["results"]
    bare = next(result for result in results if result["product_id"] == "bare")
    assert bare["score"] == bare["similarity_score"]
    assert bare["score_parts"] == {"similarity": bare["similarity_score"]}
    assert scores({"results": results}) == sorted(scores({"results": results}), reverse=True)


@pytest.mark.parametrize("more", ["", "&rerank=false", "&max_per_category=1", "&collapse=0.9999&diversity=0.5"])
def test_sort_orders_the_best_matches_by_an_attribute(rich_client: FlaskClient, more: str) -> None:
    def results(sort: str) -> list[dict[str, Any]]:
        return rich_client.get(f"/v1/search/text?q=red&limit=100&sort={sort}{more}").get_json()["results"]

    ascending, descending = results("price"), results("-price")
    assert len(ascending) >= 40
    assert {result["product_id"] for result in ascending} == {result["product_id"] for result in descending}
    prices = [result["price"] for result in ascending if result["price"] is not None]
    assert prices == sorted(prices)
    assert [result["price"] for result in descending if result["price"] is not None] == prices[::-1]
    assert ascending[-1]["product_id"] == descending[-1]["product_id"] == "bare"  # it has no price
    by_size = results("size")
    sizes = [result["attributes"]["size"] for result in by_size if result["attributes"]["size"] is not None]
    assert sizes == sorted(sizes)
    if more == "&rerank=false":  # products with the same value stay in the order of their scores
        ties = [result["score"] for result in by_size if result["attributes"]["size"] == 0]
        assert len(ties) > 2
        assert ties == sorted(ties, reverse=True)


@pytest.mark.parametrize("sort", ["", "-", "nothing", "--price", "price;"])
def test_sort_by_an_unknown_attribute_is_rejected(rich_client: FlaskClient, sort: str) -> None:
    detail = problem(rich_client.get("/v1/search/text", query_string={"q": "red", "sort": sort}), 422, "sort")
    assert "there is no attribute" in detail
