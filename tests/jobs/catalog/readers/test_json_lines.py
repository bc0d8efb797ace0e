"""JSON lines: every line is read or counted as unreadable, and keys become columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from artifacts.errors import CatalogError
from jobs.catalog.readers import json_lines, text_file
from jobs.catalog.readers.json_lines import stage_json
from tests.catalogs import stage_rows

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def test_lines_are_read_or_unreadable_with_a_reason(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    good = b'{"image_url":"u","product_id":%d}\n' * 3 % (1, 123456789012345678901234567890, 3)
    lines = [
        b'{"image_url":["u","v"],"product_id":"a\\u00e9","title":"\xf0\x9f\x91\x9f","x":{"y":1}}',
        b"", b"  ", b'{"product_id":"b",', b"[1]", b'"text"', b'{"product_id":"\xff"}', b'{"product_id":"\\ud800"}',
        b'{"product_id": null, "image_url": null, "new": 1.50}\r',
    ]  # fmt: skip
    content = BYTE_ORDER_MARK + b"\n".join(lines) + b"\n" + good * 100
    rows = stage_rows(stage_json, tmp_path / "shop.ndjson", content, con)
    assert rows[:7] == [
        ['["u","v"]', "aé", "👟", '{"y":1}', None],
        'not JSON: {"product_id":"b",',
        "not a JSON object: [1]",
        'not a JSON object: "text"',
        'not UTF-8: byte 0xff: {"product_id":"\ufffd"}',
        'not JSON: {"product_id":"\\ud800"}',
        [None, None, None, None, "1.5"],
    ]
    assert [row[1] for row in rows[7:10]] == ["1", "123456789012345678901234567890", "3"]
    assert len(rows) == 307


def test_columns_are_the_keys_in_order_of_appearance(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    content = b'{"b":1,"image_url":"u"}\n{"a":2,"Product_ID":"p","b":3}'
    rows = stage_rows(stage_json, tmp_path / "shop.jsonl", content, con)
    assert rows == [["1", "u", None, None], ["3", None, "2", "p"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"[1]\n[2]\n", r"no line is a JSON object; the first line is: \[1\]"),
        (b'{"product_id":1}', "no column 'image_url'"),
        (b'{"product_id":1,"image_url":"u","Price":1}\n{"price":2}', "same name"),
        (b'{"product_id":1,"image_url":"u","":1}', "column 3 has no name"),
    ],
)
def test_unusable_files_raise_a_catalog_error(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, content: bytes, message: str
) -> None:
    with pytest.raises(CatalogError, match=message):
        stage_rows(stage_json, tmp_path / "shop.jsonl", content, con)


def test_lines_across_block_boundaries_are_read_whole(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "BLOCK", 7)
    content = b"".join(b'{"product_id":"p%d","image_url":"u"}\n' % number for number in range(50))
    rows = stage_rows(stage_json, tmp_path / "shop.jsonl", content, con)
    assert [row[0] for row in rows] == [f"p{number}" for number in range(50)]


def test_line_longer_than_the_limit_stops_reading(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "BLOCK", 1000)
    monkeypatch.setattr(json_lines, "MAX_LINE", 1000)
    with pytest.raises(CatalogError, match="row 2 is longer than 1,000 bytes"):
        stage_rows(stage_json, tmp_path / "shop.jsonl", b"{}\n" + b"x" * 5000, con)
