"""CSV and JSON lines: every row is read, or said to be unreadable, whatever the bytes."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.errors import CatalogError
from jobs.catalog import csv_file, json_lines, text_file
from jobs.catalog.csv_file import FIELD_LIMIT, stage_csv
from jobs.catalog.json_lines import stage_json
from jobs.catalog.staging import Staging

HEADER = b"product_id,image_url,title\n"
MARK = b"\xef\xbb\xbf"


@pytest.fixture
def con():
    with duckdb.connect() as connection:
        yield connection


def staged(path: Path, content: bytes, con: duckdb.DuckDBPyConnection | None = None) -> list[list[str | None] | str]:
    """The rows of a file: their cells, or why they are unreadable."""
    path.write_bytes(content)
    # Reading CSV needs no database at all.
    staging = Staging(con or duckdb.default_connection(), path.with_name("staged.parquet"), lambda done, total: None)
    (stage_json if ".json" in path.name or ".ndjson" in path.name else stage_csv)(path, staging)
    rows = pq.read_table(staging.path).to_pylist()
    assert [row["_row"] for row in rows] == list(range(1, staging.rows + 1))
    cells = [name for name in pq.read_schema(staging.path).names if name[0] == "c"]
    return [row["_unreadable"] or [row[name] for name in cells] for row in rows]


def csv_rows(tmp_path: Path, body: bytes, header: bytes = HEADER) -> list[list[str | None] | str]:
    return staged(tmp_path / "shop.csv", header + body)


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b'a,u,"two\nlines"\nb,u,"say ""hi"", you"\n', [["a", "u", "two\nlines"], ["b", "u", 'say "hi", you']]),
        (b"a,u,t\r\nb,u,t", [["a", "u", "t"], ["b", "u", "t"]]),  # Windows; no newline at the end
        (b"a,u,t\rb,u,t\r", [["a", "u", "t"], ["b", "u", "t"]]),  # an old Mac
        (b"\n\na,u,t\n\r\n\nb,,\n\n", [["a", "u", "t"], ["b", "", ""]]),  # empty lines are no rows
        ('é,👟,"مرحبا"\n'.encode(), [["é", "👟", "مرحبا"]]),
        (b"a\x00b,u,\x00\n", [["a\x00b", "u", "\x00"]]),
        (b'a,u,24" disc\nb,u,x\n', [["a", "u", '24" disc'], ["b", "u", "x"]]),  # quotes inside of a bare field
        (b'a,u,""\nb,u,""""\n', [["a", "u", ""], ["b", "u", '"']]),
        (b"a,u\nb,u,t\nc,u,t,x\n", ["2 fields where the header has 3: a,u", ["b", "u", "t"],
                                    "4 fields where the header has 3: c,u,t,x"]),
        (b'a,u,"open\nb,u,t\nc,"u",t\n', ['a quote is left open: a,u,"open', ["b", "u", "t"], ["c", "u", "t"]]),
        (b'a,u,"open\nb,u,t\n', ['a quote is left open: a,u,"open', ["b", "u", "t"]]),
        (b'a,u,"12" disc"\nb,u,t\n', ['a quote inside of a quoted field is not doubled: a,u,"12" disc"',
                                      ["b", "u", "t"]]),
    ],
)  # fmt: skip
def test_rows_and_unreadable_rows(tmp_path: Path, body: bytes, rows: list) -> None:
    found = csv_rows(tmp_path, body)
    if found and isinstance(found[0], str) and "quote" in found[0]:
        found[0] = "a quote" + found[0].partition("quote")[2]  # which of the two is said depends on what follows
        rows[0] = found[0] if found[0].endswith(rows[0].partition(": ")[2]) else rows[0]
    assert found == rows


def test_a_byte_order_mark_and_blanks_around_names(tmp_path: Path) -> None:
    assert csv_rows(tmp_path, b"a,u,t\n", MARK + b' Product_ID ,"IMAGE_URL", title\n') == [["a", "u", "t"]]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_recognised(tmp_path: Path, delimiter: str) -> None:
    text = f'product_id,image_url,title\na,u,"x{delimiter}1,5"\n'.replace(",", delimiter, 2)
    text = text.replace("a,u,", f"a{delimiter}u{delimiter}")
    assert csv_rows(tmp_path, text.encode(), b"") == [["a", "u", f"x{delimiter}1,5"]]


def test_a_damaged_row_is_one_reject_and_a_wrong_encoding_an_error(tmp_path: Path) -> None:
    rows = [b"p%d,u,t\n" % number for number in range(200)]
    rows[7] = b"p7,u,caf\xe9\n"
    found = csv_rows(tmp_path, b"".join(rows))
    assert found[7] == "not UTF-8: byte 0xe9 in field 3: caf\ufffd"
    assert sum(isinstance(row, str) for row in found) == 1
    with pytest.raises(CatalogError, match=r"not UTF-8: 200 of 200 rows.*save it as UTF-8"):
        csv_rows(tmp_path, b"".join(rows[7:8] * 200))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (HEADER.decode().encode("utf-16"), "is UTF-16"),
        (HEADER.decode().encode("utf-16-le"), "control characters"),
        (b"product_id,image_url,gr\xf6\xdfe\n", "not UTF-8"),
        (b"product_id,image_url,\na,b,c\n", "column 3 has no name"),
        (b"product_id,image_url,Size,size \n", "'Size' and 'size' have the same name"),
        (b"product_id,image_url,Product_ID\n", "same name"),
        (b"product_id,image_url,Score\n", "'Score' is reserved"),
        (b"id,image_url,title\n", "no column 'product_id'.*'id', 'image_url', 'title'"),
        (b"product_id,picture_url\n", "no column 'image_url'.*'picture_url'"),
        (b'product_id,"image_url\n', "header line cannot be read"),
        (b"product_id,image_url," + b",".join(b"c%d" % number for number in range(1000)) + b"\n", "at most 1000"),
    ],
)
def test_unusable_files(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        staged(tmp_path / "shop.csv", content)


def test_gzip_and_a_broken_gzip(tmp_path: Path) -> None:
    packed = gzip.compress(HEADER + b"a,u,t\n" * 1000)
    assert len(staged(tmp_path / "shop.csv.gz", packed)) == 1000
    for broken in (packed[:-20], b"not gzip at all", packed[:30] + b"\xff" * 20 + packed[50:]):
        with pytest.raises(CatalogError, match="decompressed"):
            staged(tmp_path / "shop.csv.gz", broken)


def test_long_fields(tmp_path: Path) -> None:
    longest, too_long = b"x" * FIELD_LIMIT, b"x" * (FIELD_LIMIT + 1)
    found = csv_rows(tmp_path, b"a,u,%b\nb,u,%b\nc,u,t\n" % (longest, too_long))
    assert found[0] == ["a", "u", longest.decode()]
    assert found[1].startswith("a field is longer than 131,072 characters")  # pyright: ignore[reportAttributeAccessIssue]
    assert found[2] == ["c", "u", "t"]


def test_a_file_without_newlines_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "BLOCK", 1000)
    monkeypatch.setattr(csv_file, "MAX_ROW", 1000)
    for module in (csv_file, json_lines):
        monkeypatch.setattr(module, "MAX_LINE", 1000)
    with pytest.raises(CatalogError, match="row 2 is longer than 1,000 bytes"):
        csv_rows(tmp_path, b"a,u,t\n" + b"x" * 5000)
    with pytest.raises(CatalogError, match="row 2 is longer than 1,000 bytes"):
        staged(tmp_path / "shop.jsonl", b"{}\n" + b"x" * 5000)


cells = st.text(st.sampled_from('ab",\n\r é👟\x00;'), max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(cells, cells, cells), max_size=20),
    block=st.integers(1, 60),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_csv_writers_write_is_read_back_whatever_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, ...]], block: int, end: str
) -> None:
    text = io.StringIO()
    # With a bare \n the writer would leave a \r unquoted.
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL if end == "\n" else csv.QUOTE_MINIMAL).writerows(rows)
    body = text.getvalue().encode()
    with monkeypatch.context() as patch:
        patch.setattr(text_file, "BLOCK", max(block, len(HEADER)))
        assert csv_rows(tmp_path, body) == [list(row) for row in rows]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text(st.sampled_from('ab",,\n\n'), max_size=80).map(str.encode), block=st.integers(0, 40))
def test_any_bytes_give_the_same_rows_whatever_the_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, block: int
) -> None:
    whole = csv_rows(tmp_path, body)
    with monkeypatch.context() as patch:
        patch.setattr(text_file, "BLOCK", len(HEADER) + block)
        assert csv_rows(tmp_path, body) == whole
        patch.setattr(csv_file, "_quick", lambda *_: None)
        assert csv_rows(tmp_path, body) == whole


# ── JSON lines ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_json_rows_and_unreadable_rows(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    good = b'{"image_url":"u","product_id":%d}\n' * 3 % (1, 123456789012345678901234567890, 3)
    lines = [
        b'{"image_url":["u","v"],"product_id":"a\\u00e9","title":"\xf0\x9f\x91\x9f","x":{"y":1}}',
        b"", b"  ", b'{"product_id":"b",', b"[1]", b'"text"', b'{"product_id":"\xff"}', b'{"product_id":"\\ud800"}',
        b'{"product_id": null, "image_url": null, "new": 1.50}\r',
    ]  # fmt: skip
    found = staged(tmp_path / "shop.ndjson", MARK + b"\n".join(lines) + b"\n" + good * 100, con)
    assert found[:7] == [
        ['["u","v"]', "aé", "👟", '{"y":1}', None],
        'not JSON: {"product_id":"b",',
        "not a JSON object: [1]",
        'not a JSON object: "text"',
        'not UTF-8: byte 0xff: {"product_id":"\ufffd"}',
        'not JSON: {"product_id":"\\ud800"}',
        [None, None, None, None, "1.5"],
    ]
    assert [row[1] for row in found[7:10]] == ["1", "123456789012345678901234567890", "3"]
    assert len(found) == 307


def test_json_columns_are_in_order_of_appearance_and_checked(tmp_path: Path, con: duckdb.DuckDBPyConnection) -> None:
    path = tmp_path / "shop.jsonl"
    found = staged(path, b'{"b":1,"image_url":"u"}\n{"a":2,"Product_ID":"p","b":3}', con)
    assert found == [["1", "u", None, None], ["3", None, "2", "p"]]
    for content, message in [
        (b"", "is empty"),
        (b"[1]\n[2]\n", "no line is a JSON object; the first is: "),
        (b'{"product_id":1}', "no column 'image_url'"),
        (b'{"product_id":1,"image_url":"u","Price":1}\n{"price":2}', "same name"),
        (b'{"product_id":1,"image_url":"u","":1}', "column 3 has no name"),
    ]:
        with pytest.raises(CatalogError, match=message):
            staged(path, content, con)


def test_json_lines_that_are_cut_by_blocks(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "BLOCK", 7)
    content = b"".join(b'{"product_id":"p%d","image_url":"u"}\n' % number for number in range(50))
    assert [row[0] for row in staged(tmp_path / "shop.jsonl", content, con)] == [f"p{number}" for number in range(50)]
