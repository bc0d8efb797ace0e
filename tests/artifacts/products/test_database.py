"""Product rows in DuckDB: found by id and counted; SQL can do nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from artifacts.products.connection import connect
from artifacts.products.database import DUCKDB_FILE, FacetCount, ProductDatabase
from artifacts.products.filters import Condition
from artifacts.products.table import ProductTable
from tests.artifacts.building import product_table
from tests.artifacts.products.product_building import open_products

# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_are_numbered_as_in_the_table(table: ProductTable, database: ProductDatabase):
    sizes = table.table.column("size").to_numpy()
    for low in range(0, 2000, 190):
        rows = database.matching_rows((Condition("size", minimum=low, maximum=low + 5),))
        assert rows.tolist() == np.flatnonzero((sizes >= low) & (sizes <= low + 5)).tolist()


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 2000])
def test_rows_of_products_are_those_of_all_their_pictures(table: ProductTable, database: ProductDatabase, count: int):
    requested = [f"p{number}" for number in range(count)]
    ids = table.table.column("product_id").to_pylist()
    expected = [row for row, product_id in enumerate(ids) if product_id in set(requested)]
    assert database.base_rows_of([*requested, "unknown", requested[0]]).tolist() == expected


@pytest.mark.parametrize("unknown", ["", "x", "P1", "p1 ", "'", "\x00", "p1\x00", "\ud800", "p" * 100_000])
def test_unknown_products_have_no_rows(database: ProductDatabase, unknown: str):
    assert database.base_rows_of([unknown]).tolist() == []
    assert database.base_rows_of([unknown, "p5"]).tolist() == database.base_rows_of(["p5"]).tolist()
    assert database.base_rows_of([unknown] + [f"p{number}" for number in range(150)]).size


def test_rows_of_no_products_are_none(database: ProductDatabase):
    assert database.base_rows_of([]).tolist() == []


def test_first_pictures_are_one_row_of_each_product(table: ProductTable, database: ProductDatabase):
    rows = database.first_pictures()
    ids = table.product_ids(rows)
    assert len(ids) == len(set(ids)) == 2000
    assert {row["picture"] for row in table.take(rows, ["picture"])} == {0}


def test_first_pictures_need_not_be_number_zero(tmp_path: Path):
    """Picture 0 may have failed."""
    _, database = open_products(tmp_path, product_table(["a", "a", "b"], pictures=[2, 4, 1]))
    assert database.first_pictures().tolist() == [0, 2]


# ── counts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_facet_counts_products(database: ProductDatabase):
    counts = Counter(f"c{number % 7}" for number in range(2000) if number % 11 and number >= 300)
    facet = database.facet("category", (Condition("size", minimum=300),))
    assert facet == [FacetCount(*item) for item in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def test_facet_limit_keeps_the_most_frequent(database: ProductDatabase):
    assert database.facet("category", (), limit=2) == database.facet("category", ())[:2]


def test_facet_of_a_name_that_sql_would_misread(database: ProductDatabase):
    assert database.facet('Ünï "x"', ()) == [FacetCount("a", 1000), FacetCount("b", 1000)]
    assert database.matching_rows((Condition('Ünï "x"', any_of=("a",)), Condition("size", maximum=3))).size == 2 + 1


def test_bands_count_from_edge_to_edge(database: ProductDatabase):
    edges = [10.0, 50.0, 50.1, 1e9]
    counts = {facet.value: facet.count for facet in database.bands("price", edges, ())}
    prices = [number / 10 for number in range(2000)]
    assert counts == Counter(sum(price >= edge for edge in edges) for price in prices)
    filtered = database.bands("size", [100.0], (Condition("price", below=20.0),))
    assert sorted((facet.value, facet.count) for facet in filtered) == [(0, 100), (1, 100)]
    assert database.bands("nothing", edges, ()) == []


def test_bands_leave_out_products_without_a_value(database: ProductDatabase):
    assert sum(facet.count for facet in database.bands("popularity_score", [0.5], ())) == 0


def test_quantiles_are_of_products_not_of_pictures(database: ProductDatabase):
    assert database.quantiles("price", [0, 0.5, 1]) == [0.0, 99.9, 199.9]
    assert database.quantiles("popularity_score", [0.5]) == []


def test_a_column_that_the_segment_lacks_has_no_values(table: ProductTable, database: ProductDatabase):
    none_of, any_of = Condition("new", none_of=("x",)), Condition("new", any_of=("x",))
    assert database.matching_rows((none_of,)).tolist() == list(range(table.rows))
    assert (
        database.matching_rows((none_of, Condition("size", maximum=0))).tolist()
        == database.base_rows_of(["p0"]).tolist()
    )
    for condition in (any_of, Condition("new", minimum=0), Condition("new", maximum=0)):
        assert database.matching_rows((condition,)).tolist() == []
        assert database.facet("category", (condition,)) == []
    assert database.facet("category", (none_of,)) == database.facet("category", ())
    assert database.facet("new", ()) == []


@pytest.mark.parametrize(
    "names",
    [["Color", "color"], ["first_picture"], ["Row"], ["ROW", "Product_ID"], ["Category"], ["attribute_0"],
     ["attribute_13", "x"], ["a b;--", 'c"d'], ["rowid"], ["Picture", "TITLE"]],
)  # fmt: skip
def test_attributes_may_have_any_name(tmp_path: Path, names: list[str]):
    """SQL does not distinguish Color from color, and has names of its own; a catalog names its columns freely."""
    values = {name: [f"{name} {row}" for row in range(3)] for name in names}
    attributes = dict.fromkeys(names, pa.string())
    rows = product_table(["a", "b", "c"], attributes=attributes, category=["x"] * 3, **values)
    _, database = open_products(tmp_path, rows)
    for name in names:
        assert database.matching_rows((Condition(name, any_of=(f"{name} 1",)),)).tolist() == [1]
        assert [facet.value for facet in database.facet(name, ())] == sorted(values[name])
    assert database.matching_rows((Condition("category", any_of=("x",)),)).tolist() == [0, 1, 2]
    assert database.base_rows_of(["b"]).tolist() == [1]


def test_a_database_may_have_no_rows(tmp_path: Path):
    _, database = open_products(tmp_path, product_table([]))
    assert database.matching_rows(()).tolist() == []
    assert database.facet("category", ()) == []
    assert database.first_pictures().tolist() == []


# ── sharing and safety ───────────────────────────────────────────────────────────────────────────────────────────────


def test_threads_get_the_same_answers_as_one(table: ProductTable, database: ProductDatabase):
    def read(number: int) -> Any:
        conditions = (Condition("size", minimum=number * 50),)
        return (
            database.matching_rows(conditions).tolist(),
            database.facet("category", conditions),
            table.take([number, 0]),
        )

    alone = [read(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, [*range(8)] * 5)) == alone * 5


def test_a_database_can_be_opened_twice(tmp_path: Path):
    """A new release is opened beside the old one, and may have the same segments."""
    table, old = open_products(tmp_path, product_table(["a", "b"]))
    new = ProductDatabase(tmp_path, table.table.schema)
    old.close()
    assert new.base_rows_of(["b"]).tolist() == [1]
    new.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM read_text('{file}')",
        "SELECT * FROM glob('/*')",
        "ATTACH '{folder}/other.duckdb'",
        "COPY base.products TO '{folder}/out.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE TABLE base.other (a INT)",
        "INSERT INTO base.products SELECT * FROM base.products",
        "UPDATE base.products SET price = 0",
        "DELETE FROM base.products",
        "DROP TABLE base.products",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET threads = 8",
        "SET allowed_directories = ['/']",
        "PRAGMA database_list; COPY base.products TO '{folder}/out.csv'",
    ],
)
def test_sql_can_only_read_the_database(
    catalog_folder: Path, database: ProductDatabase, tmp_path: Path, statement: str
):
    (tmp_path / "x.csv").write_text("a\n1\n")
    before = sorted(tmp_path.iterdir())
    with connect({"base": catalog_folder / DUCKDB_FILE}) as connection, pytest.raises(duckdb.Error):
        connection.execute(statement.format(file=tmp_path / "x.csv", folder=tmp_path)).fetchall()
    assert sorted(tmp_path.iterdir()) == before
    assert database.base_rows_of(["p5"]).size == 3


def test_times_do_not_depend_on_the_machines_time_zone(tmp_path: Path):
    table = product_table(["a"], added_at=[datetime(2026, 3, 1, 12, tzinfo=UTC)])
    for products in open_products(tmp_path, table):
        products.close()
    script = """if True:
        import sys
        from pathlib import Path
        import pyarrow as pa
        from artifacts.products.database import ProductDatabase
        from artifacts.products.table import ARROW_FILE, ProductTable

        folder = Path(sys.argv[1])
        schema = ProductTable(folder / ARROW_FILE).schema
        as_text = schema.set(schema.get_field_index("added_at"), pa.field("added_at", pa.large_string()))
        rows = ProductTable(folder / ARROW_FILE).with_types_of(as_text).take([0], ["added_at"])
        database = ProductDatabase(folder, schema)
        counts = [*database.facet("added_at", ()), *database.facet("added_at", (), dtype=pa.large_string())]
        print(rows[0]["added_at"], *(count.value for count in counts), sep="\\n")
    """
    outcome = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "TZ": "America/New_York"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert outcome.stdout.splitlines() == [
        "2026-03-01 12:00:00+00", "2026-03-01 12:00:00+00:00", "2026-03-01 12:00:00+00"
    ]  # fmt: skip
