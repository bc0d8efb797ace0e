"""Changes between a catalog and the state of the served release: kinds, deletions, ordering and digests."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.errors import CatalogError, StepFailed
from artifacts.schema import (
    ATTRIBUTES_DIGEST,
    DELETIONS,
    OK,
    PICTURES_DIGEST,
    REJECTS,
    Reason,
    attributes_of,
    changes_schema,
    digest64,
    picture_list,
)
from jobs.catalog.changes import ChangeCounts, find_changes
from jobs.catalog.compare.selection import Selection
from jobs.catalog.local_pictures import LocalPictures
from jobs.catalog.shards import read_products
from jobs.catalog.step import validate_catalog
from jobs.workspace.workspace import Workspace
from tests.jobs.catalog.changing import Row, Shop, day, deleted, kinds, product


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# ── kinds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_product_is_new_where_nothing_is_served(shop: Shop) -> None:
    changes = shop.find([product(2, color="red"), product(1), product(3, price=-1), product(4, is_active=False)])
    assert kinds(changes) == {"p1": "new", "p2": "new"}
    assert changes.counts == ChangeCounts(4, 2, new=2, rejected={"bad_value": 1, "inactive": 1})
    assert changes.attributes == {"color": pa.string()}
    table = pq.read_table(changes.changed)
    assert table.schema.equals(changes_schema({"color": pa.string()}))
    assert table["product_id"].to_pylist() == ["p1", "p2"]
    assert table["image_url"].to_pylist() == [["https://x.example/1.jpg"], ["https://x.example/2.jpg"]]
    assert table["color"].to_pylist() == [None, "red"]
    assert pq.read_schema(changes.deleted).equals(DELETIONS)
    rejects = pq.read_table(changes.rejects)
    assert rejects.schema.equals(REJECTS)
    assert rejects["product_id"].to_pylist() == ["p3", "p4"]
    assert changes.base == str(shop.folder)
    assert sorted(path.name for path in changes.changed.parent.iterdir()) == [
        "changed.parquet", "deleted.parquet", "rejects.parquet",
    ]  # fmt: skip


def test_changed_products_have_the_kind_of_their_change(shop: Shop) -> None:
    shop.serve([product(number, stock=1) for number in range(6)])
    changes = shop.find(
        [
            product(0, stock=1),
            product(1, stock=2),
            product(2, stock=1, image_url="https://x.example/other.jpg"),
            product(3, stock=1, image_url=["https://x.example/3.jpg", "https://x.example/more.jpg"], price=9),
            product(4, stock=1, price=None),
            product(9, stock=1),
        ]
    )
    assert kinds(changes) == {"p1": "attributes", "p2": "pictures", "p3": "pictures", "p4": "attributes", "p9": "new"}
    assert deleted(changes) == ["p5"]
    assert changes.counts == ChangeCounts(6, 6, unchanged=1, new=1, pictures=2, attributes=2, deleted=1, rejected={})


def test_catalog_of_the_served_release_has_no_changes(shop: Shop) -> None:
    rows = [product(number, title=f"Title {number}", stock=number) for number in range(50)]
    shop.serve(rows)
    changes = shop.find(list(reversed(rows)))
    assert changes.counts == ChangeCounts(50, 50, unchanged=50, rejected={})
    assert len(pq.read_table(changes.changed)) == len(pq.read_table(changes.deleted)) == 0


def test_delta_replaces_the_state_of_the_products_that_it_names(shop: Shop) -> None:
    shop.serve([product(number) for number in range(4)])
    second = [product(0), product(1, price=50), product(4)]
    shop.apply(shop.find(second))
    assert shop.find(second).counts == ChangeCounts(3, 3, unchanged=3, rejected={})
    back = shop.find([product(number) for number in range(4)])
    assert kinds(back) == {"p1": "attributes", "p2": "new", "p3": "new"}
    assert deleted(back) == ["p4"]


def test_product_without_a_usable_picture_is_new_when_it_changes(shop: Shop) -> None:
    two = ["https://x.example/a.jpg", "https://x.example/b.jpg"]
    rows = [product(1, image_url=two), product(2, image_url=two), product(3, image_url=two)]
    failed = {("p1", 0), ("p2", 0), ("p2", 1)}
    shop.serve(rows, status=lambda name, picture: Reason.NOT_AN_IMAGE if (name, picture) in failed else OK)
    assert shop.find(rows).counts.unchanged == 3
    assert kinds(shop.find([row | {"price": 8} for row in rows])) == {
        "p1": "attributes", "p2": "new", "p3": "attributes",
    }  # fmt: skip


def test_retried_statuses_make_products_changed(shop: Shop) -> None:
    two = ["https://x.example/a.jpg", "https://x.example/b.jpg"]
    rows = [product(1, image_url=two), product(2), product(3), product(4)]
    status = {("p1", 1): Reason.TIMEOUT, ("p2", 0): Reason.TIMEOUT, ("p3", 0): Reason.NOT_AN_IMAGE}
    shop.serve(rows, status=lambda name, picture: status.get((name, picture), OK))
    assert kinds(shop.find(rows, retry_due=True)) == {"p1": "pictures", "p2": "new"}


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (Selection(), ["p1", "p2", "p3"]),
        (Selection(product_ids=frozenset({"p2", "unknown", "it's"})), ["p2"]),
        (Selection(product_ids=frozenset()), []),
        (Selection(categories=frozenset({"Mugs"})), ["p1", "p3"]),
        (Selection(updated_from=datetime(2026, 11, 2, tzinfo=UTC)), ["p2", "p3"]),
        (Selection(updated_before=datetime(2026, 11, 3, tzinfo=UTC)), ["p1", "p2"]),
        (Selection(categories=frozenset({"Mugs"}), updated_from=datetime(2026, 11, 2, tzinfo=UTC)), ["p3"]),
    ],
)
def test_forced_products_are_changed_though_equal(shop: Shop, selection: Selection, selected: list[str]) -> None:
    categories = {1: "Mugs", 2: "Shoes", 3: "Mugs"}
    rows = [product(number, category=categories[number], updated_at=day(number)) for number in categories]
    shop.serve(rows)
    assert kinds(shop.find(rows, force=selection)) == dict.fromkeys(selected, "pictures")


# ── order of events ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_row_older_than_the_served_product_is_stale(shop: Shop) -> None:
    shop.serve([product(number, updated_at=day(5)) for number in range(4)])
    changes = shop.find(
        [
            product(0, price=9, updated_at=day(4)),
            product(1, price=9, updated_at=day(5)),
            product(2, price=9, updated_at=day(6)),
            product(3, price=9),
        ],
        force=Selection(),
    )
    assert kinds(changes) == {"p1": "pictures", "p2": "pictures", "p3": "pictures"}
    assert (changes.counts.stale, changes.counts.deleted) == (1, 0)
    assert changes.watermark == datetime(2026, 11, 6, tzinfo=UTC)


def test_row_older_than_the_deletion_of_its_product_is_stale(shop: Shop) -> None:
    shop.serve([product(number, updated_at=day(1)) for number in range(4)])
    inactive = [product(number, updated_at=day(5), is_active=False) for number in range(3)]
    shop.apply(shop.find([*inactive, product(3, updated_at=day(1))]))
    changes = shop.find([product(0, updated_at=day(4)), product(1, updated_at=day(5)), product(2, updated_at=day(6))])
    assert kinds(changes) == {"p1": "new", "p2": "new"}
    assert changes.counts.stale == 1
    assert deleted(changes) == ["p3"]


def test_missing_product_is_kept_if_its_state_is_later_than_the_catalog(shop: Shop) -> None:
    shop.serve([product(1, updated_at=day(5)), product(2, updated_at=day(8)), product(3), product(4)])
    changes = shop.find([product(4, updated_at=day(7))])
    assert deleted(changes) == ["p1", "p3"]
    assert (changes.counts.deleted, changes.counts.kept) == (2, 1)
    times = pq.read_table(changes.deleted)["updated_at"].to_pylist()
    assert times == [datetime(2026, 11, 5, tzinfo=UTC), None]
    assert deleted(shop.find([product(4)])) == ["p1", "p2", "p3"]


def test_deleted_product_that_comes_back_unchanged_is_new(shop: Shop) -> None:
    rows = [product(1, updated_at=day(5)), product(2, updated_at=day(6))]
    shop.serve(rows)
    shop.apply(shop.find(rows[1:]))
    assert shop.find(rows[1:]).counts == ChangeCounts(1, 1, unchanged=1, rejected={})
    assert kinds(shop.find(rows)) == {"p1": "new"}


def test_rejected_rows_of_a_full_catalog_delete_their_products(shop: Shop) -> None:
    shop.serve([product(number, updated_at=day(5)) for number in range(6)])
    changes = shop.find(
        [
            product(0, updated_at=day(5)),
            product(1, price=-1, updated_at=day(6)),
            product(2, is_active=False, updated_at=day(6)),
            product(3, image_url=None, updated_at=day(4)),  # older than what is served
            product(4, updated_at="yesterday"),
            product(5, updated_at=day(5)),
            product(5, price=-1, updated_at=day(9)),  # a duplicate: the first row wins
            product(7, is_active=False, updated_at=day(6)),
        ]
    )
    assert deleted(changes) == ["p1", "p2", "p4"]
    assert pq.read_table(changes.deleted)["updated_at"].to_pylist()[0] == datetime(2026, 11, 6, tzinfo=UTC)
    assert (changes.counts.unchanged, changes.counts.kept) == (2, 1)
    shop.apply(changes)
    assert shop.find([product(number, updated_at=day(5)) for number in (0, 3, 5)]).counts.deleted == 0


# ── change files ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_change_file_leaves_products_that_it_does_not_name(shop: Shop) -> None:
    shop.serve([product(number) for number in range(5)])
    changes = shop.find([product(1), product(2, price=9), product(7)], changes_only=True)
    assert kinds(changes) == {"p2": "attributes", "p7": "new"}
    assert changes.counts == ChangeCounts(3, 3, unchanged=1, new=1, attributes=1, rejected={})


def test_change_file_deletes_inactive_products_and_leaves_rejected_ones(shop: Shop) -> None:
    shop.serve([product(number, updated_at=day(5)) for number in range(5)])
    changes = shop.find(
        [
            product(0, is_active=False, updated_at=day(6)),
            product(1, is_active=False, updated_at=day(4)),
            product(2, is_active=False),
            product(3, price=-1, updated_at=day(6)),
            product(8, is_active=False),  # never heard of, and no time to remember
        ],
        changes_only=True,
    )
    assert deleted(changes) == ["p0", "p2"]
    assert (changes.counts.kept, changes.counts.rejected) == (1, {"bad_value": 1, "inactive": 4})


def test_deletion_is_remembered_against_older_events(shop: Shop) -> None:
    shop.serve([product(0, updated_at=day(1)), product(1, updated_at=day(1))])
    gone = [product(0, is_active=False, updated_at=day(3)), product(9, is_active=False, updated_at=day(3))]
    shop.apply(shop.find(gone, changes_only=True))
    late = shop.find([product(0, updated_at=day(2)), product(9, updated_at=day(2))], changes_only=True)
    assert late.counts.stale == 2
    again = [product(0, is_active=False, updated_at=day(2)), product(9, is_active=False, updated_at=day(4))]
    assert deleted(shop.find(again, changes_only=True)) == ["p9"]


def test_change_file_may_hold_nothing_but_deletions(shop: Shop) -> None:
    shop.serve([product(0), product(1)])
    gone = [product(1, is_active=False)]
    assert deleted(shop.find(gone, changes_only=True, max_reject_rate=0)) == ["p1"]
    with pytest.raises(StepFailed, match="not one of 1 rows is left"):
        shop.find(gone, max_reject_rate=0)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("changes_only", [False, True])
def test_too_many_rejects_are_refused_and_named(shop: Shop, changes_only: bool) -> None:
    shop.serve([product(0), product(1)])
    rows = [product(number, price=-number) for number in range(30)]
    with pytest.raises(StepFailed, match=r"29 of 30 rows are rejected \(96.7%\).*row 2: price: -1 is below 0"):
        shop.find(rows, changes_only=changes_only, max_reject_rate=0.2)


def test_source_that_cannot_be_used_is_named(shop: Shop) -> None:
    with pytest.raises(CatalogError, match=r"shop\.jsonl.*product_id"):
        shop.find([{"id": 1}])


def test_workspace_catalog_is_left_as_it_is(shop: Shop, tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path / "ws"), 2)
    validate_catalog(shop.write([product(0)]), workspace, 1)
    before = {path: path.read_bytes() for path in workspace.catalog.folder.local().iterdir()}
    shop.find([product(0, price=9), product(1)])
    assert {path: path.read_bytes() for path in workspace.catalog.folder.local().iterdir()} == before


# ── an unchanged source ──────────────────────────────────────────────────────────────────────────────────────────────


def test_unchanged_source_is_skipped_unless_products_are_forced(shop: Shop) -> None:
    rows = [product(0), product(1)]
    first = shop.serve(rows)
    skipped = shop.find(rows, unchanged_since=first.fingerprint)
    assert skipped.skipped
    assert (skipped.fingerprint, skipped.counts) == (first.fingerprint, ChangeCounts())
    assert len(pq.read_table(skipped.changed)) == len(pq.read_table(skipped.deleted)) == 0
    assert not shop.find(rows, unchanged_since=first.fingerprint, force=Selection()).skipped
    assert not shop.find(rows, unchanged_since=first.fingerprint, retry_due=True).skipped
    assert not shop.find([product(0, price=7), product(1)], unchanged_since=first.fingerprint).skipped
    assert not shop.find(rows, unchanged_since=first.fingerprint, changes_only=True).skipped


def test_source_that_names_local_files_is_never_skipped(shop: Shop) -> None:
    first = shop.serve([product(0), product(1, image_url="a.jpg")])
    assert first.fingerprint is None


# ── digests ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_edited_local_file_is_a_changed_picture(shop: Shop) -> None:
    rows = [product(number, image_url=[f"{number}.jpg", "https://x.example/a.jpg"]) for number in range(3)]
    for number in range(2):
        (shop.folder / f"{number}.jpg").write_bytes(b"one")
    shop.serve(rows)
    assert shop.find(rows).counts.unchanged == 3
    (shop.folder / "1.jpg").write_bytes(b"two")
    os.utime(shop.folder / "1.jpg", ns=(1, 1))
    (shop.folder / "2.jpg").write_bytes(b"new")
    assert kinds(shop.find(rows)) == {"p1": "pictures", "p2": "pictures"}


def test_pictures_digest_in_sql_equals_picture_list(shop: Shop) -> None:
    (shop.folder / "a.jpg").write_bytes(b"picture")
    lists = [
        ["https://x.example/é 1.jpg"], ["HTTP://x.example/a", "https://x.example/b?c=[d]"], ["a.jpg"],
        ["//x.example/a"], ["https://x.example/a\nb", "https://x.example/c\td"],
        ["https://x.example/a", "missing.jpg"], ["http:a.jpg"], ["../a.jpg", "file:///etc/hostname"], ["ftp://x/a"],
    ]  # fmt: skip
    changes = shop.find([product(number, image_url=urls) for number, urls in enumerate(lists)])
    stamp = LocalPictures(str(shop.folder)).stamp
    expected = [picture_list([(url, stamp(url)) for url in urls]) for urls in lists]
    assert pq.read_table(changes.changed)[PICTURES_DIGEST].to_pylist() == expected


def test_attributes_digest_is_of_a_text_that_no_other_product_gives(shop: Shop) -> None:
    values = {"title": "é\t1:x\ny", "price": 1.5, "Size": "10", "stock": 7, "sale": True, "updated_at": day(2)}
    changes = shop.find([product(1) | values])
    text = "Size\t2:10\nprice\t3:1.5\nsale\t4:true\nstock\t1:7\n"
    text += "title\t8:é\t1:x\ny\nupdated_at\t22:2026-11-02 00:00:00+00\n"
    assert pq.read_table(changes.changed)[ATTRIBUTES_DIGEST].to_pylist() == [digest64(text)]


def test_attributes_digest_does_not_depend_on_the_column_type(shop: Shop) -> None:
    typed: list[Row] = [product(1, a=10, b=2.0, c=True, d=None), product(2, a=2**60, b=2.5, c=False, d=None)]
    texts: list[Row] = [product(1, a="10", b="2", c="true"), product(2, a=str(2**60), b="2.5", c="false")]
    mixed: list[Row] = [product(1, a=10, b=2, c="true", d=None), product(2, a=str(2**60), b="2.5", c=False)]
    shop.serve(typed, "parquet")
    for rows, suffix in ((texts, "jsonl"), (texts, "parquet"), (mixed, "jsonl"), (typed, "jsonl")):
        assert shop.find(rows, suffix).counts.unchanged == 2, rows


def test_empty_values_and_the_order_of_columns_do_not_matter(shop: Shop) -> None:
    shop.serve([product(1, a="x", b="y", title=" ")])
    row = product(1, c=None, b=" y ", a="x", brand="", is_active=True)
    assert shop.find([dict(reversed(list(row.items())))]).counts.unchanged == 1


def test_served_types_hold_for_a_change_file(shop: Shop) -> None:
    base = shop.serve([product(1, size="1.10", weight=1.5, n=1, t=None), product(2, size="M", weight=3, n=2, t=True)])
    same = [product(1, size="1.10", weight=1.5, n=1)]
    change = [product(3, size=5, weight=2, n=None, t="maybe")]
    served = attributes_of(pq.read_schema(base.changed))
    path = shop.folder / "changes.csv"
    path.write_text("product_id,image_url,price,size,weight,n\np1,https://x.example/1.jpg,1,1.10,1.5,1\n")
    changes = find_changes(str(path), shop.state, 1, shop.folder / "csv", changes_only=True, served_types=served)
    assert changes.counts.unchanged == len(same)
    changes = shop.find(change, changes_only=True, served_types=served)
    assert {name: str(dtype) for name, dtype in changes.attributes.items()} == {
        "size": "string", "weight": "double", "n": "int64", "t": "string",
    }  # fmt: skip
    assert pq.read_table(changes.changed)["size"].to_pylist() == ["5"]


def test_shards_have_the_digest_of_the_changes(shop: Shop, tmp_path: Path) -> None:
    rows = [product(number, stock=number, title="x") for number in range(20)]
    workspace = Workspace.open(str(tmp_path / "ws"), 1)
    validate_catalog(shop.write(rows), workspace, 1)
    shard, changed = read_products(workspace, 0), pq.read_table(shop.find(rows).changed)
    assert shard.equals(changed.select(shard.schema.names))
