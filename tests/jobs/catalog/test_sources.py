"""Parquet, databases, folders of pictures, and what is not a catalog."""

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
from jobs.catalog.report import CatalogReport
from jobs.catalog.shards import read_products
from jobs.catalog.step import validate_catalog
from jobs.workspace.workspace import Workspace


def validate(source: object, tmp_path: Path) -> tuple[CatalogReport, dict[str, dict[str, Any]], list[str]]:
    """Report, products by id, and details of the rejects."""
    workspace = Workspace.open(str(tmp_path / "ws"), 1)
    report = validate_catalog(str(source), workspace, 1)
    rejected = pq.read_table(workspace.folder.local("catalog/rejects.parquet"))["detail"].to_pylist()
    return report, {row["product_id"]: row for row in read_products(workspace, 0).to_pylist()}, rejected


def refused(source: object, tmp_path: Path, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        validate(source, tmp_path)
    assert not (tmp_path / "ws/catalog/report.json").exists()


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_parquet_keeps_types(tmp_path: Path) -> None:
    at = dt.datetime(2025, 1, 31, 12, tzinfo=dt.UTC)
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
        "naive": (pa.timestamp("ns"), [at.replace(tzinfo=None), None], "timestamp[us, tz=UTC]", [at, None]),
        "aware": (pa.timestamp("ms", "Europe/Berlin"), [at, None], "timestamp[us, tz=UTC]", [at, None]),
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
            "added_at": pa.array([at, None], pa.timestamp("ns", "America/New_York")),
            **{name: pa.array(values, kind) for name, (kind, values, _, _) in columns.items()},
        }
    )
    pq.write_table(table, tmp_path / "shop.parquet")
    report, found, _ = validate(tmp_path / "shop.parquet", tmp_path)
    assert report.attributes == {name: kind for name, (_, _, kind, _) in columns.items()}
    for name, (_, _, _, values) in columns.items():
        assert [found["7"][name], found["8"][name]] == values, name
    assert found["7"]["image_url"] == ["b.jpg", "a.jpg"]
    assert (found["7"]["price"], found["7"]["avg_rating"], found["7"]["added_at"]) == (9.9, 4.5, at)
    assert report.base == str(tmp_path)


def test_parquet_values_out_of_range_are_rejects(tmp_path: Path) -> None:
    prices = pa.array([float("nan"), float("inf"), -1.0, 0.0])
    pq.write_table(
        pa.table({"product_id": list("abcd"), "image_url": ["u"] * 4, "price": prices}), tmp_path / "shop.parquet"
    )
    _, found, details = validate(tmp_path / "shop.parquet", tmp_path)
    assert list(found) == ["d"]
    assert details == ["price: nan is not a number", "price: inf is not a number", "price: -1.0 is below 0"]


def part(path: Path, ids: list[Any], **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"product_id": ids, "image_url": [f"{name}.jpg" for name in ids], **columns}), path)


def test_parts_are_one_table_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "we[i]rd'd*r"
    part(folder / "part-1.parquet", ["a", "b"], colour=["red", "blue"])
    part(folder / "part-2.parquet", ["b", "c"], weight=[1, 2])
    part(folder / "nested/part-0.parquet", ["d"], weight=[1.5])
    part(folder / "_temporary/part-9.parquet", ["x"])
    (folder / "_SUCCESS").touch()
    report, found, details = validate(folder, tmp_path)
    assert list(found) == ["a", "b", "c", "d"]
    assert report.attributes == {"weight": "double", "colour": "string"}
    assert (found["b"]["colour"], found["c"]["weight"], found["d"]["weight"]) == ("blue", 2.0, 1.5)
    assert details == ["product_id: b is already in row 3"]  # nested/part-0 comes first
    assert report.base == str(folder)
    assert validate(folder, tmp_path)[0].skipped


def test_a_glob_of_parts(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        part(tmp_path / f"parts/part-{number}.parquet", [f"p{number}"])
    report, found, _ = validate(tmp_path / "parts/part-[12].parquet", tmp_path)
    assert list(found) == ["p1", "p2"]
    assert report.base == str(tmp_path / "parts")
    refused(tmp_path / "parts/none-*.parquet", tmp_path / "other", "no .parquet file matches")
    refused(tmp_path / "parts/*.csv", tmp_path / "other", "only Parquet may come in parts")


def test_partition_folders_are_columns_of_text(tmp_path: Path) -> None:
    part(tmp_path / "parts/size=007/p.parquet", ["a"])
    part(tmp_path / "parts/size=42/p.parquet", ["b"])
    report, found, _ = validate(tmp_path / "parts", tmp_path)
    assert report.attributes == {"size": "string"}
    assert [found[name]["size"] for name in "ab"] == ["007", "42"]


def test_rows_are_numbered_in_file_order(tmp_path: Path) -> None:
    ids = [f"p{number}" for number in range(30_000)]
    pq.write_table(
        pa.table({"product_id": ids + ids[-1:], "image_url": ["u"] * 30_001}),
        tmp_path / "shop.parquet",
        row_group_size=1000,
    )
    assert validate(tmp_path / "shop.parquet", tmp_path)[2] == ["product_id: p29999 is already in row 30000"]


def test_parquet_that_cannot_be_used(tmp_path: Path) -> None:
    part(tmp_path / "drift/1.parquet", ["a"], weight=[1])
    part(tmp_path / "drift/2.parquet", ["b"], weight=[{"x": 1}])
    refused(tmp_path / "drift", tmp_path, "cannot be read as one table")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    refused(tmp_path / "broken.parquet", tmp_path, "broken.parquet is not a Parquet file")
    part(tmp_path / "twice.parquet", ["a"], Size=[1], size=[2])
    refused(tmp_path / "twice.parquet", tmp_path, "'Size' and 'size' have the same name")
    pq.write_table(pa.table({"product_id": ["a"], "picture": ["u"]}), tmp_path / "other.parquet")
    refused(tmp_path / "other.parquet", tmp_path, "'picture' is reserved")
    pq.write_table(pa.table({"product_id": pa.array([], pa.string()), "image_url": []}), tmp_path / "empty.parquet")
    refused(tmp_path / "empty.parquet", tmp_path, "empty.parquet: the catalog has columns but no rows")


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


def test_a_table(shop: str, tmp_path: Path) -> None:
    report, found, details = validate(f"{shop}#products", tmp_path)
    assert (report.base, report.source, report.input_rows) == (None, f"{shop}#products", 3)
    assert details == ["price: -1.0000000000 is below 0"]
    assert report.attributes == {
        "active": "bool", "stock": "int64", "weight": "double", "sold": "timestamp[us, tz=UTC]", "code": "string",
        "mixed": "string", "blob": "string",
    }  # fmt: skip
    assert found["b"]["image_url"] == ["x.jpg", "y.jpg"]
    assert found["b"]["sold"] == dt.datetime(2025, 1, 31, 12, tzinfo=dt.UTC)
    assert (found["b"]["active"], found["b"]["stock"], found["b"]["weight"], found["b"]["code"]) == (True, 3, 1, "007")
    assert (found["c"]["stock"], found["b"]["mixed"], found["b"]["blob"]) == (2**62, "1", "\\xff")


def test_a_query_is_always_read_again_and_noticed_when_it_changed(shop: str, tmp_path: Path) -> None:
    query = f"{shop}#SELECT product_id, image_url, '10:30 100%' AS note FROM products WHERE product_id <> ':x' ;"
    report, found, _ = validate(query, tmp_path)
    assert (report.ok, found["a"]["note"], report.skipped) == (3, "10:30 100%", False)
    assert validate(query, tmp_path)[0].skipped
    with sqlite3.connect(shop.removeprefix("sqlite:///")) as db:
        db.execute("UPDATE products SET image_url = 'new.jpg' WHERE product_id = 'a'")
    db.close()
    report, found, _ = validate(query, tmp_path)
    assert (report.skipped, found["a"]["image_url"]) == (False, ["new.jpg"])


def test_many_rows_of_a_query_come_in_batches(shop: str, tmp_path: Path) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)"
    report, _, _ = validate(f"{shop}#{numbers} SELECT 'p' || i AS product_id, 'u' AS image_url FROM n", tmp_path)
    assert report.ok == 25_000


def test_databases_that_cannot_be_used(shop: str, tmp_path: Path) -> None:
    refused(shop, tmp_path, "add #table or #SELECT")
    refused(f"{shop}#nothing", tmp_path, "there is no table 'nothing'")
    refused(f"{shop}#SELECT colour FROM products", tmp_path, "the database refuses: no such column")
    refused(f"{shop}#DELETE FROM products", tmp_path, "has to be a SELECT")
    refused(f"{shop}#SELECT product_id FROM products", tmp_path, "no column 'image_url'")
    refused(f"{shop}#SELECT product_id, image_url, image_url FROM products", tmp_path, "same name")
    refused(f"sqlite:///{tmp_path}/missing.db#products", tmp_path, "there is no SQLite file")
    assert not (tmp_path / "missing.db").exists()
    refused("nosuchthing://host/db#t", tmp_path, "nosuchthing:// is not a URL that is known")
    with sqlite3.connect(shop.removeprefix("sqlite:///")) as db:
        assert db.execute("SELECT count(*) FROM products").fetchone() == (3,)
    db.close()


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    for source, message in [
        ("postgresql+nodriver://me:s3cret@host/db#t", "is not a URL that is known"),
        ("mssql+pymssql://me:s3cret/@host/db#t", "'pymssql' is not installed"),
        ("mssql+pymssql://me:s3cret@host:port/db#SELECT '@'", "not a database URL"),
        ("s3+x://me:s3cret@bucket/shop.csv", r"://\*\*\*@bucket"),
        ("memory://me:s3cret@bucket/shop.csv", r"there is no memory://\*\*\*@bucket/shop.csv"),
    ]:
        with pytest.raises(CatalogError, match=message) as error:
            validate(source, tmp_path)
        assert "s3cret" not in str(error.value)


# ── a folder of pictures ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    names = ["red_summer-dress.JPG", "shoes/blue  boots.png", "shoes/kids/[1]#50%.webp", "ürün.tiff", "twice.jpg",
             "twice.png", "notes.txt", ".hidden.jpg", ".git/x.jpg", "video.mp4"]  # fmt: skip
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    bad = bytes(root) + b"/bad\xff.jpg"
    with open(bad, "wb"):  # noqa: PTH123 — a name that no text can hold
        pass
    report, found, details = validate(root, tmp_path)
    assert report.base == str(root)
    assert {name: (row["image_url"], row["title"], row["category"]) for name, row in found.items()} == {
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


# ── finding out what it is ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_not_a_catalog(tmp_path: Path) -> None:
    refused(tmp_path / "missing.csv", tmp_path, r"there is no .*missing.csv; taken are a .csv")
    (tmp_path / "shop.xlsx").write_bytes(b"x")
    refused(tmp_path / "shop.xlsx", tmp_path, r"shop.xlsx is not a catalog; taken are a .csv, .tsv, .jsonl")
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing", tmp_path, "no catalog and no pictures")
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample/catalog.csv").write_text("product_id,image_url\n")
    refused(tmp_path / "sample", tmp_path, "catalog.csv in it; name that file")
    refused("http://127.0.0.1:1/shop.csv?token=1", tmp_path, "cannot open http://127.0.0.1:1/shop.csv")
    refused("memory://nowhere/shop.csv", tmp_path, "there is no memory://nowhere/shop.csv")
    refused("memory://nowhere/shop.parquet", tmp_path, "there is no memory://nowhere/shop.parquet")


def test_the_same_content_elsewhere_is_another_catalog(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shop.csv").write_text("product_id,image_url\na,a.jpg\n")
    assert validate(tmp_path / "one/shop.csv", tmp_path)[0].base == str(tmp_path / "one")
    report, _, _ = validate(tmp_path / "two/shop.csv", tmp_path)
    assert (report.base, report.skipped) == (str(tmp_path / "two"), False)  # relative pictures lie elsewhere


def test_parquet_parts_and_json_on_a_store(tmp_path: Path) -> None:
    store = Folder(f"memory://{tmp_path.name}")
    for number in (1, 2):
        with store.writing(f"parts/size={number}/p.parquet") as path:
            part(path, [f"p{number}"])
    store.write_text("shop.jsonl", '{"product_id":"j","image_url":"j.jpg"}\n')
    report, found, _ = validate(f"memory://{tmp_path.name}/parts", tmp_path / "1")
    assert {name: row["size"] for name, row in found.items()} == {"p1": "1", "p2": "2"}
    assert report.base
    assert Folder(report.base).exists("size=1/p.parquet")
    assert list(validate(f"memory://{tmp_path.name}/shop.jsonl", tmp_path / "2")[1]) == ["j"]
    assert list(validate(f"memory://{tmp_path.name}/parts/*/p.parquet", tmp_path / "3")[1]) == ["p1", "p2"]
    assert list(validate(f"file://{_local(tmp_path)}", tmp_path / "4")[1]) == ["f"]


def _local(tmp_path: Path) -> Path:
    (tmp_path / "a b.csv").write_text("product_id,image_url\nf,f.jpg\n")
    return tmp_path / "a b.csv"
