"""Rows of a part: each picture with its product, vector and thumbnail, in memory that no shard's size decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from artifacts.config import PipelineConfig
from artifacts.encoders.identity import encoder_identity
from artifacts.errors import StepFailed
from artifacts.pictures import thumbnail
from artifacts.products.table import ARROW_FILE
from artifacts.schema import IMAGES, OK, Reason, is_http, picture_list, picture_source
from artifacts.segments.info import VECTORS_FILE
from artifacts.segments.thumbnails import THUMBNAILS_FILE, Thumbnails
from artifacts.settings import Settings
from jobs.bench.build.encoder import drawn_encoder
from jobs.bench.build.worker import measured, processes
from jobs.bench.build.workspace import draw_workspace
from jobs.index.parts import PartTask, write_part
from jobs.index.plan import IndexPlan
from jobs.index.train import run_train
from jobs.steps import StepContext
from jobs.workspace.workspace import Workspace
from tests.jobs.index.shards import READ_AT, SIDE, DrawnShard, draw_shard, join, peak_mb_of_join

_NO_VECTOR = "the encoder returned no usable vector for the picture"


@pytest.fixture(scope="module")
def drawn() -> DrawnShard:
    shard = draw_shard(2500, seed=1)
    most = Counter(row["product_id"] for row in shard.pictures).most_common(1)[0][1]
    assert most == 900, "a product that is in several batches"
    return shard


# ── what is joined ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_have_the_product_vector_and_thumbnail_of_their_picture(drawn: DrawnShard, tmp_path: Path) -> None:
    joined = join(drawn.write(tmp_path), tmp_path, first_row=50)
    good = [row for row in drawn.pictures if row["status"] == OK and drawn.vectors[row["sha256"]] is not None]
    products = {row["product_id"]: row for row in drawn.products}
    with pa.memory_map(str(joined.folder / ARROW_FILE)) as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    assert [(row["product_id"], row["picture"], row["image_url"]) for row in rows] == [
        (row["product_id"], row["picture"], row["url"]) for row in good
    ]
    for row in rows:
        product = products[row["product_id"]]
        assert [row[name] for name in ("title", "price", "color", "updated_at")] == [
            product[name] for name in ("title", "price", "color", "updated_at")
        ]
    for vector, row in zip(joined.vectors, good, strict=True):
        assert vector.tolist() == pytest.approx(drawn.vectors[row["sha256"]], abs=0)
    thumbnails = Thumbnails(joined.folder / THUMBNAILS_FILE)
    made = thumbnails.take(np.arange(50, 50 + len(good)))
    assert made == [None if is_http(row["url"]) else thumbnail(row["jpeg"], SIDE) for row in good]
    assert 0 < sum(jpeg is not None for jpeg in made) < len(good)
    thumbnails.close()


def test_state_has_every_picture_and_where_it_ended(drawn: DrawnShard, tmp_path: Path) -> None:
    state = join(drawn.write(tmp_path), tmp_path, first_row=50).state.to_pylist()
    products = {row["product_id"]: row for row in drawn.products}
    expected, row_number = [], 50
    for product_id, group in groupby(drawn.pictures, key=lambda row: row["product_id"]):
        pictures = list(group)
        digest = picture_list([(row["url"], row["stamp"]) for row in pictures])
        for position, row in enumerate(pictures):
            is_bad = row["status"] == OK and drawn.vectors[row["sha256"]] is None
            is_good = row["status"] == OK and not is_bad
            expected.append(
                {
                    "product_id": product_id, "first": position == 0, "picture": row["picture"], "in_delta": False,
                    "status": Reason.BAD_EMBEDDING if is_bad else row["status"],
                    "row": row_number if is_good else None,
                    "source": picture_source(row["url"], row["stamp"]),
                    "sha256": bytes.fromhex(row["sha256"])[:16] if is_good else None,
                    "attributes": products[product_id]["attributes_digest"], "pictures": digest,
                    "updated_at": products[product_id]["updated_at"], "applied_at": READ_AT,
                }
            )  # fmt: skip
            row_number += is_good
    assert state == expected


def test_products_without_a_usable_picture_are_rejected_for_the_first_one(drawn: DrawnShard, tmp_path: Path) -> None:
    tally = join(drawn.write(tmp_path), tmp_path).tally
    indexed, rejects, failed = 0, [], Counter[str]()
    for product_id, group in groupby(drawn.pictures, key=lambda row: row["product_id"]):
        failures: list[tuple[str, str]] = []
        pictures = list(group)
        for row in pictures:
            if row["status"] != OK:
                failures.append((row["status"], f"{row['url']}: {row['detail']}"))
            elif drawn.vectors[row["sha256"]] is None:
                failures.append((Reason.BAD_EMBEDDING, f"{row['url']}: {_NO_VECTOR}"))
        if len(failures) < len(pictures):
            indexed += 1
            failed.update(reason for reason, _ in failures)
        else:
            rejects.append({"product_id": product_id, "reason": failures[0][0], "detail": failures[0][1]})
    assert tally.rejects == rejects
    assert tally.rejected == Counter(reject["reason"] for reject in rejects)
    assert tally.failed_pictures == failed
    assert tally.indexed == indexed
    assert min(len(rejects), indexed, failed.total()) > 0


def test_empty_shard_adds_nothing(tmp_path: Path) -> None:
    joined = join(DrawnShard().write(tmp_path), tmp_path)
    assert len(joined.vectors) == len(joined.state) == joined.tally.indexed == 0


def test_part_has_no_other_files(drawn: DrawnShard, tmp_path: Path) -> None:
    joined = join(drawn.write(tmp_path), tmp_path)
    assert {path.name for path in joined.folder.iterdir()} == {VECTORS_FILE, ARROW_FILE, THUMBNAILS_FILE}


def test_jpegs_of_web_pictures_are_not_read(tmp_path: Path) -> None:
    shard = draw_shard(600, seed=2)
    for row in shard.pictures:
        row["url"] = f"https://shop.example/{row['url']}"
    without = pa.schema([column for column in IMAGES if column.name != "jpeg"])
    joined = join(shard.write(tmp_path, images=without), tmp_path)
    assert len(joined.vectors)
    assert not (joined.folder / THUMBNAILS_FILE).exists()


# ── shards that do not belong together ───────────────────────────────────────────────────────────────────────────────


def test_pictures_that_are_not_embedded_are_refused(tmp_path: Path) -> None:
    shard = draw_shard(300, seed=3)
    del shard.vectors[next(row["sha256"] for row in shard.pictures if row["status"] == OK)]
    with pytest.raises(StepFailed, match="shard 0 has pictures that are not embedded yet; run the embed step again"):
        join(shard.write(tmp_path), tmp_path)


@pytest.mark.parametrize("missing", [0, 120, -1])
@pytest.mark.parametrize("rows", ["products", "pictures"])
def test_pictures_of_other_products_are_refused(tmp_path: Path, rows: str, missing: int) -> None:
    shard = draw_shard(300, seed=4)
    product_id = shard.products[missing]["product_id"]
    kept: list[dict[str, Any]] = [row for row in getattr(shard, rows) if row["product_id"] != product_id]
    setattr(shard, rows, kept)
    with pytest.raises(StepFailed, match="shard 0 has pictures of other products than the catalog's"):
        join(shard.write(tmp_path), tmp_path)


def test_vectors_that_are_not_sorted_are_refused(tmp_path: Path) -> None:
    shard = draw_shard(300, seed=5)
    shard.vectors = dict(reversed(shard.vectors.items()))
    with pytest.raises(StepFailed, match="is not sorted by sha256"):
        join(shard.write(tmp_path), tmp_path)


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_memory_does_not_grow_with_the_vectors_of_a_shard(tmp_path: Path) -> None:
    """Product rows wait for a batch of the Arrow file, and are copied to it: about 350 bytes of a drawn product."""
    peaks: dict[int, float] = {}
    for rows in (20_000, 120_000):
        workspace = Workspace.open(str(tmp_path / f"{rows}"), 1)
        identity = encoder_identity(drawn_encoder(512), "cpu", tmp_path / "cache")
        draw_workspace(workspace, identity, rows, seed=0)
        peaks[rows] = peak_mb_of_join(workspace, tmp_path / f"part-{rows}", slug=identity.slug, dim=512)
    grown = (peaks[120_000] - peaks[20_000]) * 2**20 / 100_000
    assert grown < 1024, f"{grown:.0f} bytes for each row, as much as its vector has: {peaks}"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_jpegs_of_a_shard(tmp_path: Path) -> None:
    padding = np.random.default_rng(0).bytes(60_000)
    peaks: dict[int, float] = {}
    for products in (600, 2400):
        (tmp_path / f"{products}").mkdir()
        shard = draw_shard(products, seed=6)
        for row in shard.pictures:
            row["url"] = f"images/{row['url'].rpartition('/')[2]}"
            row["jpeg"] = row["jpeg"] + padding if row["status"] == OK else None
        peaks[len(shard.pictures)] = peak_mb_of_join(shard.write(tmp_path / f"{products}"), tmp_path / f"p-{products}")
    (few, low), (many, high) = peaks.items()
    assert high - low < 0.2 * 0.06 * (many - few), f"MB by pictures of 0.06 MB: {peaks}"


@pytest.mark.slow
def test_memory_of_a_part_does_not_grow_with_the_catalog(tmp_path: Path) -> None:
    """A larger catalog has more lists, and so more centroids: 64 kB here."""
    peaks: dict[int, float] = {}
    for shards in (2, 8):
        settings = Settings(shards=shards, rows_per_index=10_000, codec="pq", cache=tmp_path / "cache")
        config = settings.pipeline
        config = replace(
            config, workspace=str(tmp_path / f"{shards}"), releases=str(tmp_path / f"releases-{shards}"),
            encoder=replace(config.encoder, encoder=drawn_encoder(64), device="cpu"),
            index=replace(config.index, flat_max_rows=0),
        )  # fmt: skip
        workspace = Workspace.open(config.workspace, shards)
        identity = encoder_identity(config.encoder.encoder, "cpu", config.cache)
        draw_workspace(workspace, identity, 10_000 * shards, seed=0)
        plan = run_train(StepContext.open(config)).report
        assert [part.rows for part in plan.parts] == [10_000] * shards
        peaks[shards] = _peak_mb_of_part(config, plan, shards - 1)
    assert peaks[8] - peaks[2] < 20, f"MB, by parts of 10,000 rows: {peaks}"


def _peak_mb_of_part(config: PipelineConfig, plan: IndexPlan, number: int) -> float:
    with processes(1) as pool:
        return pool.submit(measured, _write_part, config, plan, number).result()[1].peak_mb


def _write_part(config: PipelineConfig, plan: IndexPlan, number: int) -> int:
    workspace = Workspace(config.workspace, config.shards)
    task = PartTask(workspace, config.releases, config.cache, plan, config.thumbnail_side, "cpu")
    return write_part(task, number).rows
