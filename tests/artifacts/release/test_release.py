"""Releases: several segments searched as one, products counted once, dead rows never seen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import CorruptFile, IncompatibleRelease, QueryError
from artifacts.index import planner
from artifacts.index.params import SearchParams
from artifacts.products.filters import Condition, Filter
from artifacts.release.release import Hit, Release
from artifacts.store.manifest import SegmentRef
from tests.artifacts.building import (
    DIM,
    ENCODER,
    INDEXED,
    force,
    manifest_of,
    open_release,
    product_table,
    queries_like,
    unit_vectors,
    write_segment,
)

DEEP = SearchParams(nprobe=64, rescore=8)


@dataclass
class Product:
    """What a test knows of a product of a release."""

    id: str
    segment: int
    category: str | None
    price: float
    season: str | None
    vectors: list[np.ndarray] = field(default_factory=list)  # float16[DIM] of each picture


@dataclass
class Catalog:
    """A release of two segments, and what is in it: the newer replaces and deletes products of the older."""

    release: Release
    alive: dict[str, Product]

    def passing(self, conditions: Filter, without: Sequence[str] = ()) -> list[Product]:
        return [
            product for product in self.alive.values()
            if product.id not in without and all(meets(getattr(product, each.column), each) for each in conditions)
        ]  # fmt: skip

    def best(self, query: np.ndarray, products: Sequence[Product]) -> dict[str, float]:
        """Score of each product's best picture, best first."""
        query = query.astype(np.float64)
        scores = {each.id: max(float(v.astype(np.float64) @ query) for v in each.vectors) for each in products}
        return dict(sorted(scores.items(), key=lambda item: -item[1]))


def meets(value: Any, condition: Condition) -> bool:
    if condition.any_of and (value is None or value not in condition.any_of):
        return False
    if condition.none_of and value is not None and value in condition.none_of:
        return False
    if condition.minimum is not None and (value is None or value < condition.minimum):
        return False
    return not (condition.maximum is not None and (value is None or value > condition.maximum))


def write_products(
    folder: Path, number: int, products: Sequence[Product], codec: str, tombstones: Sequence[str]
) -> None:
    rows = [(product, picture) for product in products for picture in range(len(product.vectors))]
    attributes = {} if number == 0 else {"season": pa.string()}
    table = product_table(
        [product.id for product, _ in rows],
        pictures=[picture for _, picture in rows],
        attributes=attributes,
        category=[product.category for product, _ in rows],
        price=[product.price for product, _ in rows],
        **({"season": [product.season for product, _ in rows]} if number else {}),
    )
    vectors = np.array([product.vectors[picture] for product, picture in rows], np.float16)
    layout = INDEXED.model_copy(update={"codec": codec, "rows_per_index": 500})
    write_segment(folder, vectors, table, segment_id=f"s{number}", settings=layout, tombstones=tombstones)


def make_catalog(folder: Path, codec: str) -> Catalog:
    rng = np.random.default_rng(11)

    def product(number: int, segment: int) -> Product:
        vectors = list(unit_vectors(int(rng.integers(1, 5)), seed=number + 10_000 * segment))
        return Product(
            f"p{number}",
            segment,
            category=[None, "shoe", "bag", "hat"][int(rng.integers(0, 4))],
            price=float(rng.integers(0, 50)),
            season=None if segment == 0 else ["summer", "winter", None][int(rng.integers(0, 3))],
            vectors=vectors,
        )

    old = [product(number, 0) for number in range(400)]
    new = [product(number, 1) for number in range(300, 520)]  # 300-399 are replaced
    deleted = [f"p{number}" for number in range(0, 60, 2)]
    # p500 is deleted from what came before, and added again: it is there.
    write_products(folder / "0", 0, old, codec, [])
    write_products(folder / "1", 1, new, codec, [*deleted, "p500", "never there"])
    alive = {each.id: each for each in old if each.id not in deleted}
    alive.update({each.id: each for each in new})
    return Catalog(open_release(folder / "0", folder / "1"), alive)


@pytest.fixture(scope="module", params=["flat", "pq", "rabitq", "sq8"])
def catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    made = make_catalog(tmp_path_factory.mktemp("catalog"), request.param)
    yield made
    made.release.close()


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """For what does not depend on the index."""
    made = make_catalog(tmp_path_factory.mktemp("catalog"), "flat")
    yield made
    made.release.close()


@pytest.fixture(params=["scan", "probe"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> str:
    """Whether allowed rows are scored one by one or looked for in the index."""
    force(monkeypatch, request.param)
    return request.param


FILTERS: dict[str, Filter] = {
    "none": (),
    "category": (Condition("category", any_of=("shoe",)),),
    "not category": (Condition("category", none_of=("shoe", "bag")),),
    "price": (Condition("price", minimum=10.0, maximum=12.0),),
    "two": (Condition("category", any_of=("bag", "hat")), Condition("price", maximum=25.0)),
    "only in the newer": (Condition("season", any_of=("summer",)),),
    "not, only in the newer": (Condition("season", none_of=("summer",)),),
    "nothing": (Condition("category", any_of=("car",)),),
}


# ── searching ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("k", [1, 20, 1000])
def test_search(catalog: Catalog, path: str, name: str, k: int):
    conditions = FILTERS[name]
    passing = catalog.passing(conditions)
    queries = unit_vectors(4, seed=99).astype(np.float32)
    found, plans = catalog.release.search(queries, k, DEEP, conditions)
    assert len(plans) == 2
    for query, hits in zip(queries, found, strict=True):
        truth = catalog.best(query, passing)
        assert len(hits) == min(k, len(passing))
        ids = catalog.release.product_ids(hits)
        assert len(set(ids)) == len(hits)
        assert set(ids) <= set(truth)
        for hit, product_id in zip(hits, ids, strict=True):
            assert hit.segment == catalog.alive[product_id].segment
            assert hit.score == pytest.approx(truth[product_id], abs=1e-5)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        lost = sum(list(truth.values())[: len(hits)]) - sum(hit.score for hit in hits)
        assert lost <= 0.02 * len(hits)  # an approximate search may miss a few of the best


@pytest.mark.parametrize("name", FILTERS)
def test_exact_search_is_brute_force(catalog: Catalog, path: str, name: str):
    query = unit_vectors(1, seed=98).astype(np.float32)
    hits = catalog.release.search(query, 50, SearchParams(1, 1), FILTERS[name], exact=True)[0][0]
    truth = catalog.best(query[0], catalog.passing(FILTERS[name]))
    assert catalog.release.product_ids(hits) == list(truth)[:50]


def test_without(catalog: Catalog, path: str):
    query = unit_vectors(1, seed=97).astype(np.float32)
    all_hits = catalog.release.search(query, 30, DEEP, exact=True)[0][0]
    without = [*catalog.release.product_ids(all_hits[:10]), "unknown"]
    hits = catalog.release.search(query, 20, DEEP, excluded=[without], exact=True)[0][0]
    assert hits == all_hits[10:]
    for k in (20, 1000):
        hits = catalog.release.search(query, k, DEEP, FILTERS["category"], excluded=[without])[0][0]
        assert not set(catalog.release.product_ids(hits)) & set(without)
        assert len(hits) == min(k, len(catalog.passing(FILTERS["category"], without)))


def test_everything_left_out(catalog: Catalog):
    assert catalog.release.search(np.eye(1, DIM), 5, DEEP, excluded=[set(catalog.alive)])[0] == [[]]


@pytest.mark.parametrize("k", [0, -3])
def test_nothing_wanted(catalog: Catalog, k: int):
    assert catalog.release.search(np.eye(2, DIM), k, DEEP, excluded=[["p1", "p301"]] * 2)[0] == [[], []]


def test_no_queries(catalog: Catalog, path: str):
    assert catalog.release.search(np.empty((0, DIM)), 5, DEEP)[0] == []
    assert catalog.release.search(np.empty((0, DIM)), 5, DEEP, FILTERS["category"])[0] == []


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(DIM),
        np.full(DIM, np.nan),
        np.r_[np.inf, np.zeros(DIM - 1)],
        np.ones(DIM - 1),
        np.ones(DIM + 1),
        np.ones(0),
    ],
)
def test_vectors_that_faiss_must_not_see(catalog: Catalog, vector: np.ndarray):
    good = np.ones_like(vector)
    for queries in ([vector], [good, vector]):
        with pytest.raises(QueryError) as caught:
            catalog.release.search(np.array(queries), 5, DEEP)
        assert caught.value.field == "vector"


def test_pages_fit_together(catalog: Catalog, path: str):
    """The first hits of a longer list are the shorter list, by exact search and on flat segments."""
    query = unit_vectors(1, seed=96).astype(np.float32)
    long = catalog.release.search(query, 60, DEEP, exact=True)[0][0]
    for k in (1, 7, 20, 59):
        assert catalog.release.search(query, k, DEEP, exact=True)[0][0] == long[:k]


def test_ties_are_ordered_by_segment_and_row(tmp_path: Path):
    """The same picture under many products, in both segments; better ones come late."""
    picture, better = unit_vectors(2, seed=5)
    for number, ids in enumerate((range(40), range(40, 80))):
        vectors = np.repeat(picture[None, :], 40, axis=0)
        vectors[35] = better
        write_segment(tmp_path / str(number), vectors, product_table([f"p{i}" for i in ids]), segment_id=f"s{number}")
    release = open_release(tmp_path / "0", tmp_path / "1")
    query = (picture + better)[None, :].astype(np.float32) + better
    order = release.product_ids(release.search(query, 80, DEEP)[0][0])
    assert order == ["p35", "p75", *(f"p{i}" for i in range(80) if i not in (35, 75))]
    for k in range(1, 80):
        for exact in (False, True):
            hits = release.search(query, k, DEEP, exact=exact)[0][0]
            assert release.product_ids(hits) == order[:k]
    release.close()


def test_many_pictures_of_one_product_do_not_crowd_out_others(tmp_path: Path):
    """300 pictures of one product are all nearer than any other's."""
    near = unit_vectors(1, seed=3)[0]
    vectors = np.concatenate([np.repeat(near[None, :], 300, axis=0), unit_vectors(30, seed=4)])
    ids = ["crowd"] * 300 + [f"p{number}" for number in range(30)]
    pictures = [*range(300), *[0] * 30]
    write_segment(tmp_path / "s", vectors, product_table(ids, pictures=pictures), settings=INDEXED)
    release = open_release(tmp_path / "s")
    hits = release.search(near[None, :].astype(np.float32), 20, SearchParams(2, 1))[0][0]
    assert len(hits) == 20
    assert release.product_ids(hits)[0] == "crowd"
    assert hits[0].row == 0
    assert release.count(()) == 31
    release.close()


def test_threads_get_the_answers_they_would_get_alone(catalog: Catalog, path: str):
    queries = unit_vectors(2, seed=95).astype(np.float32)
    names = list(FILTERS)

    def ask(number: int) -> Any:
        conditions = FILTERS[names[number % len(names)]]
        return catalog.release.search(queries, 10, DEEP, conditions)[0], catalog.release.count(conditions)

    alone = [ask(number) for number in range(8)]
    catalog.release._row_filters.clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, [*range(8)] * 4)) == alone * 4


# ── products ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_locate(flat: Catalog):
    for product in (flat.alive[f"p{number}"] for number in (1, 61, 299, 300, 345, 399, 400, 500, 519)):
        place = flat.release.locate(product.id)
        assert place is not None
        assert (place[0], len(place[1])) == (product.segment, len(product.vectors))
        vectors = flat.release.product_vectors(product.id)
        assert vectors is not None
        assert (vectors == np.array(product.vectors, np.float32)).all()
    for gone in ("p0", "p58", "p520", "unknown", "never there", "", "\ud800", "\x00"):
        assert flat.release.locate(gone) is None
        assert flat.release.product_vectors(gone) is None


def test_rows_of_hits(catalog: Catalog):
    hits = catalog.release.search(unit_vectors(1, seed=94).astype(np.float32), 40, DEEP)[0][0]
    assert {hit.segment for hit in hits} == {0, 1}
    rows = catalog.release.values(hits)
    ids = catalog.release.product_ids(hits)
    assert [row["product_id"] for row in rows] == ids
    assert [row["price"] for row in rows] == [catalog.alive[product_id].price for product_id in ids]
    shown = catalog.release.to_results(hits)
    assert [(row["product_id"], row["picture"], row["price"]) for row in shown] == [
        (row["product_id"], row["picture"], row["price"]) for row in rows
    ]
    columns = catalog.release.arrays(hits, ["product_id", "price", "season", "margin"])
    assert columns["product_id"].tolist() == ids
    assert columns["price"].tolist() == [row["price"] for row in rows]
    assert columns["season"].tolist() == [catalog.alive[product_id].season for product_id in ids]
    assert np.isnan(columns["margin"]).tolist() == [True] * len(hits)
    assert catalog.release.values([]) == catalog.release.to_results([]) == catalog.release.product_ids([]) == []


def test_columns_are_of_the_newest_segments_type(tmp_path: Path):
    """What a ranker reads are arrays of one type, whatever an attribute was before."""
    kinds = {"size": (pa.string(), ["40", "41"]), "worn": (pa.bool_(), [True, None]), "sold": (pa.int64(), [7, None])}
    newer = {"size": (pa.int64(), [42, None]), "worn": (pa.float64(), [0.5, 2]), "sold": (pa.int64(), [None, 2**40])}
    for number, made in enumerate((kinds, newer)):
        table = product_table(
            [f"p{number}{row}" for row in range(2)],
            attributes={name: kind for name, (kind, _) in made.items()},
            added_at=[datetime(2026, 11, number + 1, tzinfo=UTC), None],
            **{name: values for name, (_, values) in made.items()},
        )
        write_segment(tmp_path / str(number), unit_vectors(2), table, segment_id=f"s{number}")
    release = open_release(tmp_path / "0", tmp_path / "1")
    hits = [Hit(1.0, 1, 0), Hit(1.0, 0, 1), Hit(1.0, 0, 0), Hit(1.0, 1, 1)]
    columns = release.arrays(hits, ["size", "worn", "sold", "added_at", "brand"])
    np.testing.assert_array_equal(columns["size"], [42.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(columns["worn"], [0.5, np.nan, 1, 2])
    np.testing.assert_array_equal(columns["sold"], [np.nan, np.nan, 7, 2**40])
    days = np.array(["2026-11-02", "NaT", "2026-11-01", "NaT"], "datetime64[us]")
    np.testing.assert_array_equal(columns["added_at"], days)
    assert columns["brand"].tolist() == [None] * 4
    assert [row["added_at"] for row in release.values(hits)] == [
        datetime(2026, 11, 2, tzinfo=UTC), None, datetime(2026, 11, 1, tzinfo=UTC), None
    ]  # fmt: skip
    release.close()


def test_rows(catalog: Catalog):
    assert catalog.release.pictures == sum(len(product.vectors) for product in catalog.alive.values())


def test_columns_of_all_segments(catalog: Catalog):
    assert {"category", "price", "season"} <= set(catalog.release.columns)


# ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────────

_CATEGORIES = st.lists(st.sampled_from(["shoe", "bag", "hat", "car"]), max_size=3).map(tuple)
_PRICES = st.none() | st.integers(-5, 55).map(float)
CONDITIONS = st.lists(
    st.builds(Condition, st.just("category"), _CATEGORIES, _CATEGORIES)
    | st.builds(Condition, st.just("price"), minimum=_PRICES, maximum=_PRICES)
    | st.builds(
        Condition,
        st.just("season"),
        st.sampled_from([(), ("summer",), ("summer", "winter"), ("spring",)]),
        st.sampled_from([(), ("summer",), ("winter",)]),
    ),
    max_size=3,
).map(tuple)


@given(conditions=CONDITIONS)
@settings(max_examples=30, deadline=None)
def test_counts_are_those_of_python(flat: Catalog, conditions: Filter):
    passing = flat.passing(conditions)
    assert flat.release.count(conditions) == len(passing)
    for column in ("category", "season", "price"):
        values = Counter(getattr(product, column) for product in passing if getattr(product, column) is not None)
        facet = flat.release.facet(column, conditions)
        assert {each.value: each.count for each in facet} == values
        assert [each.count for each in facet] == sorted(values.values(), reverse=True)


def test_facet_of_equal_counts_is_in_order_of_the_values(tmp_path: Path):
    table = product_table(["a", "b", "c", "d"], category=["z", "x", "y", "x"])
    write_segment(tmp_path / "s", unit_vectors(4), table)
    release = open_release(tmp_path / "s")
    assert [(each.value, each.count) for each in release.facet("category", ())] == [("x", 2), ("y", 1), ("z", 1)]
    release.close()


def test_facet_of_an_unknown_column(catalog: Catalog):
    assert catalog.release.facet("nope", ()) == []


def test_an_attribute_that_changed_its_type(tmp_path: Path):
    """Sizes were numbers in the base, and are texts since."""
    base = product_table(["a", "b"], attributes={"size": pa.int64()}, size=[38, 40])
    delta = product_table(["c", "d"], attributes={"size": pa.string()}, size=["38", "XL"])
    write_segment(tmp_path / "0", unit_vectors(2), base, segment_id="s0")
    write_segment(tmp_path / "1", unit_vectors(2, seed=1), delta, segment_id="s1")
    release = open_release(tmp_path / "0", tmp_path / "1")
    assert release.columns["size"] == pa.large_string()
    found = release.search(np.eye(1, DIM), 9, DEEP, (Condition("size", any_of=("38",)),))[0][0]
    assert set(release.product_ids(found)) == {"a", "c"}
    assert release.count((Condition("size", none_of=("38",)),)) == 2
    release.close()
    release = open_release(tmp_path / "1", tmp_path / "0")
    assert release.count((Condition("size", minimum=39),)) == 1
    release.close()


def test_three_segments_delete_and_add_again(tmp_path: Path):
    for number, (ids, deleted) in enumerate((("ab", ""), ("c", "a"), ("a", "b"))):
        write_segment(
            tmp_path / str(number), unit_vectors(len(ids), seed=number), product_table(list(ids)),
            segment_id=f"s{number}", tombstones=list(deleted),
        )  # fmt: skip
    release = open_release(*(tmp_path / str(number) for number in range(3)))
    hits = release.search(np.eye(1, DIM), 9, DEEP)[0][0]
    assert dict(zip(release.product_ids(hits), (hit.segment for hit in hits), strict=True)) == {"a": 2, "c": 1}
    assert (release.count(()), release.pictures) == (2, 2)
    assert [release.locate(each) and release.locate(each)[0] for each in "abc"] == [2, None, 1]  # type: ignore[index]
    release.close()


def test_a_delta_that_only_deletes(tmp_path: Path):
    write_segment(tmp_path / "0", unit_vectors(3), segment_id="s0")
    write_segment(tmp_path / "1", unit_vectors(0), product_table([]), segment_id="s1", tombstones=["p1"])
    release = open_release(tmp_path / "0", tmp_path / "1")
    assert set(release.product_ids(release.search(np.eye(1, DIM), 9, DEEP)[0][0])) == {"p0", "p2"}
    assert release.count(()) == 2
    release.close()


def test_a_release_of_no_segments():
    release = Release(manifest_of([]), [])
    assert release.search(np.ones((1, 5)), 3, DEEP) == ([[]], [])
    assert (release.count(()), release.pictures, release.facet("category", ())) == (0, 0, [])


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_prepared_filter_takes_a_bit_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At 100 million rows, row numbers would be 800 MB for each filter."""
    monkeypatch.setattr(planner, "MAX_EXACT_ROWS", 100)
    write_segment(tmp_path / "0", unit_vectors(8000), segment_id="s0")
    write_segment(tmp_path / "1", unit_vectors(0), product_table([]), segment_id="s1", tombstones=["p1"])
    release = open_release(tmp_path / "0", tmp_path / "1")
    for conditions in ((), (Condition("price", minimum=5.0),)):
        allowed = release.row_filters(conditions)
        assert release.row_filters(conditions) is allowed
        assert allowed[0] is not None
        assert allowed[0].nbytes <= 8000 / 8 + 100
    release.close()


def test_filters_that_do_not_fit_the_cache_still_work(catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("artifacts.release.release._size_of", lambda _: 10**12)
    conditions = (Condition("price", maximum=1.0),)
    assert catalog.release.count(conditions) == len(catalog.passing(conditions))


# ── what does not fit ────────────────────────────────────────────────────────────────────────────────────────────


def test_another_segment_in_its_place(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3), segment_id="s")
    write_segment(tmp_path / "b", unit_vectors(3, seed=1), segment_id="s")
    release = open_release(tmp_path / "a")
    with pytest.raises(CorruptFile, match="not the one that the manifest names"):
        Release(release.manifest, [tmp_path / "b"])
    release.close()


def test_a_segment_of_another_encoder(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    write_segment(tmp_path / "b", unit_vectors(3), encoder_id="other@1")
    with pytest.raises(IncompatibleRelease, match="other@1"):
        open_release(tmp_path / "a", tmp_path / "b")
    with pytest.raises(IncompatibleRelease, match=ENCODER["id"]):  # type: ignore[arg-type]
        open_release(tmp_path / "a", encoder={**ENCODER, "id": "third@1"})


def test_segments_of_two_dimensions(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    write_segment(tmp_path / "b", unit_vectors(3, 8))
    with pytest.raises(IncompatibleRelease, match="8-d"):
        open_release(tmp_path / "a", tmp_path / "b")


def test_another_metric(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    path = tmp_path / "a/segment.json"
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "metric": "l2"}))
    with pytest.raises(IncompatibleRelease, match="l2"):
        open_release(tmp_path / "a")


def test_nothing_is_left_open_when_a_later_segment_is_damaged(tmp_path: Path):
    for name in "ab":
        write_segment(tmp_path / name, unit_vectors(3), segment_id=name)
    release = open_release(tmp_path / "a", tmp_path / "b")
    release.close()
    (tmp_path / "b/vectors.f16").unlink()
    with pytest.raises(CorruptFile):
        Release(release.manifest, [tmp_path / "a", tmp_path / "b"])
    database = tmp_path / "a/products.duckdb"
    database.chmod(0o644)
    duckdb.connect(str(database)).close()  # DuckDB refuses to write what is open elsewhere in the process


def test_segments_that_are_open_already_are_shared(tmp_path: Path):
    for name in "abc":
        write_segment(tmp_path / name, unit_vectors(3), segment_id=name)
    old = open_release(tmp_path / "a", tmp_path / "b")
    both = open_release(tmp_path / "b", tmp_path / "c", opened=old.segments)
    assert both.segments[0] is old.segments[1]
    assert both.segments[1] not in old.segments
    both.segments[1].close()
    # one of the same name in another place is another
    write_segment(tmp_path / "d", unit_vectors(4), segment_id="b")
    new = open_release(tmp_path / "a", tmp_path / "d", opened=old.segments)
    assert new.segments[0] is old.segments[0]
    assert new.segments[1].info.rows == 4
    new.segments[1].close()
    # a release that fails leaves what others have open as it is
    (tmp_path / "c/vectors.f16").unlink()
    with pytest.raises(CorruptFile):
        open_release(tmp_path / "a", tmp_path / "c", opened=old.segments)
    assert old.segments[0].database.first_pictures().tolist() == [0, 1, 2]
    old.close()


def test_as_many_folders_as_segments(tmp_path: Path):
    reference = SegmentRef(id="s", rows=1, products=1, bytes=1, info_sha256="0")
    with pytest.raises(ValueError, match="shorter"):
        Release(manifest_of([reference]), [])


def test_searching_near_a_stored_vector_finds_it(catalog: Catalog):
    product = catalog.alive["p450"]
    hits = catalog.release.search(queries_like(np.array(product.vectors), 1), 3, DEEP)[0][0]
    assert catalog.release.product_ids(hits)[0] == "p450"
