"""Sources of a catalog other than text files: Parquet, databases, folders of pictures, and sources that are refused."""

from __future__ import annotations

# ruff: noqa: S608 — the queries under test
import datetime as dt
import decimal
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.errors import CatalogError
from artifacts.storage import Folder
from tests.jobs.catalog.validating import assert_refused, validate, write_part

# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_parquet_attributes_keep_the_nearest_type(tmp_path: Path) -> None:
    time = dt.datetime(2025, 1, 31, 12, tzinfo=dt.UTC)
    columns: dict[str, tuple[pa.DataType, list[Any], str, list[Any]]] = {
        "small": (pa.int8(), [1, None], "int64", [1, None]),
        "unsigned": (pa.uint64(), [1, 2], "int64", [1, 2]),
        "huge": (pa.uint64(), [2**64 - 1, 1], "string", [str(2**64 - 1), "1"]),
        "single": (pa.float32(), [0.1, None], "double", [0.1, None]),
        "real": (pa.float64(), [float("nan"), 2.5], "double", [None, 2.5]),
        "money": (pa.decimal128(10, 2), [decimal.Decimal("12.50"), None], "double", [12.5, None]),
        "flag": (pa.bool_(), [True, None], "bool", [True, None]),
        "day": (pa.date32(), [dt.date(2025, 1, 31), None], "timestamp[us, tz=UTC]",
                [dt.datetime(2025, 1, 31, tzinfo=dt.UTC), None]),
        "naive": (pa.timestamp("ns"), [time.replace(tzinfo=None), None], "timestamp[us, tz=UTC]", [time, None]),
        "aware": (pa.timestamp("ms", "Europe/Berlin"), [time, None], "timestamp[us, tz=UTC]", [time, None]),
        "digits": (pa.string(), ["1", "2"], "string", ["1", "2"]),
        "colour": (pa.dictionary(pa.int8(), pa.string()), ["red", " "], "string", ["red", None]),
        "tags": (pa.list_(pa.string()), [["a", "b"], None], "string", ['["a","b"]', None]),
        "size": (pa.struct([("w", pa.int32())]), [{"w": 1}, None], "string", ['{"w":1}', None]),
        "raw": (pa.binary(), [b"ab", None], "string", ["ab", None]),
        "clock": (pa.time64("us"), [dt.time(12, 30), None], "string", ["12:30:00", None]),
        "nothing": (pa.null(), [None, None], "string", [None, None]),
    }  # fmt: skip
    table = pa.table(
        {
            "Product_ID": pa.array([7, 8]),
            "image_url": pa.array([["b.jpg", "a.jpg", "b.jpg", None], ["c.jpg"]]),
            "price": pa.array([decimal.Decimal("9.90"), None], pa.decimal128(10, 2)),
            "avg_rating": pa.array([4.5, 5], pa.float32()),
            "is_active": pa.array([True, None]),
            "added_at": pa.array([time, None], pa.timestamp("ns", "America/New_York")),
            **{name: pa.array(values, dtype) for name, (dtype, values, _, _) in columns.items()},
        }
    )
    pq.write_table(table, tmp_path / "shop.parquet")
    report, products, _ = validate(tmp_path / "shop.parquet", tmp_path)
    assert report.attributes == {name: dtype for name, (_, _, dtype, _) in columns.items()}
    for name, (_, _, _, values) in columns.items():
        assert [products["7"][name], products["8"][name]] == values, name
    assert products["7"]["image_url"] == ["b.jpg", "a.jpg"]
    assert (products["7"]["price"], products["7"]["avg_rating"], products["7"]["added_at"]) == (9.9, 4.5, time)
    assert report.base == str(tmp_path)


def test_parquet_values_out_of_range_are_rejected(tmp_path: Path) -> None:
    prices = pa.array([float("nan"), float("inf"), -1.0, 0.0])
    pq.write_table(
        pa.table({"product_id": list("abcd"), "image_url": ["u"] * 4, "price": prices}), tmp_path / "shop.parquet"
    )
    _, products, details = validate(tmp_path / "shop.parquet", tmp_path)
    assert list(products) == ["d"]
    assert details == ["price: nan is not a number", "price: inf is not a number", "price: -1.0 is below 0"]


def test_parquet_parts_are_one_table_in_the_order_of_their_paths(tmp_path: Path) -> None:
    folder = tmp_path / "we[i]rd'd*r"
    write_part(folder / "part-1.parquet", ["a", "b"], colour=["red", "blue"])
    write_part(folder / "part-2.parquet", ["b", "c"], weight=[1, 2])
    write_part(folder / "nested/part-0.parquet", ["d"], weight=[1.5])
    write_part(folder / "_temporary/part-9.parquet", ["x"])
    (folder / "_SUCCESS").touch()
    report, products, details = validate(folder, tmp_path)
    assert list(products) == ["a", "b", "c", "d"]
    assert report.attributes == {"weight": "double", "colour": "string"}
    assert (products["b"]["colour"], products["c"]["weight"], products["d"]["weight"]) == ("blue", 2.0, 1.5)
    assert details == ["part-2.parquet, row 1: product_id: b is already in part-1.parquet, row 2"]
    assert report.base == str(folder)
    assert validate(folder, tmp_path)[0].skipped


def test_glob_selects_parquet_parts(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_part(tmp_path / f"parts/part-{number}.parquet", [f"p{number}"])
    report, products, _ = validate(tmp_path / "parts/part-[12].parquet", tmp_path)
    assert list(products) == ["p1", "p2"]
    assert report.base == str(tmp_path / "parts")
    assert_refused(tmp_path / "parts/none-*.parquet", tmp_path / "other", "no catalog file matches")


def test_partition_folders_are_text_columns(tmp_path: Path) -> None:
    write_part(tmp_path / "parts/size=007/p.parquet", ["a"])
    write_part(tmp_path / "parts/size=42/p.parquet", ["b"])
    report, products, _ = validate(tmp_path / "parts", tmp_path)
    assert report.attributes == {"size": "string"}
    assert [products[name]["size"] for name in "ab"] == ["007", "42"]


def test_parquet_rows_are_numbered_in_file_order(tmp_path: Path) -> None:
    ids = [f"p{number}" for number in range(30_000)]
    pq.write_table(
        pa.table({"product_id": ids + ids[-1:], "image_url": ["u"] * 30_001}),
        tmp_path / "shop.parquet",
        row_group_size=1000,
    )
    assert validate(tmp_path / "shop.parquet", tmp_path)[2] == ["product_id: p29999 is already in row 30000"]


def test_unusable_parquet_raises_a_catalog_error(tmp_path: Path) -> None:
    write_part(tmp_path / "drift/1.parquet", ["a"], weight=[1])
    write_part(tmp_path / "drift/2.parquet", ["b"], weight=[{"x": 1}])
    assert_refused(tmp_path / "drift", tmp_path, "cannot be read as one table")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    assert_refused(tmp_path / "broken.parquet", tmp_path, "broken.parquet is not a Parquet file")
    write_part(tmp_path / "twice.parquet", ["a"], Size=[1], size=[2])
    assert_refused(tmp_path / "twice.parquet", tmp_path, "'Size' and 'size' have the same name")
    pq.write_table(pa.table({"product_id": ["a"], "picture": ["u"]}), tmp_path / "other.parquet")
    assert_refused(tmp_path / "other.parquet", tmp_path, "'picture' is reserved")
    pq.write_table(pa.table({"product_id": pa.array([], pa.string()), "image_url": []}), tmp_path / "empty.parquet")
    assert_refused(tmp_path / "empty.parquet", tmp_path, "empty.parquet: the catalog has columns but no rows")


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shop(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "shop.db") as db:
        db.execute(
            "CREATE TABLE products (product_id TEXT PRIMARY KEY, image_url TEXT, price NUMERIC, active BOOLEAN, "
            "stock INTEGER, weight, sold TIMESTAMP, code TEXT, mixed, blob)"
        )
        rows = [
            ("b", '["x.jpg","y.jpg"]', 12.5, 1, 3, 1, "2025-01-31 12:00:00.000000", "007", 1, b"\xff"),
            ("a", "a.jpg", -1, 0, None, 2.5, None, None, "x", None),
            ("c", "c.jpg", None, None, 2**62, None, None, "8:15", None, None),
        ]
        db.executemany("INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    db.close()
    return f"sqlite:///{tmp_path}/shop.db"


def test_database_table_is_read_with_its_types(shop: str, tmp_path: Path) -> None:
    report, products, details = validate(f"{shop}#products", tmp_path)
    assert (report.base, report.source, report.input_rows) == (None, f"{shop}#products", 3)
    assert details == ["price: -1.0000000000 is below 0"]
    assert report.attributes == {
        "active": "bool", "stock": "int64", "weight": "double", "sold": "timestamp[us, tz=UTC]", "code": "string",
        "mixed": "string", "blob": "string",
    }  # fmt: skip
    assert products["b"]["image_url"] == ["x.jpg", "y.jpg"]
    assert products["b"]["sold"] == dt.datetime(2025, 1, 31, 12, tzinfo=dt.UTC)
    assert [products["b"][name] for name in ("active", "stock", "weight", "code")] == [True, 3, 1, "007"]
    assert (products["c"]["stock"], products["b"]["mixed"], products["b"]["blob"]) == (2**62, "1", "\\xff")


def test_query_is_read_every_time_and_skipped_if_its_rows_are_unchanged(shop: str, tmp_path: Path) -> None:
    query = f"{shop}#SELECT product_id, image_url, '10:30 100%' AS note FROM products WHERE product_id <> ':x' ;"
    report, products, _ = validate(query, tmp_path)
    assert (report.ok, products["a"]["note"], report.skipped) == (3, "10:30 100%", False)
    assert validate(query, tmp_path)[0].skipped
    with sqlite3.connect(shop.removeprefix("sqlite:///")) as db:
        db.execute("UPDATE products SET image_url = 'new.jpg' WHERE product_id = 'a'")
    db.close()
    report, products, _ = validate(query, tmp_path)
    assert (report.skipped, products["a"]["image_url"]) == (False, ["new.jpg"])


def test_query_of_more_rows_than_a_batch_is_read_whole(shop: str, tmp_path: Path) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)"
    report, _, _ = validate(f"{shop}#{numbers} SELECT 'p' || i AS product_id, 'u' AS image_url FROM n", tmp_path)
    assert report.ok == 25_000


def test_unusable_databases_raise_a_catalog_error(shop: str, tmp_path: Path) -> None:
    assert_refused(shop, tmp_path, "add #table or #SELECT")
    assert_refused(f"{shop}#nothing", tmp_path, "there is no table 'nothing'")
    assert_refused(f"{shop}#SELECT colour FROM products", tmp_path, "the database reports: no such column")
    assert_refused(f"{shop}#DELETE FROM products", tmp_path, "must be a SELECT")
    assert_refused(f"{shop}#SELECT product_id FROM products", tmp_path, "no column 'image_url'")
    assert_refused(f"{shop}#SELECT product_id, image_url, image_url FROM products", tmp_path, "same name")
    assert_refused(f"sqlite:///{tmp_path}/missing.db#products", tmp_path, "there is no SQLite file")
    assert not (tmp_path / "missing.db").exists()
    assert_refused("nosuchthing://host/db#t", tmp_path, "nosuchthing:// is not a supported URL")
    with sqlite3.connect(shop.removeprefix("sqlite:///")) as db:
        assert db.execute("SELECT count(*) FROM products").fetchone() == (3,)
    db.close()


def test_password_is_never_in_an_error_message(tmp_path: Path) -> None:
    for source, message in [
        ("postgresql+nodriver://me:s3cret@host/db#t", "is not a supported URL"),
        ("mssql+pymssql://me:s3cret/@host/db#t", "'pymssql' is not installed"),
        ("mssql+pymssql://me:s3cret@host:port/db#SELECT '@'", "not a database URL"),
        ("s3+x://me:s3cret@bucket/shop.csv", r"://\*\*\*@bucket"),
        ("memory://me:s3cret@bucket/shop.csv", r"memory://\*\*\*@bucket/shop.csv does not exist"),
    ]:
        with pytest.raises(CatalogError, match=message) as error:
            validate(source, tmp_path)
        assert "s3cret" not in str(error.value)


# ── a folder of pictures ─────────────────────────────────────────────────────────────────────────────────────────────


def test_picture_folder_is_a_catalog_of_its_files(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    names = ["red_summer-dress.JPG", "shoes/blue  boots.png", "shoes/kids/[1]#50%.webp", "ürün.tiff", "twice.jpg",
             "twice.png", "notes.txt", ".hidden.jpg", ".git/x.jpg", "video.mp4"]  # fmt: skip
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    bad = bytes(root) + b"/bad\xff.jpg"
    with open(bad, "wb"):  # noqa: PTH123 — the name is not UTF-8
        pass
    report, products, details = validate(root, tmp_path)
    assert report.base == str(root)
    assert {name: (row["image_url"], row["title"], row["category"]) for name, row in products.items()} == {
        "red_summer-dress": (["red_summer-dress.JPG"], "Red summer dress", None),
        "shoes/blue  boots": (["shoes/blue  boots.png"], "Blue boots", "shoes"),
        "shoes/kids/[1]#50%": (["shoes/kids/[1]#50%.webp"], "[1]#50%", "shoes/kids"),
        "twice": (["twice.jpg"], "Twice", None),
        "ürün": (["ürün.tiff"], "Ürün", None),
    }
    assert sorted(details) == ["product_id: twice is already in row 3", r"the file's name is not UTF-8: b'bad\xff.jpg'"]
    assert validate(root, tmp_path)[0].skipped
    (root / "new.gif").write_bytes(b"x")
    assert validate(root, tmp_path)[0].ok == 6


# ── recognising the form ─────────────────────────────────────────────────────────────────────────────────────────────


def test_source_that_is_not_a_catalog_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "missing.csv", tmp_path, "missing.csv does not exist; supported are a .csv")
    (tmp_path / "shop.xlsx").write_bytes(b"x")
    assert_refused(tmp_path / "shop.xlsx", tmp_path, "shop.xlsx is not a catalog; supported are a .csv, .tsv, .jsonl")
    (tmp_path / "nothing").mkdir()
    assert_refused(tmp_path / "nothing", tmp_path, "no catalog and no pictures")
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample/catalog.csv").write_text("product_id,image_url\n")
    assert_refused(tmp_path / "sample", tmp_path, "the catalog has columns but no rows")
    assert_refused("http://127.0.0.1:1/shop.csv?token=1", tmp_path, "cannot open http://127.0.0.1:1/shop.csv")
    assert_refused("memory://nowhere/shop.csv", tmp_path, "memory://nowhere/shop.csv does not exist")
    assert_refused("memory://nowhere/shop.parquet", tmp_path, "memory://nowhere/shop.parquet does not exist")


def test_same_content_in_another_folder_is_another_catalog(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shop.csv").write_text("product_id,image_url\na,a.jpg\n")
    assert validate(tmp_path / "one/shop.csv", tmp_path)[0].base == str(tmp_path / "one")
    report, _, _ = validate(tmp_path / "two/shop.csv", tmp_path)
    assert (report.base, report.skipped) == (str(tmp_path / "two"), False)  # relative picture paths have another base


def test_sources_on_a_store_are_read(tmp_path: Path) -> None:
    store = Folder(f"memory://{tmp_path.name}")
    for number in (1, 2):
        with store.writing(f"parts/size={number}/p.parquet") as path:
            write_part(path, [f"p{number}"])
    store.write_text("shop.jsonl", '{"product_id":"j","image_url":"j.jpg"}\n')
    report, products, _ = validate(f"memory://{tmp_path.name}/parts", tmp_path / "1")
    assert {name: row["size"] for name, row in products.items()} == {"p1": "1", "p2": "2"}
    assert report.base
    assert Folder(report.base).exists("size=1/p.parquet")
    assert list(validate(f"memory://{tmp_path.name}/shop.jsonl", tmp_path / "2")[1]) == ["j"]
    assert list(validate(f"memory://{tmp_path.name}/parts/*/p.parquet", tmp_path / "3")[1]) == ["p1", "p2"]


def test_file_url_with_a_space_is_read(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_text("product_id,image_url\nf,f.jpg\n")
    assert list(validate(f"file://{tmp_path}/a b.csv", tmp_path)[1]) == ["f"]
