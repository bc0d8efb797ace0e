"""Rules of the catalog: which rows are accepted, why the others are rejected, and which types attributes have."""

from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts.schema import attributes_of
from jobs.catalog.report import CatalogReport
from jobs.catalog.shards import read_products
from jobs.catalog.step import validate_catalog
from jobs.workspace.workspace import Workspace

UTC = dt.UTC


def validate(tmp_path: Path, rows: list[dict[str, Any]], *, suffix: str = "csv") -> tuple[CatalogReport, Workspace]:
    """Run the catalog step on rows, with a valid product_id and image_url where they have none, and one valid row."""
    rows = [{"product_id": f"p{number}", "image_url": "u.jpg", **row} for number, row in enumerate(rows, start=1)]
    rows.append({"product_id": "good", "image_url": "u.jpg"})
    path = tmp_path / f"shop.{suffix}"
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        if suffix == "csv":
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    workspace = Workspace.open(str(tmp_path / "ws"), 1)
    return validate_catalog(str(path), workspace, 1), workspace


def rejects(workspace: Workspace) -> dict[int, tuple[str, str]]:
    """Return reason and detail of the rejects by row."""
    rows = pq.read_table(workspace.folder.local("catalog/rejects.parquet")).to_pylist()
    return {row["input_row"]: (row["reason"], row["detail"]) for row in rows}


def products(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Return the accepted products by id."""
    return {row["product_id"]: row for row in read_products(workspace, 0).to_pylist()}


def test_rejects_have_a_reason_and_a_detail(tmp_path: Path) -> None:
    not_iso = "is not an ISO 8601 date or time, such as 2025-01-31 or 2025-01-31T12:00:00Z"
    cases: list[tuple[dict[str, str], str, str]] = [
        ({"product_id": "  "}, "missing_product_id", "product_id is empty"),
        ({"product_id": "x" * 513}, "bad_value", f"product_id: {'x' * 79}… is longer than 512 characters"),
        ({"product_id": "a\x00b"}, "bad_value", "product_id: a\ufffdb has control characters"),
        ({"product_id": "a\nb"}, "bad_value", "product_id: a\ufffdb has control characters"),
        ({"product_id": "good2", "price": "0"}, "", ""),
        ({"product_id": " good2 "}, "duplicate_product_id", "product_id: good2 is already in row 5"),
        ({"is_active": "FALSE"}, "inactive", "is_active: FALSE"),
        ({"is_active": "no"}, "inactive", "is_active: no"),
        ({"is_active": "0"}, "inactive", "is_active: 0"),
        ({"is_active": "F"}, "inactive", "is_active: F"),
        ({"is_active": "maybe"}, "bad_value", "is_active: maybe is neither true nor false"),
        ({"price": "-3.5"}, "bad_value", "price: -3.5 is below 0"),
        ({"price": "12,50"}, "bad_value", "price: 12,50 is not a number"),
        ({"price": "$5"}, "bad_value", "price: $5 is not a number"),
        ({"price": "1_000"}, "bad_value", "price: 1_000 is not a number"),
        ({"price": "0x10"}, "bad_value", "price: 0x10 is not a number"),
        ({"price": "NaN"}, "bad_value", "price: NaN is not a number"),
        ({"price": "inf"}, "bad_value", "price: inf is not a number"),
        ({"price": "1e999"}, "bad_value", "price: 1e999 is too large"),
        ({"price": "٣"}, "bad_value", "price: ٣ is not a number"),
        ({"price": "9" * 400}, "bad_value", f"price: {'9' * 79}… is too large"),
        ({"popularity_score": "1.01"}, "bad_value", "popularity_score: 1.01 is above 1"),
        ({"conversion_rate": "-0.1"}, "bad_value", "conversion_rate: -0.1 is below 0"),
        ({"avg_rating": "5.5"}, "bad_value", "avg_rating: 5.5 is above 5"),
        ({"added_at": "2025-02-30"}, "bad_value", f"added_at: 2025-02-30 {not_iso}"),
        ({"added_at": "31/01/2025"}, "bad_value", f"added_at: 31/01/2025 {not_iso}"),
        ({"updated_at": "1700000000"}, "bad_value", f"updated_at: 1700000000 {not_iso}"),
        ({"updated_at": "infinity"}, "bad_value", f"updated_at: infinity {not_iso}"),
        ({"updated_at": "0000-01-01"}, "bad_value", f"updated_at: 0000-01-01 {not_iso}"),
        ({"image_url": " "}, "missing_image_url", "image_url is empty"),
        ({"image_url": "[]"}, "missing_image_url", "image_url is empty"),
        ({"image_url": '["", null, " "]'}, "missing_image_url", "image_url is empty"),
        ({"image_url": '["a.jpg"'}, "bad_value", 'image_url: ["a.jpg" is a broken JSON list'),
        ({"image_url": "[1]"}, "bad_value", "image_url: [1] is not a list of texts"),
        ({"image_url": '[["a.jpg"]]'}, "bad_value", 'image_url: [["a.jpg"]] is not a list of texts'),
        ({"image_url": json.dumps(["u"] * 1001)}, "bad_value", "… has more than 1000 pictures"),
    ]
    report, workspace = validate(tmp_path, [row for row, _, _ in cases])
    actual = rejects(workspace)
    for row, (_, reason, detail) in enumerate(cases, start=1):
        actual_reason, actual_detail = actual.pop(row, ("", ""))
        assert actual_reason == reason
        assert actual_detail == detail or (detail.startswith("… ") and actual_detail.endswith(detail))
    assert not actual
    assert report.ok == 2  # good and good2


def test_rejected_row_has_the_first_reason_that_applies(tmp_path: Path) -> None:
    cases = [
        ({"product_id": "", "is_active": "no", "price": "-1", "image_url": ""}, "missing_product_id"),
        ({"product_id": "a", "is_active": "no"}, "inactive"),
        ({"product_id": "a", "is_active": "no", "price": "-1"}, "duplicate_product_id"),  # of a rejected row
        ({"is_active": "no", "price": "-1", "image_url": ""}, "inactive"),
        ({"price": "-1", "image_url": ""}, "bad_value"),
    ]
    _, workspace = validate(tmp_path, [row for row, _ in cases])
    assert [reason for reason, _ in rejects(workspace).values()] == [reason for _, reason in cases]


def test_values_of_accepted_rows_are_parsed(tmp_path: Path) -> None:
    rows = [
        {"price": " 12.50 ", "is_active": "Yes", "avg_rating": "5", "popularity_score": "0", "conversion_rate": "1e-3"},
        {"price": "-0", "is_active": "t", "title": "  blank around ", "brand": " ", "category": "\u00a0x\u3000"},
        {"price": ".5", "is_active": "1", "title": "two\nlines, \"quotes\" 'n' 👟 مرحبا", "brand": "b" * 10_240},
        {"price": "5.", "is_active": "", "title": "Cafe\u0301", "brand": "Caf\u00e9"},
    ]
    _, workspace = validate(tmp_path, rows)
    accepted = products(workspace)
    assert [accepted[f"p{number}"]["price"] for number in range(1, 5)] == [12.5, 0.0, 0.5, 5.0]
    assert str(accepted["p2"]["price"]) == "0.0"
    assert [accepted[f"p{number}"]["is_active"] for number in range(1, 5)] == [True, True, True, None]
    signals = ("avg_rating", "popularity_score", "conversion_rate")
    assert [accepted["p1"][name] for name in signals] == [5, 0, 0.001]
    assert (accepted["p2"]["title"], accepted["p2"]["brand"], accepted["p2"]["category"]) == ("blank around", None, "x")
    assert accepted["p3"]["title"] == "two\nlines, \"quotes\" 'n' 👟 مرحبا"
    assert accepted["p3"]["brand"] == "b" * 10_240
    assert (accepted["p4"]["title"], accepted["p4"]["brand"]) == ("Cafe\u0301", "Caf\u00e9")  # not normalized


def test_composed_and_decomposed_ids_are_different_products(tmp_path: Path) -> None:
    report, workspace = validate(tmp_path, [{"product_id": "caf\u00e9"}, {"product_id": "cafe\u0301"}])
    assert report.ok == 3
    assert set(products(workspace)) == {"caf\u00e9", "cafe\u0301", "good"}


def test_timestamps_are_converted_to_utc(tmp_path: Path) -> None:
    cases = {
        "2025-01-31": dt.datetime(2025, 1, 31, tzinfo=UTC),
        "2025-01-31T12:00:00Z": dt.datetime(2025, 1, 31, 12, tzinfo=UTC),
        "2025-01-31t12:00:00z": dt.datetime(2025, 1, 31, 12, tzinfo=UTC),
        "2025-01-31 12:00": dt.datetime(2025, 1, 31, 12, tzinfo=UTC),
        "2025-01-31T12:00:00": dt.datetime(2025, 1, 31, 12, tzinfo=UTC),
        "2025-01-31T12:00:00+02:00": dt.datetime(2025, 1, 31, 10, tzinfo=UTC),
        "2025-01-31T12:00:00-0530": dt.datetime(2025, 1, 31, 17, 30, tzinfo=UTC),
        "2025-01-31 12:00:00+00": dt.datetime(2025, 1, 31, 12, tzinfo=UTC),
        "2025-01-31 12:00:00 UTC": dt.datetime(2025, 1, 31, 12, tzinfo=UTC),
        "2025-01-31T12:00:00.123456789Z": dt.datetime(2025, 1, 31, 12, 0, 0, 123456, tzinfo=UTC),
    }
    _, workspace = validate(tmp_path, [{"added_at": text} for text in cases])
    accepted = products(workspace)
    assert [accepted[f"p{number}"]["added_at"] for number in range(1, len(cases) + 1)] == list(cases.values())


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_image_url_is_one_picture_or_a_list(tmp_path: Path, suffix: str) -> None:
    cells: list[tuple[Any, list[str]]] = [
        ("https://x.example/a b.jpg?c=1,2", ["https://x.example/a b.jpg?c=1,2"]),
        ('["b.jpg", " a.jpg ", "", null, "b.jpg", "c.jpg"]', ["b.jpg", "a.jpg", "c.jpg"]),
        ("[1].jpg", ["[1].jpg"]),
        ("[x", ["[x"]),
    ]
    if suffix == "jsonl":
        cells.append((["b.jpg", None, "a.jpg", " ", "b.jpg"], ["b.jpg", "a.jpg"]))
    _, workspace = validate(tmp_path, [{"image_url": cell} for cell, _ in cells], suffix=suffix)
    accepted = products(workspace)
    assert [accepted[f"p{number}"]["image_url"] for number in range(1, len(cells) + 1)] == [urls for _, urls in cells]


def test_attribute_types_of_text_are_inferred_from_all_accepted_rows(tmp_path: Path) -> None:
    columns: dict[str, tuple[list[str], str, list[Any]]] = {
        "flag": (["true", "FALSE", ""], "bool", [True, False, None]),
        "zero_one": (["0", "1", ""], "int64", [0, 1, None]),
        "stock": (["12", " -7 ", "9223372036854775807"], "int64", [12, -7, 9223372036854775807]),
        "weight": (["1.5", "2", "1e-05"], "double", [1.5, 2.0, 1e-05]),
        "ean": (["00123", "456", "789"], "string", ["00123", "456", "789"]),
        "huge": (["9223372036854775808", "1", "2"], "string", ["9223372036854775808", "1", "2"]),
        "phone": (["+49", "1", "2"], "string", ["+49", "1", "2"]),
        "mixed": (["true", "1", "x"], "string", ["true", "1", "x"]),
        "nan": (["NaN", "1", "2"], "string", ["NaN", "1", "2"]),
        "too_large": (["1e999", "1", "2"], "string", ["1e999", "1", "2"]),
        "nothing": (["", " ", ""], "string", [None, None, None]),
        "Größe; \"x\" 'y'": (["S", " M ", "مرحبا"], "string", ["S", "M", "مرحبا"]),
        "reason": (["a", "b", "c"], "string", ["a", "b", "c"]),  # this and the next are names in the SQL
        "_row": (["1", "2", "3"], "int64", [1, 2, 3]),
        "c0": (["1", "2", "3"], "int64", [1, 2, 3]),
    }
    rows = [{name: values[number] for name, (values, _, _) in columns.items()} for number in range(3)]
    rows.append({"product_id": "p1", **dict.fromkeys(columns, "a duplicate's values do not count")})
    report, workspace = validate(tmp_path, rows)
    assert report.attributes == {name: dtype for name, (_, dtype, _) in columns.items()}
    accepted = products(workspace)
    for name, (_, _, values) in columns.items():
        assert [accepted[f"p{number}"][name] for number in (1, 2, 3)] == values
    assert list(attributes_of(read_products(workspace, 0).schema)) == list(columns)
    assert {name: str(dtype) for name, dtype in report.attribute_types.items()} == report.attributes


def test_attribute_types_of_json_are_the_types_of_the_values(tmp_path: Path) -> None:
    columns: dict[str, tuple[list[Any], str, list[Any]]] = {
        "flag": ([True, False, None], "bool", [True, False, None]),
        "count": ([1, -2, None], "int64", [1, -2, None]),
        "number": ([1, 2.5, None], "double", [1.0, 2.5, None]),
        "digits": (["1", "2", "3"], "string", ["1", "2", "3"]),
        "mixed": ([1, "x", True], "string", ["1", "x", "true"]),
        "huge": ([2**63, 1, 2], "string", [str(2**63), "1", "2"]),
        "nested": ([{"a": [1, "é"]}, [1, 2], None], "string", ['{"a":[1,"é"]}', "[1,2]", None]),
        "a/b~c": (["x", "y", "z"], "string", ["x", "y", "z"]),
        "nan": ([float("nan"), 1.5, 2], "double", [None, 1.5, 2.0]),
    }
    rows = [{name: values[number] for name, (values, _, _) in columns.items()} for number in range(3)]
    report, workspace = validate(tmp_path, rows, suffix="jsonl")
    assert report.attributes == {name: dtype for name, (_, dtype, _) in columns.items()}
    accepted = products(workspace)
    for name, (_, _, values) in columns.items():
        assert [accepted[f"p{number}"][name] for number in (1, 2, 3)] == values
