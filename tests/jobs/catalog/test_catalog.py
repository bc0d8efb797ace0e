"""The catalog step as a whole: what it writes, when it skips a catalog, when it refuses one."""

from __future__ import annotations

import csv
import json
import os
import resource
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.errors import CatalogError, StepFailed
from artifacts.schema import CATALOG_RANGES, REJECTS, Reason, catalog_schema, shard_of
from artifacts.storage import Folder
from jobs.catalog.report import CatalogReport, read_catalog_report
from jobs.catalog.shards import read_products
from jobs.catalog.step import validate_catalog
from jobs.workspace.records import from_json, to_json
from jobs.workspace.shards import shard_name
from jobs.workspace.workspace import Workspace

HEADER = "product_id,image_url,title,price,is_active"


def write(path: Path, *lines: str) -> str:
    """Write a CSV of these lines; return its path."""
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return str(path)


def run(source: str, workspace: Workspace, shards: int = 3, max_reject_rate: float = 1) -> CatalogReport:
    return validate_catalog(source, workspace, max_reject_rate)


def products(workspace: Workspace, shards: int = 3) -> list[dict]:
    """Return the accepted products of all shards."""
    return [row for shard in range(shards) for row in read_products(workspace, shard).to_pylist()]


def rejects(workspace: Workspace) -> list[tuple]:
    """Return the rows of rejects.parquet: input_row, product_id, reason, detail."""
    table = pq.read_table(workspace.folder.local("catalog/rejects.parquet"))
    assert table.schema == REJECTS
    return [tuple(row.values()) for row in table.to_pylist()]


def content(workspace: Workspace) -> dict[str, bytes]:
    """Return the bytes of the step's Parquet files by name."""
    folder = workspace.folder / "catalog"
    return {name: folder.read_bytes(name) for name in folder.names() if name.endswith(".parquet")}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(str(tmp_path / "ws"), 3)


def test_catalog_step_writes_shards_rejects_and_a_report(tmp_path: Path, workspace: Workspace) -> None:
    lines = [f"p{number:03},{number}.jpg,Title {number},{number}.5,true" for number in range(50)]
    report = run(write(tmp_path / "shop.csv", *lines, "p001,again.jpg,,,", ",x.jpg,,,", "off,x.jpg,,,no"), workspace)

    assert (report.input_rows, report.ok) == (53, 50)
    assert report.rejected == {"duplicate_product_id": 1, "inactive": 1, "missing_product_id": 1}
    assert (report.base, report.shards, report.skipped, report.accepted) == (str(tmp_path), 3, False, True)
    assert report.source == str(tmp_path / "shop.csv")
    assert read_catalog_report(workspace) == report
    assert from_json(CatalogReport, to_json(report)) == report
    assert rejects(workspace) == [
        (51, "p001", "duplicate_product_id", "product_id: p001 is already in row 2"),
        (52, None, "missing_product_id", "product_id is empty"),
        (53, "off", "inactive", "is_active: no"),
    ]
    for shard, shard_report in enumerate(workspace.catalog.reports()):
        table = read_products(workspace, shard)
        assert table.schema == catalog_schema({})
        ids = table["product_id"].to_pylist()
        assert ids == sorted(ids)
        assert {shard_of(product_id, 3) for product_id in ids} <= {shard}
        assert (shard_report.step, shard_report.rows, shard_report.ok) == ("catalog", len(ids), len(ids))
    first = next(row for row in products(workspace) if row["product_id"] == "p001")
    assert first["image_url"] == ["1.jpg"]
    assert (first["title"], first["price"], first["is_active"], first["brand"]) == ("Title 1", 1.5, True, None)


def test_empty_shards_are_written(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path / "ws"), 7)
    run(write(tmp_path / "shop.csv", "a,a.jpg,,,"), workspace, shards=7)
    tables = [read_products(workspace, shard) for shard in range(7)]
    assert sorted(len(table) for table in tables) == [0] * 6 + [1]
    assert all(table.schema == catalog_schema({}) for table in tables)
    assert not [name for name in (tmp_path / "ws/catalog").iterdir() if name.name.startswith(".tmp-")]


def test_unchanged_catalog_is_skipped_and_its_files_kept(tmp_path: Path, workspace: Workspace) -> None:
    source = write(tmp_path / "shop.csv", "a,a.jpg,,,", "b,b.jpg,,,")
    first = run(source, workspace)

    def times() -> dict[str, int]:
        files = workspace.folder.local("catalog").iterdir()
        return {path.name: path.stat().st_mtime_ns for path in files if path.name != "report.json"}

    before = times()
    second = run(source, workspace)
    assert second.skipped
    assert second.read_at > first.read_at
    assert (second.input, second.ok, second.base) == (first.input, first.ok, first.base)
    assert times() == before


@pytest.mark.parametrize("missing", ["report.json", "rejects.parquet", "shard-00001.parquet", "shard-00002.json"])
def test_missing_file_is_written_again(tmp_path: Path, workspace: Workspace, missing: str) -> None:
    source = write(tmp_path / "shop.csv", "a,a.jpg,,,", "b,b.jpg,,,", "c,c.jpg,,,", "c,,,,")
    run(source, workspace)
    before = content(workspace)
    workspace.folder.remove(f"catalog/{missing}")
    assert not run(source, workspace).skipped
    assert content(workspace) == before
    assert run(source, workspace).skipped


def test_shard_bytes_depend_only_on_the_rows_of_the_shard(tmp_path: Path) -> None:
    lines = [f"p{number:03},{number}.jpg,T,1,true" for number in range(60)]
    one, two, three = (Workspace.open(str(tmp_path / name), 3) for name in ("1", "2", "3"))
    run(write(tmp_path / "a.csv", *lines), one)
    run(write(tmp_path / "b.csv", *reversed(lines)), two)
    run(write(tmp_path / "c.csv", *lines[:30], "p030,changed.jpg,T,1,true", *lines[31:], "x,,,,"), three)
    assert content(one) == content(two)
    changed = shard_of("p030", 3)
    for shard in range(3):
        same = content(one)[shard_name(shard)] == content(three)[shard_name(shard)]
        assert same == (shard != changed)
    digests = [[report.sha256 for report in ws.catalog.reports()] for ws in (one, three)]
    assert [shard for shard in range(3) if digests[0][shard] != digests[1][shard]] == [changed]


def test_row_groups_have_a_fixed_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.catalog.shards.GROUP_ROWS", 1000)
    workspace = Workspace.open(str(tmp_path / "ws"), 1)
    run(write(tmp_path / "a.csv", *(f"p{number:05},u,,," for number in range(4500))), workspace, shards=1)
    file = pq.ParquetFile(workspace.folder.local("catalog/shard-00000.parquet"))
    assert [file.metadata.row_group(number).num_rows for number in range(5)] == [1000] * 4 + [500]
    ids = file.read(["product_id"])["product_id"].to_pylist()
    assert ids == sorted(ids)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_too_many_rejects_fail_the_step_and_keep_the_shards(tmp_path: Path, workspace: Workspace) -> None:
    good = write(tmp_path / "good.csv", "a,a.jpg,,1,", "b,b.jpg,,1,")
    run(good, workspace)
    before = content(workspace)
    bad = write(tmp_path / "bad.csv", "a,a.jpg,,1,", "b,b.jpg,,-3.5,", "c,c.jpg,,-1,", "d,,,1,")
    for _ in range(2):  # a refused catalog is validated again, not skipped
        with pytest.raises(StepFailed) as refused:
            run(bad, workspace, max_reject_rate=0.2)
        message = str(refused.value)
        for text in ("bad.csv", "3 of 4", "75.0%", "20.0%", "2 bad_value (row 2: price: -3.5 is below 0)",
                     "1 missing_image_url (row 4: image_url is empty)", "rejects.parquet"):  # fmt: skip
            assert text in message
    assert [row[0] for row in rejects(workspace)] == [2, 3, 4]
    report = from_json(CatalogReport, workspace.folder.read_text("catalog/report.json"))
    assert not report.accepted
    assert (report.input_rows, report.ok) == (4, 1)
    with pytest.raises(StepFailed, match="was refused"):
        read_catalog_report(workspace)
    after = content(workspace)
    assert {name: after[name] for name in before if "shard" in name} == {
        name: before[name] for name in before if "shard" in name
    }
    assert not run(good, workspace).skipped
    assert content(workspace) == before
    assert read_catalog_report(workspace).accepted


def test_reject_rate_may_equal_the_limit_and_ignores_inactive_rows(tmp_path: Path, workspace: Workspace) -> None:
    inactive = [f"off{number},u,,,false" for number in range(20)]
    source = write(tmp_path / "shop.csv", *inactive, *(f"p{number},u,,," for number in range(20)), *[",u,,,"] * 10)
    assert run(source, workspace, max_reject_rate=0.2).ok == 20
    with pytest.raises(StepFailed, match="10 of 50"):
        run(source, workspace, max_reject_rate=0.19)  # not skipped because of the earlier success


def test_catalog_without_accepted_rows_fails_at_any_limit(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(StepFailed, match=r"not one of 2 rows is left.*inactive"):
        run(write(tmp_path / "shop.csv", "a,u,,,0", "b,u,,,f"), workspace)


def test_catalog_without_rows_raises_and_changes_nothing(tmp_path: Path, workspace: Workspace) -> None:
    run(write(tmp_path / "good.csv", "a,u,,,"), workspace)
    before = content(workspace)
    with pytest.raises(CatalogError, match=r"empty\.csv.*no rows"):
        run(write(tmp_path / "empty.csv"), workspace)
    assert content(workspace) == before
    assert read_catalog_report(workspace).ok == 1


def test_reading_an_empty_workspace_names_the_missing_step(workspace: Workspace) -> None:
    with pytest.raises(StepFailed, match="catalog step"):
        read_catalog_report(workspace)
    with pytest.raises(StepFailed, match="shard-00000"):
        read_products(workspace, 0)


def test_run_killed_before_its_report_is_not_skipped_later(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = write(tmp_path / "old.csv", "a,u,,,", "b,u,,,"), write(tmp_path / "new.csv", "a,v,,,", "b,v,,,")
    run(old, workspace)
    before = content(workspace)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("jobs.catalog.step.write_rejects", killed)
        with pytest.raises(KeyboardInterrupt):
            run(new, workspace)
    assert not run(old, workspace).skipped
    assert content(workspace) == before
    assert not list(workspace.folder.local("catalog").glob(".tmp-*"))


def test_stale_scratch_folders_are_removed(tmp_path: Path, workspace: Workspace) -> None:
    old, fresh = (workspace.folder.local("catalog") / name for name in (".tmp-scratch-old", ".tmp-scratch-new"))
    for folder in (old, fresh):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    run(write(tmp_path / "shop.csv", "a,u,,,"), workspace)
    assert not old.exists()
    assert fresh.exists()


def test_workspace_and_source_may_be_on_a_store(tmp_path: Path) -> None:
    store = Folder(f"memory://{tmp_path.name}")
    store.write_bytes("in/shop.csv", f"{HEADER}\na,img/a.jpg,,,\nb,,,,\n".encode())
    workspace = Workspace.open(f"memory://{tmp_path.name}/ws", 2)
    url = f"memory://{tmp_path.name}/in/shop.csv"
    report = run(url, workspace, shards=2)
    assert report.ok == 1
    assert report.base
    assert Folder(report.base).exists("shop.csv")
    assert [row["product_id"] for row in products(workspace, 2)] == ["a"]
    assert run(url, workspace, shards=2).skipped


def test_progress_reports_reading_and_then_writing(tmp_path: Path, workspace: Workspace) -> None:
    calls: list[tuple[int, int | None]] = []
    source = write(tmp_path / "shop.csv", *(f"p{number},u,,," for number in range(30)))
    validate_catalog(source, workspace, 1, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (30, None)
    assert calls[-1] == (30, 30)


def test_memory_is_bounded_for_200_000_rows(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("product_id,image_url,title,price,stock\n")
        for number in range(200_000):
            file.write(f'p{number},https://x.example/{number}.jpg,"Title, {number}",{number % 100}.5,{number}\n')
    workspace = Workspace.open(str(tmp_path / "ws"), 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = run(str(path), workspace, shards=4)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert report.ok == 200_000
    assert report.attributes == {"stock": "int64"}
    assert growth < 600  # MB; the rows as Python objects would take more
    assert sum(len(read_products(workspace, shard)) for shard in range(4)) == 200_000


# ── arbitrary rows ───────────────────────────────────────────────────────────────────────────────────────────────────

cell = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["", " ", "a", "A", "0", "00123", "-3.5", "1e999", "NaN", "inf", "12,50", "$5", "true", "no", "2024-02-30",
         "2024-02-29T10:00:00Z", '["a.jpg","a.jpg",null]', '["', "[]", "[1]", '"', '""', "a\nb", "\r\n", "x\x00y", "é",
         "e\u0301", "👟", "مرحبا", "9" * 30, "x" * 600, "b" * 10_000, "'; DROP TABLE accepted; --"]
    ),
)  # fmt: skip
COLUMNS = ("product_id", "image_url", "title", "price", "is_active", "avg_rating", "added_at", "Größe", "stock")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(*[cell] * len(COLUMNS)), min_size=1, max_size=12),
    suffix=st.sampled_from(["csv", "jsonl", "parquet"]),
)
def test_arbitrary_rows_are_counted_once_and_products_are_valid(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = folder / f"shop.{suffix}"
    if suffix == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True)) for row in rows]), path)
    workspace = Workspace.open(str(folder / "ws"), 2)
    try:
        report = run(str(path), workspace, shards=2)
    except StepFailed:
        report = from_json(CatalogReport, workspace.folder.read_text("catalog/report.json"))
        accepted = []
    else:
        accepted = products(workspace, 2)
    rejected = rejects(workspace)
    assert report.input_rows == len(rows) == report.ok + sum(report.rejected.values())
    assert len(accepted) == report.ok
    assert len(rejected) == sum(report.rejected.values())
    assert [row[0] for row in rejected] == sorted({row[0] for row in rejected})
    assert {row[2] for row in rejected} <= set(Reason)
    assert len({product["product_id"] for product in accepted}) == len(accepted)
    for product in accepted:
        assert 0 < len(product["product_id"]) <= 512
        assert product["image_url"]
        assert all(url.strip() for url in product["image_url"])
        assert product["is_active"] is not False
        for name, (low, high) in CATALOG_RANGES.items():
            assert product[name] is None or low <= product[name] <= high
        assert product["title"] is None or product["title"].strip()
