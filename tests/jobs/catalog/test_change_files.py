"""Change files: deletions, several rows of one product, and files without any row."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.errors import CatalogError, StepFailed
from jobs.catalog.changes import CatalogChanges, ChangeCounts, find_changes
from jobs.catalog.step import validate_catalog
from jobs.workspace.workspace import Workspace
from tests.jobs.catalog.changing import Row, Shop, day, deleted, kinds, product


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def prices(changes: CatalogChanges) -> dict[str, float]:
    """Return the price of each changed product."""
    table = pq.read_table(changes.changed)
    return dict(zip(table["product_id"].to_pylist(), table["price"].to_pylist(), strict=True))


# ── deletions ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_deleted_row_needs_only_its_id(shop: Shop, suffix: str) -> None:
    shop.serve([product(number, updated_at=day(5)) for number in range(4)])
    rows: list[Row] = [
        product(3, price=9.0, deleted=False, updated_at=day(6), is_active=None),
        {"product_id": "p0", "deleted": True},
        {"product_id": "p1", "deleted": True, "updated_at": day(6), "price": -1.0, "is_active": "maybe"},
        {"product_id": "p2", "deleted": True, "updated_at": day(4)},
    ]
    changes = shop.find(rows, suffix, changes_only=True)
    assert deleted(changes) == ["p0", "p1"]
    assert kinds(changes) == {"p3": "attributes"}
    assert changes.counts == ChangeCounts(4, 1, attributes=1, deleted=2, kept=1, rejected={"inactive": 3})
    assert changes.attributes == {}
    assert pq.read_table(changes.rejects)["detail"].to_pylist() == ["deleted: true"] * 3


@pytest.mark.parametrize("word", ["TRUE", "t", "yes", "1", "1.0"])
def test_deleted_accepts_the_words_of_is_active(shop: Shop, word: str) -> None:
    shop.serve([product(0), product(1), product(2)])
    path = shop.folder / "changes.csv"
    path.write_text(f"Deleted,product_id\n{word},p1\n")
    changes = find_changes(str(path), shop.state, 0, shop.folder / "scratch", changes_only=True)
    assert deleted(changes) == ["p1"]


def test_full_catalog_leaves_deleted_rows_out(shop: Shop) -> None:
    rows = [product(0, deleted="no"), product(1, deleted="yes"), product(2), {"product_id": "p3", "deleted": 1}]
    workspace = Workspace.open(str(shop.folder / "ws"), 1)
    report = validate_catalog(shop.write(rows), workspace, 0)
    assert (report.ok, report.rejected, report.attributes) == (2, {"inactive": 2}, {})
    shop.serve([product(number) for number in range(3)])
    assert deleted(shop.find(rows)) == ["p1"]


def test_deleted_that_is_no_boolean_is_a_bad_value(shop: Shop) -> None:
    rows = [product(0, deleted="2026-11-27"), product(1, deleted=None), product(2, deleted="")]
    for changes_only in (False, True):
        changes = shop.find(rows, changes_only=changes_only)
        assert pq.read_table(changes.rejects)["detail"].to_pylist() == [
            "deleted: 2026-11-27 is neither true nor false; rename the column if it is an attribute"
        ]
        assert changes.counts.new == 2


def test_deletion_with_an_invalid_time_is_rejected(shop: Shop) -> None:
    shop.serve([product(0, updated_at=day(5))])
    changes = shop.find([{"product_id": "p0", "deleted": True, "updated_at": "yesterday"}], changes_only=True)
    assert (deleted(changes), changes.counts.rejected) == ([], {"bad_value": 1})


def test_rows_without_pictures_need_the_column_deleted(shop: Shop) -> None:
    path = shop.folder / "changes.csv"
    path.write_text("product_id,price\np1,5\n")
    with pytest.raises(CatalogError, match="no column 'image_url'"):
        find_changes(str(path), None, 1, shop.folder / "1", changes_only=True)
    path.write_text("product_id,deleted\np1,true\np2,false\n")
    with pytest.raises(CatalogError, match="no column 'image_url'"):
        find_changes(str(path), None, 1, shop.folder / "2")
    changes = find_changes(str(path), None, 1, shop.folder / "3", changes_only=True)
    assert changes.counts.rejected == {"inactive": 1, "missing_image_url": 1}


# ── several rows of one product ──────────────────────────────────────────────────────────────────────────────────────


def test_later_row_of_a_product_supersedes_earlier_ones(shop: Shop) -> None:
    shop.serve([product(number, updated_at=day(1)) for number in range(5)])
    rows = [
        product(0, price=10, updated_at=day(3)),
        product(0, price=11, updated_at=day(2)),  # an earlier time
        product(1, price=12, updated_at=day(3)),
        product(1, price=13, updated_at=day(3)),  # the same time, a later row
        product(2, price=14, updated_at=day(3)),
        {"product_id": "p2", "deleted": True, "updated_at": day(4)},
        {"product_id": "p3", "deleted": True, "updated_at": day(3)},
        product(3, price=15, updated_at=day(4)),  # created again
        product(4, price=16, updated_at=day(4)),
        product(4, price=-1, updated_at=day(5)),  # rejected: the row before it counts
    ]
    changes = shop.find(rows, changes_only=True)
    assert prices(changes) == {"p0": 10, "p1": 13, "p3": 15, "p4": 16}
    assert deleted(changes) == ["p2"]
    assert changes.counts == ChangeCounts(
        10, 4, attributes=4, deleted=1, superseded=4, rejected={"bad_value": 1, "inactive": 1}
    )
    full = shop.find(rows)
    assert (full.counts.superseded, (full.counts.rejected or {})["duplicate_product_id"]) == (0, 5)


def test_row_without_a_time_counts_by_its_position(shop: Shop) -> None:
    shop.serve([product(number) for number in range(4)])
    changes = shop.find(
        [
            product(0, price=10, updated_at=day(9)),
            {"product_id": "p0", "deleted": True},
            product(1, price=11),
            product(1, price=12, updated_at=day(2)),
            product(2, price=13, updated_at=day(9)),
            product(2, price=14),
            product(2, price=15, updated_at=day(3)),
            product(2, price=16, updated_at=day(2)),
            product(3, price=17),
            product(3, price=18),
        ],
        changes_only=True,
    )
    assert deleted(changes) == ["p0"]
    assert prices(changes) == {"p1": 12, "p2": 15, "p3": 18}
    assert changes.counts.superseded == 6


def test_rows_of_a_change_file_act_as_if_applied_one_after_another(shop: Shop) -> None:
    random_ = random.Random(14)
    rows = [
        product(random_.randrange(8), price=price, updated_at=day(random_.randrange(1, 6)))
        | ({"deleted": True} if random_.random() < 0.3 else {})
        for price in range(60)
    ]
    last: dict[str, Row] = {}
    for row in rows:
        if row["product_id"] not in last or row["updated_at"] >= last[row["product_id"]]["updated_at"]:
            last[row["product_id"]] = row
    changes = shop.find(rows, changes_only=True)
    assert prices(changes) == {name: row["price"] for name, row in last.items() if "deleted" not in row}
    assert deleted(changes) == sorted(name for name, row in last.items() if "deleted" in row)
    counts = changes.counts
    assert counts.input_rows == counts.accepted + counts.superseded + sum((counts.rejected or {}).values())


# ── nothing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("changes.csv", b""),
        ("changes.csv", b"\n \n"),
        ("changes.csv", b"product_id,image_url,size\n"),
        ("changes.csv", b"product_id,deleted\n"),
        ("changes.jsonl", b""),
        ("changes.ndjson", b"\n\n"),
        ("changes.jsonl.gz", gzip.compress(b"")),
        ("parts/1.csv", b""),
        ("parts/1.jsonl", b""),
    ],
)
def test_change_file_without_rows_changes_nothing(shop: Shop, name: str, content: bytes) -> None:
    shop.serve([product(0, size="M")])
    path = shop.folder / "empty" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    source = path.parent if "/" in name else path
    types = {"size": pa.string()}
    changes = find_changes(str(source), shop.state, 0, shop.folder / "1", changes_only=True, served_types=types)
    assert changes.counts == ChangeCounts(rejected={})
    assert (kinds(changes), deleted(changes), changes.watermark) == ({}, [], None)
    assert changes.parts.keys() == {path.name}
    with pytest.raises(CatalogError, match=r"empty|no rows|no column 'image_url'"):
        find_changes(str(source), shop.state, 0, shop.folder / "2")


def test_complete_folder_without_files_changes_nothing(shop: Shop) -> None:
    shop.serve([product(0)])
    folder = shop.folder / "changes/date=2026-11-27"
    folder.mkdir(parents=True)
    source = f"{shop.folder}/changes/date={{date}}"
    with pytest.raises(CatalogError, match="has no partition"):
        find_changes(source, shop.state, 0, shop.folder / "1", changes_only=True)
    (folder / "_SUCCESS").touch()
    changes = find_changes(source, shop.state, 0, shop.folder / "2", changes_only=True)
    assert changes.counts == ChangeCounts(rejected={})
    with pytest.raises(CatalogError, match="the catalog is empty"):
        find_changes(source, shop.state, 0, shop.folder / "3")


def test_parquet_without_rows_changes_nothing(shop: Shop) -> None:
    shop.serve([product(0)])
    path = shop.folder / "changes.parquet"
    pq.write_table(pa.table({"product_id": pa.array([], pa.string()), "deleted": pa.array([], pa.bool_())}), path)
    changes = find_changes(str(path), shop.state, 0, shop.folder / "1", changes_only=True)
    assert changes.counts == ChangeCounts(rejected={})


def test_change_source_that_does_not_exist_is_an_error(shop: Shop) -> None:
    for name in ("missing.csv", "missing-*.csv"):
        with pytest.raises(CatalogError, match="missing"):
            find_changes(str(shop.folder / name), None, 0, shop.folder / name.replace("*", "x"), changes_only=True)


@pytest.mark.parametrize(
    ("bad", "good", "refused"),
    [(1, 1, False), (4, 0, False), (5, 0, True), (19, 1, False), (20, 20, False), (21, 19, True)],
)
def test_changes_are_refused_for_many_bad_rows_and_not_for_a_few(
    shop: Shop, bad: int, good: int, refused: bool
) -> None:
    rows = [product(number, price=-1 if number < bad else 1) for number in range(bad + good)]

    def find() -> CatalogChanges:
        return shop.find(rows, changes_only=True, max_reject_rate=0.5)

    if refused:
        with pytest.raises(StepFailed, match=rf"{bad} of {bad + good} rows are rejected .*LOOKALIKE_MAX_REJECT_RATE"):
            find()
    else:
        assert (find().counts.new, find().counts.rejected) == (good, {"bad_value": bad})


def test_all_changes_may_be_rejected_where_every_row_may(shop: Shop) -> None:
    rows = [product(number, price=-1) for number in range(30)]
    assert shop.find(rows, changes_only=True, max_reject_rate=1.0).counts.rejected == {"bad_value": 30}


# ── watermark ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_watermark_is_the_greatest_time_but_never_in_the_future(shop: Shop) -> None:
    before = datetime.now(UTC)
    changes = shop.find([product(0, updated_at=day(3)), product(1, updated_at=day(5), price=-1)], changes_only=True)
    assert changes.watermark == datetime(2026, 11, 5, tzinfo=UTC)
    future = (before + timedelta(days=400)).isoformat()
    changes = shop.find([product(0, updated_at=future)], changes_only=True)
    assert changes.watermark is not None
    assert before <= changes.watermark <= datetime.now(UTC)


def test_watermark_does_not_go_back(shop: Shop) -> None:
    since = datetime(2026, 11, 5, tzinfo=UTC)
    assert shop.find([product(0, updated_at=day(3))], changes_only=True, since=since).watermark == since
    assert shop.find([product(0)], changes_only=True, since=since).watermark == since
    assert shop.find([product(0)], changes_only=True).watermark is None
