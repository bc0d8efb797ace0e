"""The embed step: one unit vector for each distinct picture, made once for as long as the encoder stays the same."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifacts.encoders.registry import load_encoder
from artifacts.errors import CorruptFile, StepFailed
from artifacts.schema import OK, Reason, embeddings_schema
from artifacts.settings import Settings
from artifacts.storage import Folder
from jobs.download.step import download_shard
from jobs.embed import step as embed
from jobs.embed.step import embed_shard, run_embed
from jobs.workspace import ShardReport
from tests.catalogs import read_shards, write_catalog
from tests.encoders import MeanColor
from tests.servers import jpeg

SETTINGS = Settings(shards=1, encoder="python:tests.encoders:MeanColor", embed_batch=16)
Color = tuple[int, int, int]


def prepare(tmp_path: Path, colors: Sequence[Color], shards: int = 1) -> None:
    """A workspace whose download step is done: one product for each colour, and one whose picture is missing."""
    shop = tmp_path / "shop"
    shop.mkdir(exist_ok=True)
    products = {f"p{number:04}": [f"{'-'.join(map(str, color))}.jpg"] for number, color in enumerate(colors)}
    for color in colors:
        path = shop / f"{'-'.join(map(str, color))}.jpg"
        if not path.exists():
            path.write_bytes(jpeg(60, 60, color))
    write_catalog(tmp_path, products | {"none": ["none.jpg"]}, base=str(shop), shards=shards)
    for shard in range(shards):
        download_shard(str(tmp_path), shard, shards, SETTINGS)


def run(tmp_path: Path, settings: Settings = SETTINGS) -> ShardReport:
    MeanColor.calls.clear()
    return embed_shard(str(tmp_path), 0, 1, settings)


def vectors(tmp_path: Path, settings: Settings = SETTINGS, shards: int = 1) -> dict[str, tuple[str, list | None]]:
    table = read_shards(tmp_path, f"embeddings/{load_encoder(settings.encoder).slug}", shards)
    assert table.schema.equals(embeddings_schema(4))
    keys = table["sha256"].to_pylist()
    if shards == 1:
        assert keys == sorted(set(keys))
    return dict(zip(keys, zip(table["status"].to_pylist(), table["vector"].to_pylist(), strict=True), strict=True))


def gray(count: int, start: int = 0) -> list[Color]:
    return [(number, number, number) for number in range(start, start + count)]


def test_one_vector_for_each_distinct_picture(tmp_path: Path) -> None:
    prepare(tmp_path, gray(40) + gray(40))
    report = run(tmp_path)
    assert (report.rows, report.ok, report.failed, report.reused) == (40, 40, {}, 0)
    assert MeanColor.calls == [16, 16, 8]
    images = {row["sha256"]: row["jpeg"] for row in read_shards(tmp_path, "images").to_pylist() if row["sha256"]}
    got = vectors(tmp_path)
    assert set(got) == set(images)
    encoder = load_encoder(SETTINGS.encoder)
    for key, (status, vector) in got.items():
        expected = encoder.encode_images([Image.open(io.BytesIO(images[key]))])[0]
        assert status == OK
        np.testing.assert_allclose(np.array(vector, dtype=np.float32), expected, atol=1e-3)


def test_a_finished_shard_is_skipped_and_known_pictures_are_not_encoded_again(tmp_path: Path) -> None:
    prepare(tmp_path, gray(30))
    run(tmp_path)
    assert run(tmp_path).skipped
    assert MeanColor.calls == []
    before = vectors(tmp_path)

    prepare(tmp_path, gray(30, start=5))  # 5 gone, 5 new
    report = run(tmp_path)
    assert (report.rows, report.ok, report.reused) == (30, 30, 25)
    assert MeanColor.calls == [5]
    after = vectors(tmp_path)
    assert len(set(before) & set(after)) == 25
    assert all(before[key] == after[key] for key in set(before) & set(after))

    report = run(tmp_path, SETTINGS.model_copy(update={"encoder": "python:tests.encoders:SmallMemory"}))
    assert report.reused == 0  # another encoder, another cache


def test_what_is_no_unit_vector_is_rejected(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"encoder": "python:tests.encoders:Blind"})
    prepare(tmp_path, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)])
    report = run(tmp_path, settings)
    assert (report.rows, report.ok, report.failed) == (4, 2, {Reason.BAD_EMBEDDING: 2})
    got = vectors(tmp_path, settings)
    assert sorted(status for status, _ in got.values()) == [Reason.BAD_EMBEDDING] * 2 + [OK] * 2
    assert all((vector is None) == (status != OK) for status, vector in got.values())

    prepare(tmp_path, [(255, 0, 0), (0, 0, 255), (8, 8, 8)])
    report = run(tmp_path, settings)
    assert (report.ok, report.failed, report.reused) == (2, {Reason.BAD_EMBEDDING: 1}, 1)
    assert MeanColor.calls == [1]


def test_a_batch_that_is_too_large_is_split(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"encoder": "python:tests.encoders:SmallMemory"})
    prepare(tmp_path, gray(37))
    assert run(tmp_path, settings).ok == 37
    assert MeanColor.calls == [4] * 8 + [4, 1]  # what was learnt from the first batch holds for the next
    split = vectors(tmp_path, settings)
    run(tmp_path)
    assert split == vectors(tmp_path)

    with pytest.raises(StepFailed, match="not enough memory for one picture"):
        run(tmp_path, SETTINGS.model_copy(update={"encoder": "python:tests.encoders:NoMemory"}))


def test_other_errors_of_the_model_are_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, gray(3))

    def broken(*_: object) -> np.ndarray:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(MeanColor, "image_vectors", broken)
    with pytest.raises(RuntimeError, match="multiplied"):
        run(tmp_path)
    assert not (tmp_path / "embeddings").exists() or not list((tmp_path / "embeddings").rglob("*.parquet"))


def test_the_next_batch_is_prepared_while_the_model_works() -> None:
    """The model waits, inside its first batch, until the second one has been prepared."""
    second_ready = threading.Event()
    prepared = 0

    class Waits(MeanColor):
        def prepare(self, picture: Image.Image) -> np.ndarray:
            nonlocal prepared
            prepared += 1
            if prepared == 8:
                second_ready.set()
            return super().prepare(picture)

        def image_vectors(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
            assert second_ready.wait(30)
            return super().image_vectors(prepared)

    pictures = [(str(number), jpeg(60, 60, (number, 0, 0))) for number in range(12)]
    encoder = Waits()
    encoder.spec = "waits"
    with ThreadPoolExecutor(1) as pool:
        batches = list(embed.encode_batches(pictures, encoder, 4, pool))
    assert [keys for keys, _ in batches] == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9", "10", "11"]]


def test_a_long_narrow_picture_that_was_taken_is_embedded(tmp_path: Path) -> None:
    """It was wide enough when it came, and is under the least side since it was shrunk."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "belt.jpg").write_bytes(jpeg(3000, 60))
    write_catalog(tmp_path, {"belt": ["belt.jpg"]}, base=str(tmp_path / "shop"))
    download_shard(str(tmp_path), 0, 1, SETTINGS)
    assert run(tmp_path).ok == 1


def test_damaged_files(tmp_path: Path) -> None:
    prepare(tmp_path, gray(10))
    run(tmp_path)
    earlier = next((tmp_path / "embeddings").rglob("*.parquet"))
    earlier.write_bytes(earlier.read_bytes()[:-50])
    prepare(tmp_path, gray(11))
    assert run(tmp_path).reused == 0  # an earlier result that is damaged is no result

    prepare(tmp_path, gray(12))
    images = tmp_path / "images" / "shard-00000.parquet"
    content = bytearray(images.read_bytes())
    content[content.rindex(b"\xff\xd8\xff") + 200] ^= 1
    images.write_bytes(content)
    with pytest.raises(CorruptFile, match="run the download step again"):
        run(tmp_path)
    assert not download_shard(str(tmp_path), 0, 1, SETTINGS).skipped
    assert run(tmp_path).ok == 12


def test_without_images(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="run the download step first"):
        run(tmp_path)


def test_an_empty_shard(tmp_path: Path) -> None:
    prepare(tmp_path, [])
    assert (run(tmp_path).rows, vectors(tmp_path)) == (0, {})
    prepare(tmp_path, gray(2))
    assert run(tmp_path).ok == 2


@pytest.mark.spark
def test_on_spark(tmp_path: Path, spark) -> None:
    prepare(tmp_path, gray(50), shards=4)
    settings = SETTINGS.model_copy(update={"shards": 4})
    seen: list[int] = []
    reports = run_embed(spark, Folder(tmp_path), settings, on_report=lambda report: seen.append(report.shard))
    assert sum(report.ok for report in reports) == 50
    assert sorted(seen) == [0, 1, 2, 3]
    assert len(vectors(tmp_path, settings, shards=4)) == 50
