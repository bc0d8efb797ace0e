"""Catalogs of several files: folders and globs of CSV, JSON lines and Parquet, on this machine and on a store."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from artifacts.errors import StepFailed
from artifacts.storage import Folder
from jobs.catalog.changes import find_changes
from jobs.catalog.step import validate_catalog
from jobs.workspace.workspace import Workspace
from tests.jobs.catalog.validating import assert_refused, validate, write_part


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_csv_parts_have_their_columns_in_any_order(tmp_path: Path) -> None:
    folder = tmp_path / "we[i]rd'd*r"
    write(folder / "part-1.csv", "product_id,image_url,Size,stock", "a,a.jpg,S,1", "b,b.jpg,M,2")
    write(folder / "part-2.tsv", "stock\tproduct_id\tcolour\timage_url", "3\tc\tred\tc.jpg")
    write(folder / "nested/part-3.csv.gz", "\ufeffimage_url;product_id;size", "d.jpg;d;L")
    write(folder / "part-4.csv")
    write(folder / "_temporary/part-9.csv", "product_id,image_url", "x,x.jpg")
    (folder / "_SUCCESS").touch()
    (folder / ".part-1.csv.crc").write_bytes(b"x")
    report, products, details = validate(folder, tmp_path)
    assert details == []
    assert list(products) == ["a", "b", "c", "d"]
    assert report.attributes == {"size": "string", "stock": "int64", "colour": "string"}  # nested/ comes first
    assert [products[name]["size"] for name in "abcd"] == ["S", "M", None, "L"]
    assert [products[name]["stock"] for name in "abcd"] == [1, 2, 3, None]
    assert [products[name]["colour"] for name in "abcd"] == [None, None, "red", None]
    assert report.base == str(folder)
    assert validate(folder, tmp_path)[0].skipped


def test_json_parts_have_any_keys(tmp_path: Path) -> None:
    write(tmp_path / "parts/1.jsonl", '{"product_id": "a", "image_url": ["a.jpg"], "stock": 1}')
    write(tmp_path / "parts/2.ndjson.gz", '{"image_url": "b.jpg", "colour": "red", "product_id": "b"}')
    report, products, _ = validate(tmp_path / "parts", tmp_path)
    assert report.attributes == {"stock": "int64", "colour": "string"}
    assert (products["a"]["stock"], products["b"]["colour"], products["b"]["stock"]) == (1, "red", None)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rejects_name_their_part_and_its_row(tmp_path: Path, suffix: str) -> None:
    for number, prices in enumerate([[1, 2], [], [3, -1], [5]]):
        rows = [{"product_id": f"p{price}", "image_url": "u.jpg", "price": price} for price in prices]
        rows += [{"product_id": "p2", "image_url": "u.jpg", "price": 0}] if number == 3 else []
        path = tmp_path / f"parts/part-{number}.{suffix}"
        if suffix == "parquet":
            write_part(path, [row["product_id"] for row in rows], price=[float(row["price"]) for row in rows])
        elif suffix == "csv":
            write(path, "product_id,image_url,price", *(",".join(map(str, row.values())) for row in rows))
        else:
            write(path, *map(json.dumps, rows))
    price = "-1.0" if suffix == "parquet" else "-1"
    report, products, details = validate(tmp_path / "parts", tmp_path)
    assert details == [
        f"part-2.{suffix}, row 2: price: {price} is below 0",
        f"part-3.{suffix}, row 2: product_id: p2 is already in part-0.{suffix}, row 2",
    ]
    assert list(products) == ["p1", "p2", "p3", "p5"]
    rejects = pq.read_table(tmp_path / "ws/catalog/rejects.parquet")
    assert rejects["input_row"].to_pylist() == [4, 6]
    with pytest.raises(StepFailed, match=rf"1 bad_value \(part-2.{suffix}, row 2: price"):
        validate_catalog(str(tmp_path / "parts"), Workspace.open(str(tmp_path / "other"), 1), 0)
    assert report.ok == 4


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_folders_of_partitions_are_text_columns(tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "date=2026-11-27/parts"  # folders above the catalog's are no columns
    for folder, name in [("size=007/a%20b=x%2Fy", "a"), ("size=42", "b"), ("size=__HIVE_DEFAULT_PARTITION__", "c")]:
        path = root / folder / f"p.{suffix}"
        if suffix == "parquet":
            write_part(path, [name], date=["inside"], SIZE=["replaced"])
        elif suffix == "csv":
            write(path, "product_id,date,image_url,SIZE", f"{name},inside,u,replaced")
        else:
            write(path, json.dumps({"product_id": name, "image_url": "u", "date": "inside", "SIZE": "replaced"}))
    report, products, _ = validate(root, tmp_path)
    assert report.attributes == {"date": "string", "size": "string", "a%20b": "string"}
    assert [products[name]["size"] for name in "abc"] == ["007", "42", None]
    assert [products[name]["a%20b"] for name in "abc"] == ["x/y", None, None]
    assert {products[name]["date"] for name in "abc"} == {"inside"}


def test_partition_may_be_a_known_column(tmp_path: Path) -> None:
    for suffix, form in (("csv", "product_id,image_url\n{0},u"), ("jsonl", '{{"product_id":"{0}","image_url":"u"}}')):
        for brand in "XY":
            write(tmp_path / suffix / f"brand={brand}/1.{suffix}", form.format(brand.lower()))
        _, products, _ = validate(tmp_path / suffix, tmp_path / f"ws-{suffix}")
        assert {name: row["brand"] for name, row in products.items()} == {"x": "X", "y": "Y"}


def test_a_part_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    good = ("product_id,image_url,size", "a,a.jpg,S")
    for name, lines, message in [
        ("twice", ("product_id,image_url,Size,size", "a,a.jpg,1,2"), "'Size' and 'size' have the same name"),
        ("quote", ('product_id,"image_url', "a,a.jpg"), "2.csv: the header line cannot be read"),
        ("utf16", ("\ufeffproduct_id",), "2.csv: the file is UTF-16"),
    ]:
        write(tmp_path / name / "1.csv", *good)
        path = write(tmp_path / name / "2.csv", *lines)
        if name == "utf16":
            path.write_text("product_id,image_url\n", encoding="utf-16")
        assert_refused(tmp_path / name, tmp_path, message)
    write(tmp_path / "gz/1.jsonl.gz", '{"product_id":"a","image_url":"u"}')
    (tmp_path / "gz/2.jsonl.gz").write_bytes(b"no gzip")
    assert_refused(tmp_path / "gz", tmp_path, r"2.jsonl.gz: the file cannot be decompressed")
    write(tmp_path / "none/1.csv", "product_id,size", "a,S")
    write(tmp_path / "none/2.csv", "size,product_id", "S,a")
    assert_refused(tmp_path / "none", tmp_path, "there is no column 'image_url'")
    (tmp_path / "empty").mkdir()
    for number in (1, 2):
        write(tmp_path / f"empty/{number}.csv")
    assert_refused(tmp_path / "empty", tmp_path, "the catalog is empty")


# ── which files ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_glob_selects_parts_and_folders_of_parts(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        for number in (1, 2):
            write(tmp_path / f"x/day={day}/part-{number}.csv", "product_id,image_url", f"p{day}{number},u.jpg")
        (tmp_path / f"x/day={day}/readme.txt").touch()
    assert list(validate(tmp_path / "x/day=[12]/part-1.csv", tmp_path)[1]) == ["p11", "p21"]
    report, products, _ = validate(tmp_path / "x/day=[23]", tmp_path)
    assert {name: row["day"] for name, row in products.items()} == {"p21": "2", "p22": "2", "p31": "3", "p32": "3"}
    assert report.base == str(tmp_path / "x")
    assert_refused(tmp_path / "x/none-*", tmp_path / "other", "no catalog file matches .*none-")


def test_parts_on_a_store_are_read(tmp_path: Path) -> None:
    store = Folder(f"memory://{tmp_path.name}")
    store.write_text("parts/size=1/1.csv", "product_id,image_url\na,a.jpg\n")
    store.write_text("parts/size=2/2.csv", "image_url,product_id\nb.jpg,b\nc.jpg,a\n")
    store.write_text("lines/1.jsonl", '{"product_id":"j","image_url":"j.jpg"}\n')
    _, products, details = validate(f"memory://{tmp_path.name}/parts", tmp_path)
    assert {name: row["size"] for name, row in products.items()} == {"a": "1", "b": "2"}
    assert details == ["size=2/2.csv, row 2: product_id: a is already in size=1/1.csv, row 1"]
    assert list(validate(f"memory://{tmp_path.name}/parts/*/2.csv", tmp_path / "1")[1]) == ["a", "b"]
    assert list(validate(f"memory://{tmp_path.name}/lines/", tmp_path / "2")[1]) == ["j"]
    store.write_text("lines/2.jsonl", '{"product_id":"k","image_url":"k.jpg"}\n')  # listings are not remembered
    assert list(validate(f"memory://{tmp_path.name}/lines/", tmp_path / "2")[1]) == ["j", "k"]
    assert_refused(f"memory://{tmp_path.name}", tmp_path / "3", "of different forms, 1.jsonl and 1.csv")


def test_folder_of_pictures_and_parts_is_the_catalog_of_its_parts(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    write(root / "catalog.csv", "product_id,image_url", "a,images/a.jpg")
    (root / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (root / "images" / name).write_bytes(b"x")
    (root / "_SUCCESS").touch()
    _, products, _ = validate(root, tmp_path)
    assert {name: row["image_url"] for name, row in products.items()} == {"a": ["images/a.jpg"]}
    (root / "images/notes.txt").touch()
    assert_refused(root, tmp_path / "other", r"folder of pictures with catalog.csv and notes.txt in it; name the cat")
    (root / "images/notes.txt").unlink()
    write(root / "more.jsonl", '{"product_id":"j","image_url":"j.jpg"}')
    assert_refused(root, tmp_path / "other", "of different forms, catalog.csv and more.jsonl")


def test_file_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    with open(bytes(folder) + b"/bad\xff.csv", "wb") as file:  # noqa: PTH123
        file.write(b"product_id,image_url\na,b\n")
    assert_refused(folder, tmp_path, r"the file's name is not UTF-8.*rename it")


# ── where scratch files are ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_workspace_path_may_hold_wildcards(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "a[b]*'c/date=1/_row=2"
    path = tmp_path / f"shop.{suffix}"
    if suffix == "parquet":
        write_part(path, ["a", "b"])
    elif suffix == "csv":
        write(path, "product_id,image_url", "a,a.jpg", "b,b.jpg")
    else:
        write(path, *(json.dumps({"product_id": name, "image_url": f"{name}.jpg"}) for name in "ab"))
    report = validate_catalog(str(path), Workspace.open(str(folder / "ws"), 2), 0)
    assert (report.ok, report.attributes) == (2, {})
    changes = find_changes(str(path), None, 0, folder / "scratch")
    assert (changes.counts.new, changes.attributes) == (2, {})
