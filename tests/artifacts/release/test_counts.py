"""Counts and facets of a release: of products, over base and delta, without deleted rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.products.filters import Condition, Filter
from tests.artifacts.building import DIM, open_release, product_table, unit_vectors, write_delta, write_segment
from tests.artifacts.release.release_building import DEEP, Catalog

CATEGORIES = st.lists(st.sampled_from(["shoe", "bag", "hat", "car"]), max_size=3).map(tuple)
PRICES = st.none() | st.integers(-5, 55).map(float)
CONDITIONS = st.lists(
    st.builds(Condition, st.just("category"), CATEGORIES, CATEGORIES)
    | st.builds(Condition, st.just("price"), minimum=PRICES, maximum=PRICES)
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
        assert {count.value: count.count for count in facet} == values
        assert [count.count for count in facet] == sorted(values.values(), reverse=True)


def test_bands_and_quantiles_cover_base_and_delta(flat: Catalog):
    bands = {count.value: count.count for count in flat.release.facet("price", (), edges=[10.0, 30.0])}
    prices = [product.price for product in flat.products.values()]
    assert bands == Counter(sum(price >= edge for edge in (10.0, 30.0)) for price in prices)
    assert flat.release.quantiles("price", [0, 1]) == [0.0, 49.0]
    assert flat.release.quantiles("unknown", [0, 1]) == []


def test_facets_of_equal_counts_are_ordered_by_value(tmp_path: Path):
    table = product_table(["a", "b", "c", "d"], category=["z", "x", "y", "x"])
    write_segment(tmp_path / "s", unit_vectors(4), table)
    release = open_release(tmp_path / "s")
    assert [(count.value, count.count) for count in release.facet("category", ())] == [("x", 2), ("y", 1), ("z", 1)]
    release.close()


def test_facet_limit_applies_to_base_and_delta_together(tmp_path: Path):
    """The most frequent value of all is the most frequent of neither."""
    ids = [[f"p{number}{row}" for row in range(5)] for number in range(2)]
    write_segment(tmp_path / "0", unit_vectors(5), product_table(ids[0], category=["a", "a", "a", "b", "b"]))
    delta = product_table(ids[1], category=["c", "c", "c", "b", "b"])
    write_delta(tmp_path / "1", tmp_path / "0", unit_vectors(5), delta)
    release = open_release(tmp_path / "0", tmp_path / "1")
    assert [(count.value, count.count) for count in release.facet("category", (), limit=1)] == [("b", 4)]
    release.close()


def test_a_facet_of_an_unknown_column_is_empty(catalog: Catalog):
    assert catalog.release.facet("nope", ()) == []


def test_an_attribute_may_change_its_type(tmp_path: Path):
    """Sizes were numbers in the base, and are texts in the delta."""
    sizes = {"size": pa.string()}
    base = product_table(["a", "b", "z"], attributes={"size": pa.int64()}, size=[38, 40, 38])
    delta = product_table(["c", "d"], attributes=sizes, size=["38", "XL"])
    update = product_table(["z"], attributes=sizes, size=["XXL"])
    write_segment(tmp_path / "0", unit_vectors(3), base)
    write_delta(tmp_path / "1", tmp_path / "0", unit_vectors(2, seed=1), delta, updates=update)
    release = open_release(tmp_path / "0", tmp_path / "1")
    assert release.columns["size"] == pa.large_string()
    hits = release.search(np.eye(1, DIM), 9, DEEP, (Condition("size", any_of=("38",)),))[0][0]
    assert set(release.product_ids(hits)) == {"a", "c"}
    assert release.count((Condition("size", none_of=("38",)),)) == 3
    assert {count.value: count.count for count in release.facet("size", ())} == {"38": 2, "40": 1, "XL": 1, "XXL": 1}
    release.close()
