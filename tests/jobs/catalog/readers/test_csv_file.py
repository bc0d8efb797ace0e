"""CSV files: every row is read or counted as unreadable, whatever the bytes and the blocks that they are read in."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.errors import CatalogError
from jobs.catalog.readers import csv_file, text_file
from jobs.catalog.readers.csv_file import FIELD_LIMIT, stage_csv
from tests.catalogs import stage_rows

HEADER = b"product_id,image_url,title\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read(tmp_path: Path, body: bytes, header: bytes = HEADER, name: str = "shop.csv") -> list[list[str | None] | str]:
    """Stage a CSV file; return each row as its cells, or as the message why it is unreadable."""
    # Reading CSV never uses the database.
    return stage_rows(stage_csv, tmp_path / name, header + body, duckdb.default_connection())


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b'a,u,"two\nlines"\nb,u,"say ""hi"", you"\n', [["a", "u", "two\nlines"], ["b", "u", 'say "hi", you']]),
        (b"a,u,t\r\nb,u,t", [["a", "u", "t"], ["b", "u", "t"]]),  # Windows; no newline at the end
        (b"a,u,t\rb,u,t\r", [["a", "u", "t"], ["b", "u", "t"]]),  # old Mac
        (b"\n\na,u,t\n\r\n\nb,,\n\n", [["a", "u", "t"], ["b", "", ""]]),  # empty lines
        ('é,👟,"مرحبا"\n'.encode(), [["é", "👟", "مرحبا"]]),
        (b"a\x00b,u,\x00\n", [["a\x00b", "u", "\x00"]]),
        (b'a,u,24" disc\nb,u,x\n', [["a", "u", '24" disc'], ["b", "u", "x"]]),  # quotes inside an unquoted field
        (b'a,u,""\nb,u,""""\n', [["a", "u", ""], ["b", "u", '"']]),
        (b"a,u\nb,u,t\nc,u,t,x\n", ["2 fields where the header has 3: a,u", ["b", "u", "t"],
                                    "4 fields where the header has 3: c,u,t,x"]),
    ],
)  # fmt: skip
def test_rows_are_read_or_unreadable_with_a_reason(tmp_path: Path, body: bytes, rows: list) -> None:
    assert read(tmp_path, body) == rows


@pytest.mark.parametrize(
    ("body", "first_line", "rest"),
    [
        (b'a,u,"open\nb,u,t\nc,"u",t\n', 'a,u,"open', [["b", "u", "t"], ["c", "u", "t"]]),
        (b'a,u,"open\nb,u,t\n', 'a,u,"open', [["b", "u", "t"]]),
        (b'a,u,"12" disc"\nb,u,t\n', 'a,u,"12" disc"', [["b", "u", "t"]]),
    ],
)
def test_misplaced_quote_costs_one_row(tmp_path: Path, body: bytes, first_line: str, rest: list) -> None:
    unreadable, *rows = read(tmp_path, body)
    # Which of the two problems is reported depends on the quotes in the rows that follow.
    problems = ("a quote is left open", "a quote inside a quoted field is not doubled")
    assert unreadable in [f"{problem}: {first_line}" for problem in problems]
    assert rows == rest


def test_header_may_have_a_byte_order_mark_and_blanks_around_names(tmp_path: Path) -> None:
    header = BYTE_ORDER_MARK + b' Product_ID ,"IMAGE_URL", title\n'
    assert read(tmp_path, b"a,u,t\n", header) == [["a", "u", "t"]]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiter_is_recognised_from_the_header(tmp_path: Path, delimiter: str) -> None:
    header = delimiter.join(["product_id", "image_url", "title\n"])
    body = delimiter.join(["a", "u", f'"x{delimiter}1,5"\n'])
    assert read(tmp_path, body.encode(), header.encode()) == [["a", "u", f"x{delimiter}1,5"]]


def test_undecodable_row_is_unreadable(tmp_path: Path) -> None:
    lines = [b"p%d,u,t\n" % number for number in range(200)]
    lines[7] = b"p7,u,caf\xe9\n"
    rows = read(tmp_path, b"".join(lines))
    assert rows[7] == "not UTF-8: byte 0xe9 in field 3: caf\ufffd"
    assert sum(isinstance(row, str) for row in rows) == 1


def test_many_undecodable_rows_raise_a_catalog_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"not UTF-8: 200 of 200 rows.*save it as UTF-8"):
        read(tmp_path, b"p7,u,caf\xe9\n" * 200)


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
def test_unusable_files_raise_a_catalog_error(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        read(tmp_path, b"", content)


def test_gzip_files_are_decompressed(tmp_path: Path) -> None:
    packed = gzip.compress(HEADER + b"a,u,t\n" * 1000)
    assert len(read(tmp_path, b"", packed, "shop.csv.gz")) == 1000


def test_damaged_gzip_files_raise_a_catalog_error(tmp_path: Path) -> None:
    packed = gzip.compress(HEADER + b"a,u,t\n" * 1000)
    for damaged in (packed[:-20], b"not gzip at all", packed[:30] + b"\xff" * 20 + packed[50:]):
        with pytest.raises(CatalogError, match="decompressed"):
            read(tmp_path, b"", damaged, "shop.csv.gz")


def test_field_longer_than_the_limit_costs_one_row(tmp_path: Path) -> None:
    longest, too_long = b"x" * FIELD_LIMIT, b"x" * (FIELD_LIMIT + 1)
    rows = read(tmp_path, b"a,u,%b\nb,u,%b\nc,u,t\n" % (longest, too_long))
    assert rows[0] == ["a", "u", longest.decode()]
    assert str(rows[1]).startswith("a field is longer than 131,072 characters")
    assert rows[2] == ["c", "u", "t"]


def test_row_longer_than_the_limit_stops_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "BLOCK", 1000)
    monkeypatch.setattr(csv_file, "MAX_ROW", 1000)
    monkeypatch.setattr(csv_file, "MAX_LINE", 1000)
    with pytest.raises(CatalogError, match="row 2 is longer than 1,000 bytes"):
        read(tmp_path, b"a,u,t\n" + b"x" * 5000)


cells = st.text(st.sampled_from('ab",\n\r é👟\x00;'), max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(cells, cells, cells), max_size=20),
    block=st.integers(1, 60),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_rows_of_a_csv_writer_are_read_back_for_any_block_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, ...]], block: int, line_end: str
) -> None:
    text = io.StringIO()
    # With \n the writer would leave a \r unquoted.
    quoting = csv.QUOTE_ALL if line_end == "\n" else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator=line_end, quoting=quoting).writerows(rows)
    body = text.getvalue().encode()
    with monkeypatch.context() as patch:
        patch.setattr(text_file, "BLOCK", max(block, len(HEADER)))
        assert read(tmp_path, body) == [list(row) for row in rows]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text(st.sampled_from('ab",,\n\n'), max_size=80).map(str.encode), block=st.integers(2, 90))
def test_any_bytes_yield_the_same_rows_for_any_block_size_and_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes, block: int
) -> None:
    rows = read(tmp_path, body)
    with monkeypatch.context() as patch:
        patch.setattr(text_file, "BLOCK", len(HEADER) + block)
        assert read(tmp_path, body) == rows
        # A row with too few fields makes Arrow refuse its block, so that the csv module parses it.
        assert read(tmp_path, b"x\n" + body) == ["1 fields where the header has 3: x", *rows]
