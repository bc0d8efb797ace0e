"""Product rows: to show from Arrow, to filter and count from DuckDB, which can do nothing else."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from artifacts.products.filters import Condition
from artifacts.products.table import FacetCount, Products
from artifacts.products.writer import write_products
from tests.artifacts.building import product_table


def opened(folder: Path, table: pa.Table) -> Products:
    folder.mkdir(parents=True, exist_ok=True)
    write_products(table, folder)
    return Products(folder)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Products:
    """Product n has n % 3 + 1 pictures; ids come in no order."""
    rng = np.random.default_rng(1)
    ids = [f"p{number}" for number in rng.permutation(2000) for _ in range(number % 3 + 1)]
    pictures = [place - ids.index(each) for place, each in enumerate(ids)]
    numbers = [int(each[1:]) for each in ids]
    table = product_table(
        ids,
        pictures=pictures,
        attributes={"size": pa.int64(), 'Ünï "x"': pa.string()},
        price=[number / 10 for number in numbers],
        category=[f"c{number % 7}" if number % 11 else None for number in numbers],
        title=[f"title {number}" for number in numbers],
        size=numbers,
        **{'Ünï "x"': ["a" if number % 2 else "b" for number in numbers]},
    )
    return opened(tmp_path_factory.mktemp("p"), table)


def test_rows_are_the_same_in_both_files(products: Products):
    sizes = products.table.column("size").to_numpy()
    for low in range(0, 2000, 190):
        rows = products.matching_rows((Condition("size", minimum=low, maximum=low + 5),))
        assert rows.tolist() == np.flatnonzero((sizes >= low) & (sizes <= low + 5)).tolist()


def test_one_batch(products: Products):
    assert products.table.column("title").num_chunks == 1


def test_opened_the_rows_stay_where_they_are_mapped(tmp_path: Path):
    """Workers share them in the page cache; a copy each would not fit for a large catalog."""
    opened(tmp_path, product_table([f"p{number}" for number in range(50_000)])).close()
    before = pa.total_allocated_bytes()
    products = Products(tmp_path)
    taken = products.take([49_999], ["product_id", "price"])
    assert pa.total_allocated_bytes() - before < 10_000
    assert taken == [{"product_id": "p49999", "price": None}]
    products.close()


def test_take_keeps_the_order(products: Products):
    rows = [5, 3, 5, 0]
    taken = products.take(rows)
    assert [each["product_id"] for each in taken] == products.product_ids(np.array(rows))
    assert products.take([], ["price"]) == []
    assert list(products.take([1], ["price", "product_id"])[0]) == ["price", "product_id"]


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 2000])
def test_rows_of_products(products: Products, count: int):
    wanted = [f"p{number}" for number in range(count)]
    ids = products.table.column("product_id").to_pylist()
    want = [row for row, each in enumerate(ids) if each in set(wanted)]
    assert products.rows_of([*wanted, "unknown", wanted[0]]).tolist() == want


@pytest.mark.parametrize("unknown", ["", "x", "P1", "p1 ", "'", "\x00", "p1\x00", "\ud800", "p" * 100_000])
def test_unknown_products_have_no_rows(products: Products, unknown: str):
    assert products.rows_of([unknown]).tolist() == []
    assert products.rows_of([unknown, "p5"]).tolist() == products.rows_of(["p5"]).tolist()
    assert products.rows_of([unknown] + [f"p{number}" for number in range(150)]).size


def test_no_products_asked_for(products: Products):
    assert products.rows_of([]).tolist() == []


def test_one_row_of_each_product(products: Products):
    first = products.first_pictures()
    ids = products.product_ids(first)
    assert len(ids) == len(set(ids)) == 2000
    assert {each["picture"] for each in products.take(first, ["picture"])} == {0}


def test_the_first_picture_need_not_be_number_zero(tmp_path: Path):
    """Picture 0 may have failed."""
    products = opened(tmp_path, product_table(["a", "a", "b"], pictures=[2, 4, 1]))
    assert products.first_pictures().tolist() == [0, 2]


def test_facet_counts_products(products: Products):
    numbers = range(2000)
    counts = Counter(f"c{number % 7}" for number in numbers if number % 11 and number >= 300)
    facet = products.facet("category", (Condition("size", minimum=300),))
    assert facet == [FacetCount(*item) for item in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def test_facet_leaves_rows_out(products: Products):
    dead = products.rows_of([f"p{number}" for number in range(0, 2000, 2)])
    counts = {each.value: each.count for each in products.facet("category", (), dead)}
    assert counts == Counter(f"c{number % 7}" for number in range(1, 2000, 2) if number % 11)


def test_facet_of_an_odd_name(products: Products):
    assert products.facet('Ünï "x"', ()) == [FacetCount("a", 1000), FacetCount("b", 1000)]
    assert products.matching_rows((Condition('Ünï "x"', any_of=("a",)), Condition("size", maximum=3))).size == 2 + 1


def test_bands_count_from_edge_to_edge(products: Products):
    edges = [10.0, 50.0, 50.1, 1e9]
    counts = {each.value: each.count for each in products.bands("price", edges, ())}
    prices = [number / 10 for number in range(2000)]
    want = Counter(sum(price >= edge for edge in edges) for price in prices)
    assert counts == want
    some = products.bands("size", [100.0], (Condition("price", below=20.0),), np.array([], np.int64))
    assert sorted((each.value, each.count) for each in some) == [(0, 100), (1, 100)]
    assert products.bands("nothing", edges, ()) == []


def test_bands_leave_out_products_without_a_value(products: Products):
    assert sum(each.count for each in products.bands("popularity_score", [0.5], ())) == 0


def test_quantiles_are_of_products_not_of_pictures(products: Products):
    assert products.quantiles("price", [0, 0.5, 1]) == [0.0, 99.9, 199.9]
    assert products.quantiles("popularity_score", [0.5]) == []


def test_taking_a_column_that_is_not_here(products: Products):
    taken = products.take([0, 1], ["price", "margin"])
    assert [each["margin"] for each in taken] == [None, None]
    assert products.take([0, 1], ["margin"]) == [{"margin": None}] * 2


def test_columns_that_can_be_filtered_on(products: Products):
    assert not {"product_id", "picture", "image_url", "title", "row", "first_picture"} & set(products.columns)
    assert products.columns["price"] == pa.float64()
    assert products.attributes == ["size", 'Ünï "x"']


@pytest.mark.parametrize(
    "names",
    [["Color", "color"], ["first_picture"], ["Row"], ["ROW", "Product_ID"], ["Category"], ["attribute_0"],
     ["attribute_13", "x"], ["a b;--", 'c"d'], ["rowid"], ["Picture", "TITLE"]],
)  # fmt: skip
def test_attributes_of_any_name(tmp_path: Path, names: list[str]):
    """SQL does not tell Color from color, and has names of its own; a catalog may call its columns what it likes."""
    values = {name: [f"{name} {row}" for row in range(3)] for name in names}
    attributes = dict.fromkeys(names, pa.string())
    products = opened(tmp_path, product_table(["a", "b", "c"], attributes=attributes, category=["x"] * 3, **values))
    for name in names:
        assert products.matching_rows((Condition(name, any_of=(f"{name} 1",)),)).tolist() == [1]
        assert [each.value for each in products.facet(name, ())] == sorted(values[name])
    assert products.matching_rows((Condition("category", any_of=("x",)),)).tolist() == [0, 1, 2]
    assert products.rows_of(["b"]).tolist() == [1]
    assert products.take([1], names) == [{name: f"{name} 1" for name in names}]


def test_a_column_that_is_not_here_has_no_values(products: Products):
    none_of, any_of = Condition("new", none_of=("x",)), Condition("new", any_of=("x",))
    assert products.matching_rows((none_of,)).tolist() == list(range(products.rows))
    assert products.matching_rows((none_of, Condition("size", maximum=0))).tolist() == products.rows_of(["p0"]).tolist()
    for condition in (any_of, Condition("new", minimum=0), Condition("new", maximum=0)):
        assert products.matching_rows((condition,)).tolist() == []
        assert products.facet("category", (condition,)) == []
    assert products.facet("category", (none_of,)) == products.facet("category", ())
    assert products.facet("new", ()) == []


@pytest.mark.parametrize(
    ("stored", "kind", "asked", "want"),
    [
        (["5", "x", None, "7"], pa.string(), 5, [0]),
        (["5", "x", None, "7.0"], pa.string(), 7.0, [3]),
        ([5, 6, None, 7], pa.int64(), "6", [1]),
        ([5, 6, None, 7], pa.int64(), 7.0, [3]),
        ([5.0, 6.5, None, 7.0], pa.float64(), 7, [3]),
        (["true", "x", None, "false"], pa.string(), False, [3]),
    ],
)
def test_values_of_another_type_are_compared_as_what_is_asked(
    tmp_path: Path, stored: list[Any], kind: pa.DataType, asked: Any, want: list[int]
):
    """Of two segments the newer may have another type; filters have that one."""
    products = opened(tmp_path, product_table(list("abcd"), attributes={"x": kind}, x=stored))
    assert products.matching_rows((Condition("x", any_of=(asked,)),)).tolist() == want
    assert products.matching_rows((Condition("x", minimum=asked, maximum=asked),)).tolist() == want
    assert 2 in products.matching_rows((Condition("x", none_of=(asked,)),))


def test_no_rows(tmp_path: Path):
    products = opened(tmp_path, product_table([]))
    assert products.rows == 0
    assert products.matching_rows(()).tolist() == []
    assert products.facet("category", ()) == []
    assert products.take([]) == []
    assert products.first_pictures().tolist() == []


def test_shown_splits_known_columns_from_own(products: Products):
    rows = products.to_results([3, 0])
    for row, whole in zip(rows, products.take([3, 0]), strict=True):
        assert set(row["attributes"]) == {"size", 'Ünï "x"'}
        attributes = row.pop("attributes")
        assert {**row, **attributes} == whole
        assert row["title"].startswith("title ")
    assert products.to_results([]) == []


def test_threads_share_one(products: Products):
    def ask(number: int) -> Any:
        conditions = (Condition("size", minimum=number * 50),)
        return (
            products.matching_rows(conditions).tolist(),
            products.facet("category", conditions, products.rows_of([f"p{number}"])),
            products.take([number, 0]),
        )

    alone = [ask(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, [*range(8)] * 5)) == alone * 5


def test_opened_twice(tmp_path: Path):
    """A new release is opened beside the old one, and shares segments with it."""
    old = opened(tmp_path, product_table(["a", "b"]))
    new = Products(tmp_path)
    old.close()
    assert new.rows_of(["b"]).tolist() == [1]
    new.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM glob('/*')",
        "ATTACH '{folder}/other.duckdb'",
        "COPY products TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE TABLE other (a INT)",
        "INSERT INTO products SELECT * FROM products",
        "UPDATE products SET price = 0",
        "DELETE FROM products",
        "DROP TABLE products",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET threads = 8",
        "SET allowed_directories = ['/']",
        "PRAGMA database_list; COPY products TO '{folder}/out.csv'",
    ],
)
def test_sql_reaches_nothing_else(products: Products, tmp_path: Path, statement: str):
    (tmp_path / "x.csv").write_text("a\n1\n")
    before = sorted(tmp_path.iterdir())
    with products._connection.cursor() as cursor, pytest.raises(duckdb.Error):
        cursor.execute(statement.format(file=tmp_path / "x.csv", folder=tmp_path)).fetchall()
    assert sorted(tmp_path.iterdir()) == before
    assert products.rows_of(["p5"]).size == 3
