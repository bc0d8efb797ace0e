"""Products of a release: located by id, and read by hit, from a base and its delta."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from artifacts.products.filters import Condition
from artifacts.release.hits import Hit, Picture
from artifacts.schema import TIMESTAMP
from tests.artifacts.building import open_release, product_table, unit_vectors, write_delta, write_segment
from tests.artifacts.release.release_building import DEEP, Catalog


def test_products_are_located_where_their_pictures_are(flat: Catalog):
    for product in (flat.products[f"p{number}"] for number in (1, 61, 120, 299, 300, 345, 399, 400, 500, 519)):
        rows = flat.release.locate(product.id)
        assert rows is not None
        assert len(rows) == len(product.vectors)
        assert set(rows >= flat.release.base.info.rows) == {product.in_delta}
        assert product.id in flat.release
        vectors = flat.release.product_vectors(product.id)
        assert vectors is not None
        assert (vectors == np.array(product.vectors, np.float32)).all()


def test_deleted_and_unknown_products_are_not_located(flat: Catalog):
    for product_id in ("p0", "p58", "p520", "unknown", "unknown to both", "", "\ud800", "\x00"):
        assert flat.release.locate(product_id) is None
        assert flat.release.product_vectors(product_id) is None
        assert flat.release.product(product_id) is None
        assert flat.release.picture(product_id, 0) is None
        assert product_id not in flat.release


def test_a_product_has_a_result_for_each_picture(flat: Catalog):
    product = flat.products["p450"]
    results = flat.release.product("p450")
    assert results is not None
    assert [result["picture"] for result in results] == list(range(len(product.vectors)))
    assert {result["price"] for result in results} == {product.price}


def test_a_picture_has_its_url_and_its_thumbnail(tmp_path: Path):
    table = product_table(["a", "a", "b"], pictures=[0, 2, 0])
    write_segment(tmp_path / "s", unit_vectors(3), table, thumbnails=[None, b"jpeg", None])
    release = open_release(tmp_path / "s")
    assert release.picture("a", 0) == Picture("a.jpg", None)
    assert release.picture("a", 2) == Picture("a.jpg", b"jpeg")
    assert release.picture("a", 1) is None
    release.close()


def test_matching_returns_hits_of_the_products_that_pass(flat: Catalog):
    ids = ["p450", "p61", "p0", "unknown"]
    assert flat.release.product_ids(flat.release.matching(ids, ())) == ["p450", "p61"]
    condition = Condition("price", minimum=flat.products["p61"].price, maximum=flat.products["p61"].price)
    passing = [product.id for product in flat.passing((condition,))]
    expected = [product_id for product_id in ids if product_id in passing]
    assert flat.release.product_ids(flat.release.matching(ids, (condition,))) == expected


def test_rows_of_hits_are_in_the_order_of_the_hits(catalog: Catalog):
    hits = catalog.release.search(unit_vectors(1, seed=94).astype(np.float32), 40, DEEP)[0][0]
    assert {hit.row >= catalog.release.base.info.rows for hit in hits} == {False, True}
    rows = catalog.release.values(hits)
    ids = catalog.release.product_ids(hits)
    assert [row["product_id"] for row in rows] == ids
    assert [row["price"] for row in rows] == [catalog.products[product_id].price for product_id in ids]
    results = catalog.release.to_results(hits)
    assert [(row["product_id"], row["picture"], row["price"]) for row in results] == [
        (row["product_id"], row["picture"], row["price"]) for row in rows
    ]
    arrays = catalog.release.arrays(hits, ["product_id", "price", "season", "margin"])
    assert arrays["product_id"].tolist() == ids
    assert arrays["price"].tolist() == [row["price"] for row in rows]
    assert arrays["season"].tolist() == [catalog.products[product_id].season for product_id in ids]
    assert np.isnan(arrays["margin"]).tolist() == [True] * len(hits)
    vectors = catalog.release.vectors(hits)
    for row, product_id, vector in zip(rows, ids, vectors, strict=True):
        assert (vector == catalog.products[product_id].vectors[row["picture"]]).all()
    assert catalog.release.values([]) == catalog.release.to_results([]) == catalog.release.product_ids([]) == []


def test_arrays_have_the_deltas_type(tmp_path: Path):
    """A ranker reads arrays of one type, whatever an attribute was before."""
    base = {"size": (pa.string(), ["40", "41"]), "worn": (pa.bool_(), [True, None]), "sold": (pa.int64(), [7, None])}
    delta = {"size": (pa.int64(), [42, None]), "worn": (pa.float64(), [0.5, 2]), "sold": (pa.int64(), [None, 2**40])}
    tables = [
        product_table(
            [f"p{number}{row}" for row in range(2)],
            attributes={name: dtype for name, (dtype, _) in attributes.items()},
            added_at=[datetime(2026, 11, number + 1, tzinfo=UTC), None],
            **{name: values for name, (_, values) in attributes.items()},
        )
        for number, attributes in enumerate((base, delta))
    ]
    write_segment(tmp_path / "0", unit_vectors(2), tables[0])
    write_delta(tmp_path / "1", tmp_path / "0", unit_vectors(2), tables[1])
    release = open_release(tmp_path / "0", tmp_path / "1")
    hits = [Hit(1.0, row) for row in (2, 1, 0, 3)]
    arrays = release.arrays(hits, ["size", "worn", "sold", "added_at", "brand"])
    np.testing.assert_array_equal(arrays["size"], [42, 41, 40, np.nan])
    np.testing.assert_array_equal(arrays["worn"], [0.5, np.nan, 1, 2])
    np.testing.assert_array_equal(arrays["sold"], [np.nan, np.nan, 7, 2**40])
    days = np.array(["2026-11-02", "NaT", "2026-11-01", "NaT"], "datetime64[us]")
    np.testing.assert_array_equal(arrays["added_at"], days)
    assert arrays["brand"].tolist() == [None] * 4
    assert [row["added_at"] for row in release.values(hits)] == [
        datetime(2026, 11, 2, tzinfo=UTC), None, datetime(2026, 11, 1, tzinfo=UTC), None
    ]  # fmt: skip
    release.close()


def test_an_attribute_has_one_type_in_all_answers(tmp_path: Path):
    """It was of another type when the base was written."""
    before = {
        "size": (pa.int64(), [42, None, -7]),
        "weight": (pa.float64(), [1.0, 0.1, 1e20]),
        "worn": (pa.bool_(), [True, False, None]),
        "made": (TIMESTAMP, [datetime(2026, 3, 1, 12, tzinfo=UTC), None, datetime(2026, 3, 2, tzinfo=UTC)]),
        "sold": (pa.int64(), [1, 2, 3]),
    }
    now = {name: (pa.string(), ["XL", None]) for name in before} | {"sold": (pa.float64(), [0.5, None])}
    tables = [
        product_table(
            [f"{number}{row}" for row in range(len(attributes["size"][1]))],
            attributes={name: dtype for name, (dtype, _) in attributes.items()},
            **{name: values for name, (_, values) in attributes.items()},
        )
        for number, attributes in enumerate((before, now))
    ]
    write_segment(tmp_path / "0", unit_vectors(3), tables[0])
    write_delta(tmp_path / "1", tmp_path / "0", unit_vectors(2), tables[1], updates=tables[0].slice(2, 1))
    release = open_release(tmp_path / "0", tmp_path / "1")
    hits = [Hit(1.0, row) for row in (3, 0, 1, 2, 4)]
    expected = {
        "size": ["XL", "42", None, "-7", None],
        "weight": ["XL", "1.0", "0.1", "1e+20", None],
        "worn": ["XL", "true", "false", None, None],
        "made": ["XL", "2026-03-01 12:00:00+00", None, "2026-03-02 00:00:00+00", None],
        "sold": [0.5, 1.0, 2.0, 3.0, None],
    }
    results = release.to_results(hits)
    arrays = release.arrays(hits, expected)
    for name, values in expected.items():
        assert [row[name] for row in release.values(hits)] == values
        assert [result["attributes"][name] for result in results] == values
        assert {count.value for count in release.facet(name, ())} == set(values) - {None}
        for value in set(values) - {None}:
            assert release.count((Condition(name, any_of=(value,)),)) == 1
        if name != "sold":
            assert arrays[name].tolist() == values
    np.testing.assert_array_equal(arrays["sold"], [0.5, 1, 2, 3, np.nan])
    assert {type(result["attributes"]["sold"]) for result in results[:-1]} == {float}
    assert release.values([], list(expected)) == []
    assert release.arrays([], ["size"])["size"].tolist() == []
    release.close()


def test_pictures_count_the_rows_that_can_be_found(catalog: Catalog):
    assert catalog.release.pictures == sum(len(product.vectors) for product in catalog.products.values())


def test_columns_are_those_of_base_and_delta(catalog: Catalog):
    assert {"category", "price", "season"} <= set(catalog.release.columns)
    assert catalog.release.attributes == ["season"]


def test_updated_products_show_their_new_attributes(flat: Catalog):
    """Their pictures stay those of the base."""
    product = flat.products["p120"]
    results = flat.release.product("p120")
    assert results is not None
    assert len(results) == len(product.vectors)
    assert {(result["price"], result["category"], result["attributes"]["season"]) for result in results} == {
        (product.price, product.category, product.season)
    }
    assert {result["attributes"]["season"] for result in flat.release.product("p160") or ()} == {None}


def test_a_thumbnail_is_that_of_the_segment(tmp_path: Path):
    write_segment(tmp_path / "0", unit_vectors(2), product_table(["a", "b"]), thumbnails=[b"a", b"b"])
    new = product_table(["b", "c"])
    write_delta(tmp_path / "1", tmp_path / "0", unit_vectors(2), new, thumbnails=[b"new b", None])
    release = open_release(tmp_path / "0", tmp_path / "1")
    assert [release.picture(product_id, 0) for product_id in "abc"] == [
        Picture("a.jpg", b"a"), Picture("b.jpg", b"new b"), Picture("c.jpg", None)
    ]  # fmt: skip
    release.close()
