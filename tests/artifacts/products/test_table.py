"""Product rows in Arrow: read by number, in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from artifacts.products.table import ARROW_FILE, ProductTable
from tests.artifacts.building import product_table
from tests.artifacts.products.product_building import open_products


def test_rows_are_in_one_batch(table: ProductTable):
    assert table.table.column("title").num_chunks == 1


def test_opening_and_taking_copies_no_rows(tmp_path: Path):
    """Workers share rows in the page cache; with a large catalog, a copy for each would not fit in memory."""
    for product_file in open_products(tmp_path, product_table([f"p{number}" for number in range(50_000)])):
        product_file.close()
    before = pa.total_allocated_bytes()
    table = ProductTable(tmp_path / ARROW_FILE)
    rows = table.take([49_999], ["product_id", "price"])
    assert pa.total_allocated_bytes() - before < 10_000
    assert rows == [{"product_id": "p49999", "price": None}]
    table.close()


def test_take_keeps_the_order(table: ProductTable):
    rows = [5, 3, 5, 0]
    assert [row["product_id"] for row in table.take(rows)] == table.product_ids(np.array(rows))
    assert table.take([], ["price"]) == []
    assert list(table.take([1], ["price", "product_id"])[0]) == ["price", "product_id"]


def test_take_gives_no_value_for_columns_that_the_segment_lacks(table: ProductTable):
    assert [row["margin"] for row in table.take([0, 1], ["price", "margin"])] == [None, None]
    assert table.take([0, 1], ["margin"]) == [{"margin": None}] * 2


def test_to_results_puts_own_columns_in_attributes(table: ProductTable):
    results = table.to_results([3, 0])
    for result, row in zip(results, table.take([3, 0]), strict=True):
        assert set(result["attributes"]) == {"size", 'Ünï "x"'}
        attributes = result.pop("attributes")
        assert {**result, **attributes} == row
        assert result["title"].startswith("title ")
    assert table.to_results([]) == []


def test_arrays_leave_out_columns_that_the_segment_lacks(table: ProductTable):
    arrays = table.arrays([3, 0], ["price", "title", "margin"])
    rows = table.take([3, 0])
    assert arrays["price"].tolist() == [row["price"] for row in rows]
    assert arrays["title"].tolist() == [row["title"] for row in rows]
    assert list(arrays) == ["price", "title"]


def test_filterable_columns_leave_out_ids_and_texts(table: ProductTable):
    assert not {"product_id", "picture", "image_url", "title", "row", "first_picture"} & set(table.columns)
    assert table.columns["price"] == pa.float64()
    assert table.attributes == ["size", 'Ünï "x"']


@pytest.mark.parametrize("names", [["Color", "color"], ["first_picture"], ["ROW", "Product_ID"], ["Picture", "TITLE"]])
def test_attributes_keep_their_names(tmp_path: Path, names: list[str]):
    values = {name: [f"{name} {row}" for row in range(3)] for name in names}
    attributes = dict.fromkeys(names, pa.string())
    table, database = open_products(tmp_path, product_table(["a", "b", "c"], attributes=attributes, **values))
    assert table.take([1], names) == [{name: f"{name} 1" for name in names}]
    table.close()
    database.close()


def test_a_table_may_have_no_rows(tmp_path: Path):
    table, database = open_products(tmp_path, product_table([]))
    assert table.rows == 0
    assert table.take([]) == []
    table.close()
    database.close()
