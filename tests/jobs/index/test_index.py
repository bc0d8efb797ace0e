"""The index step: rows of the segment, and where every row of the catalog ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from artifacts.errors import StepFailed
from artifacts.segments.segment import Segment
from artifacts.settings import Settings
from jobs.download.step import download_shard
from tests.encoders import ColourWords
from tests.pipeline import draw, prepared, run_index, small_settings, write_small_catalog

BAD_ROWS = [
    {"product_id": "gone", "image_url": "images/none.jpg"},
    {"product_id": "text", "image_url": "images/text.jpg"},
    {"product_id": "cut", "image_url": "images/cut.jpg"},
    {"product_id": "off", "image_url": "images/000.jpg", "is_active": "false"},
    {"product_id": "cheap", "image_url": "images/000.jpg", "price": "-1"},
    {"product_id": "two", "image_url": '["images/two.jpg", "images/none.jpg", "images/000.jpg"]', "title": "Two"},
]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    extra = [{**row, "is_active": row.get("is_active", "")} for row in BAD_ROWS]
    rows = [{name: value for name, value in row.items() if name != "is_active" or value} for row in extra]
    # is_active is a column of its own: every row needs it in the header
    path = write_small_catalog(tmp_path / "shop", extra=[])
    text = path.read_text().splitlines()
    header = [*text[0].split(","), "is_active"]
    lines = [",".join(header), *(f"{line},true" for line in text[1:])]
    for row in rows:
        cells = [row.get(name, "true" if name == "is_active" else "") for name in header]
        lines.append(",".join('"' + cell.replace('"', '""') + '"' for cell in cells))
    path.write_text("\n".join(lines) + "\n")
    images = path.parent / "images"
    (images / "text.jpg").write_text("this is no picture")
    draw(images / "two.jpg", "green", "circle", 99)
    (images / "cut.jpg").write_bytes((images / "000.jpg").read_bytes()[:700])
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return small_settings(tmp_path, max_reject_rate=0.5)


def test_every_row_is_indexed_or_rejected_with_a_reason(catalog: Path, settings: Settings) -> None:
    context = prepared(catalog, settings)
    counts = run_index(context).report.counts
    assert counts.input_rows == 36 + 6
    assert counts.indexed == 37
    assert counts.pictures == 38  # `two` has two good pictures
    assert counts.rejected == {
        "file_not_found": 1, "not_an_image": 1, "truncated_image": 1, "inactive": 1, "bad_value": 1,
    }  # fmt: skip
    assert counts.failed_pictures == {"file_not_found": 1}
    with context.workspace.candidate.open("rejects.parquet") as file:
        rejects = {row["product_id"]: row for row in pq.read_table(file).to_pylist()}
    assert set(rejects) == {"gone", "text", "cut", "off", "cheap"}
    assert "price" in rejects["cheap"]["detail"]
    assert "-1" in rejects["cheap"]["detail"]


def test_rows_hold_the_product_the_picture_and_its_vector(catalog: Path, settings: Settings) -> None:
    context = prepared(catalog, settings)
    candidate = run_index(context).report
    segment = Segment(context.store.segment_path(candidate.segments[0].id))
    rows = segment.products.take(range(segment.info.rows))
    two = [(position, row) for position, row in enumerate(rows) if row["product_id"] == "two"]
    assert [(row["picture"], row["image_url"]) for _, row in two] == [(0, "images/two.jpg"), (2, "images/000.jpg")]
    assert two[1][0] == two[0][0] + 1
    encoder = ColourWords()
    encoder.spec = settings.encoder
    for position, row in enumerate(rows):
        with Image.open(catalog.parent / row["image_url"]) as image:
            expected = encoder.encode_images([image.convert("RGB")])[0]
        # the stored picture was compressed once more, and the vector rounded to float16
        assert segment.vectors.gather(np.array([position]))[0].astype(np.float32) @ expected > 0.99
    assert segment.thumbnails is not None
    assert segment.thumbnails.get(two[0][0])
    segment.close()


def test_index_without_changes_builds_nothing(catalog: Path, settings: Settings) -> None:
    context = prepared(catalog, settings)
    first = run_index(context)
    again = run_index(context)
    assert (first.changed, again.changed) == (True, False)
    assert again.report.segments == first.report.segments


def test_damaged_segment_is_built_again(catalog: Path, settings: Settings) -> None:
    context = prepared(catalog, settings)
    first = run_index(context)
    vectors = context.store.segment_path(first.report.segments[0].id) / "part-00000/vectors.f16"
    vectors.chmod(0o644)
    vectors.write_bytes(vectors.read_bytes()[:-2])
    again = run_index(context)
    assert again.changed
    Segment(context.store.segment_path(again.report.segments[0].id)).close()


def test_settings_that_lead_to_the_same_index_make_no_other_segment(catalog: Path, settings: Settings) -> None:
    context = prepared(catalog, settings)
    flat = run_index(context)
    few = settings.model_copy(update={"codec": "sq8", "flat_max_rows": 30_000})
    same = run_index(replace(context, config=few.pipeline))
    assert not same.changed
    assert same.report.segments == flat.report.segments
    assert same.report.settings["codec"] == "sq8"
    smaller = settings.model_copy(update={"thumbnail_side": 100})
    other = run_index(replace(context, config=smaller.pipeline))
    assert other.changed
    assert other.report.segments != flat.report.segments


def test_too_many_products_without_pictures_stop_the_build(catalog: Path, settings: Settings) -> None:
    context = prepared(catalog, settings)
    strict = settings.model_copy(update={"max_reject_rate": 0.05})
    with pytest.raises(StepFailed, match=r"3 of 42 products .*max_reject_rate 5%.*for example"):
        run_index(replace(context, config=strict.pipeline))
    assert context.store.folder.names("segments") == []


def test_catalog_without_usable_pictures_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "catalog.csv").write_text("product_id,image_url\na,x.jpg\nb,y.jpg\n")
    settings = small_settings(tmp_path)
    context = prepared(tmp_path / "catalog.csv", settings)
    with pytest.raises(StepFailed, match=r"none of the 2 products has a usable picture: file_not_found \(2\)"):
        run_index(context)


def test_shards_that_are_missing_are_named(catalog: Path, settings: Settings) -> None:
    context = prepared(catalog, settings)
    context.workspace.images.discard_report(1)
    with pytest.raises(StepFailed, match=r"shards \[1\] of 2 have not been done"):
        run_index(context)


def test_picture_that_is_newer_than_its_shards_vectors_stops_the_build(catalog: Path, settings: Settings) -> None:
    """A refresh may have fetched it again; the product must not be rejected for it."""
    context = prepared(catalog, settings)
    draw(catalog.parent / "images/001.jpg", "red", "circle", 99)
    for shard in range(context.workspace.shards):
        download_shard(context.workspace, shard, context.config.download)
    with pytest.raises(StepFailed, match=r"shard \d+ has pictures that are not embedded yet; run the embed step again"):
        run_index(context)
