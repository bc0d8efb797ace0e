"""The embed step: one unit vector for each distinct picture, computed once for each encoder."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artifacts.encoders.identity import encoder_identity, known_identity
from artifacts.encoders.registry import load_encoder
from artifacts.errors import CorruptFile, EncoderError, StepFailed
from artifacts.schema import OK, Reason, embeddings_schema
from artifacts.settings import Settings
from jobs.download.step import download_shard
from jobs.embed.model import encode_batches
from jobs.embed.step import embed_shard, run_embed, run_encoder
from jobs.workspace.shards import ShardReport
from jobs.workspace.workspace import Workspace
from tests.catalogs import read_shards, write_catalog
from tests.encoders import MeanColor
from tests.pipeline import context_on
from tests.servers import jpeg

SETTINGS = Settings(shards=1, encoder="python:tests.encoders:MeanColor", embed_batch=16)
Color = tuple[int, int, int]


def prepare(tmp_path: Path, colors: Sequence[Color], shards: int = 1, shop: Path | None = None) -> Workspace:
    """A workspace whose download step is done: one product for each colour, and one without a picture file."""
    shop = shop or tmp_path / "shop"
    shop.mkdir(exist_ok=True)
    products = {f"p{number:04}": [f"{'-'.join(map(str, color))}.jpg"] for number, color in enumerate(colors)}
    for color in colors:
        path = shop / f"{'-'.join(map(str, color))}.jpg"
        if not path.exists():
            path.write_bytes(jpeg(60, 60, color))
    workspace = write_catalog(tmp_path, products | {"none": ["none.jpg"]}, base=str(shop), shards=shards)
    for shard in range(shards):
        download_shard(workspace, shard, SETTINGS.pipeline.download)
    return workspace


def run(tmp_path: Path, settings: Settings = SETTINGS) -> ShardReport:
    MeanColor.calls.clear()
    return embed_shard(Workspace(str(tmp_path), 1), 0, settings.pipeline.encoder, cache=tmp_path / "cache")


def vectors(tmp_path: Path, settings: Settings = SETTINGS, shards: int = 1) -> dict[str, tuple[str, list | None]]:
    table = read_shards(tmp_path, f"embeddings/{load_encoder(settings.encoder).slug}", shards)
    assert table.schema.equals(embeddings_schema(4))
    keys = table["sha256"].to_pylist()
    if shards == 1:
        assert keys == sorted(set(keys))
    return dict(zip(keys, zip(table["status"].to_pylist(), table["vector"].to_pylist(), strict=True), strict=True))


def gray(count: int, start: int = 0) -> list[Color]:
    return [(number, number, number) for number in range(start, start + count)]


def test_embed_stores_one_vector_for_each_distinct_picture(tmp_path: Path) -> None:
    prepare(tmp_path, gray(40) + gray(40))
    report = run(tmp_path)
    assert (report.rows, report.ok, report.failed, report.reused) == (40, 40, {}, 0)
    assert MeanColor.calls == [16, 16, 8]
    images = {row["sha256"]: row["jpeg"] for row in read_shards(tmp_path, "images").to_pylist() if row["sha256"]}
    embedded = vectors(tmp_path)
    assert set(embedded) == set(images)
    encoder = load_encoder(SETTINGS.encoder)
    for key, (status, vector) in embedded.items():
        expected = encoder.encode_images([Image.open(io.BytesIO(images[key]))])[0]
        assert status == OK
        np.testing.assert_allclose(np.array(vector, dtype=np.float32), expected, atol=1e-3)


def test_embed_encodes_only_new_pictures(tmp_path: Path) -> None:
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


def embed_refresh(main: Workspace, name: str, colors: Sequence[Color], shards: int = 1) -> Workspace:
    """Download and embed pictures as a refresh does."""
    refresh = main.refresh(name, shards)
    prepare(Path(refresh.url), colors, shards, shop=Path(main.url) / "shop")
    for shard in range(shards):
        embed_shard(refresh, shard, SETTINGS.pipeline.encoder, cache=Path(main.url) / "cache")
    return refresh


def test_vectors_of_refreshes_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = prepare(tmp_path, gray(10))
    run(tmp_path)
    refreshes = [embed_refresh(main, "1", gray(8, start=10), shards=2), embed_refresh(main, "2", gray(2, start=20))]
    prepare(tmp_path, gray(18) + gray(3, start=20))
    report = run(tmp_path)
    assert (report.rows, report.ok, report.reused) == (21, 21, 20)
    assert MeanColor.calls == [1]
    embedded = vectors(tmp_path)
    for refresh in refreshes:
        own = vectors(Path(refresh.url), shards=refresh.shards)
        assert own.items() <= embedded.items()

    prepare(tmp_path, gray(18))
    run(tmp_path)
    prepare(tmp_path, gray(18) + gray(2, start=20))
    config = SETTINGS.pipeline.encoder
    identity = encoder_identity(config.encoder, "cpu", tmp_path / "cache")
    monkeypatch.setattr("jobs.embed.step.load_verified", lambda *_: pytest.fail("the encoder was loaded"))
    assert embed_shard(main, 0, config, cache=tmp_path / "cache", identity=identity).reused == 20


def test_damaged_vectors_of_refreshes_and_those_of_other_encoders_are_computed(tmp_path: Path) -> None:
    main = prepare(tmp_path, gray(3))
    embed_refresh(main, "1", gray(3))
    damaged = embed_refresh(main, "2", gray(2, start=3))
    path = next(Path(damaged.url).rglob("embeddings/*/*.parquet"))
    path.write_bytes(path.read_bytes()[:-50])
    prepare(tmp_path, gray(5))
    assert (run(tmp_path).reused, MeanColor.calls) == (3, [2])
    other = SETTINGS.model_copy(update={"encoder": "python:tests.encoders:Blind"})
    assert (run(tmp_path, other).reused, MeanColor.calls) == (0, [5])


def test_vectors_without_unit_length_are_rejected(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"encoder": "python:tests.encoders:Blind"})
    prepare(tmp_path, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)])
    report = run(tmp_path, settings)
    assert (report.rows, report.ok, report.failed) == (4, 2, {Reason.BAD_EMBEDDING: 2})
    embedded = vectors(tmp_path, settings)
    assert sorted(status for status, _ in embedded.values()) == [Reason.BAD_EMBEDDING] * 2 + [OK] * 2
    assert all((vector is None) == (status != OK) for status, vector in embedded.values())

    prepare(tmp_path, [(255, 0, 0), (0, 0, 255), (8, 8, 8)])
    report = run(tmp_path, settings)
    assert (report.ok, report.failed, report.reused) == (2, {Reason.BAD_EMBEDDING: 1}, 1)
    assert MeanColor.calls == [1]


def test_batches_that_exceed_memory_are_split(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"encoder": "python:tests.encoders:SmallMemory"})
    prepare(tmp_path, gray(37))
    assert run(tmp_path, settings).ok == 37
    assert MeanColor.calls == [4] * 8 + [4, 1]  # later batches are split from the start
    split = vectors(tmp_path, settings)
    run(tmp_path)
    assert split == vectors(tmp_path)

    with pytest.raises(StepFailed, match="not enough memory for one picture"):
        run(tmp_path, SETTINGS.model_copy(update={"encoder": "python:tests.encoders:NoMemory"}))


def test_errors_of_the_model_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, gray(3))

    def broken(*_: object) -> np.ndarray:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(MeanColor, "image_vectors", broken)
    with pytest.raises(RuntimeError, match="multiplied"):
        run(tmp_path)
    assert not (tmp_path / "embeddings").exists() or not list((tmp_path / "embeddings").rglob("*.parquet"))


def test_next_batch_is_prepared_while_the_model_works() -> None:
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
        batches = list(encode_batches(pictures, encoder, 4, pool))
    assert [keys for keys, _ in batches] == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9", "10", "11"]]


def test_narrow_picture_below_the_least_side_after_shrinking_is_embedded(tmp_path: Path) -> None:
    """The picture is wide enough when downloaded; shrinking it makes it narrower than the least side."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "belt.jpg").write_bytes(jpeg(3000, 60))
    write_catalog(tmp_path, {"belt": ["belt.jpg"]}, base=str(tmp_path / "shop"))
    download_shard(Workspace(str(tmp_path), 1), 0, SETTINGS.pipeline.download)
    assert run(tmp_path).ok == 1


def test_damaged_vectors_are_computed_again_and_damaged_pictures_reported(tmp_path: Path) -> None:
    prepare(tmp_path, gray(10))
    run(tmp_path)
    earlier = next((tmp_path / "embeddings").rglob("*.parquet"))
    earlier.write_bytes(earlier.read_bytes()[:-50])
    prepare(tmp_path, gray(11))
    assert run(tmp_path).reused == 0

    prepare(tmp_path, gray(12))
    images = tmp_path / "images" / "shard-00000.parquet"
    content = bytearray(images.read_bytes())
    content[content.rindex(b"\xff\xd8\xff") + 200] ^= 1
    images.write_bytes(content)
    with pytest.raises(CorruptFile, match="run the download step again"):
        run(tmp_path)
    assert not download_shard(Workspace(str(tmp_path), 1), 0, SETTINGS.pipeline.download).skipped
    assert run(tmp_path).ok == 12


def test_embed_requires_the_download_step(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="run the download step first"):
        run(tmp_path)


def test_embed_writes_an_empty_shard(tmp_path: Path) -> None:
    prepare(tmp_path, [])
    assert (run(tmp_path).rows, vectors(tmp_path)) == (0, {})
    prepare(tmp_path, gray(2))
    assert run(tmp_path).ok == 2


@pytest.mark.spark
def test_embed_runs_all_shards_on_spark(tmp_path: Path, spark) -> None:
    workspace = prepare(tmp_path, gray(50), shards=4)
    reported: list[int] = []
    context = context_on(
        workspace, SETTINGS, spark=lambda: spark, on_shard=lambda report: reported.append(report.shard)
    )
    result = run_embed(context)
    assert (result.changed, result.report.ok, result.report.reused) == (True, 50, 0)
    assert sorted(reported) == [0, 1, 2, 3]
    assert len(vectors(tmp_path, shards=4)) == 50


def test_embed_without_changes_starts_no_spark(tmp_path: Path) -> None:
    workspace = prepare(tmp_path, gray(20), shards=2)
    for shard in range(2):
        embed_shard(workspace, shard, SETTINGS.pipeline.encoder, cache=tmp_path / "cache")
    result = run_embed(context_on(workspace, SETTINGS, spark=lambda: pytest.fail("Spark was started")))
    assert not result.changed
    assert result.report.reused == 20


def test_shard_that_only_lost_pictures_does_not_load_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, gray(20))
    run(tmp_path)
    workspace = prepare(tmp_path, gray(15))
    config = SETTINGS.pipeline.encoder
    identity = encoder_identity(config.encoder, "cpu", tmp_path / "cache")
    monkeypatch.setattr("jobs.embed.step.load_verified", lambda *_: pytest.fail("the encoder was loaded"))
    report = embed_shard(workspace, 0, config, cache=tmp_path / "cache", identity=identity)
    assert (report.skipped, report.ok, report.reused) == (False, 15, 15)


def test_encoder_that_is_not_the_remembered_one_is_refused(tmp_path: Path) -> None:
    workspace = prepare(tmp_path, gray(3))
    config = SETTINGS.pipeline.encoder
    stale = replace(encoder_identity(config.encoder, "cpu", tmp_path / "cache"), id="of-other-weights")
    with pytest.raises(EncoderError, match=r"not of-other-weights as remembered; run the build again"):
        embed_shard(workspace, 0, config, cache=tmp_path / "cache", identity=stale)


def test_failed_shard_forgets_the_encoders_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker may be on another machine, where the remembered identity turned out to be wrong."""
    cache = tmp_path / "cache"
    settings = SETTINGS.model_copy(update={"encoder": "sample", "cache": cache})
    context = context_on(prepare(tmp_path, gray(3)), settings)
    encoder_identity("sample", "cpu", cache)

    def fail(*_: object) -> None:
        raise StepFailed("shard 0 failed: encoder sample is another one; run the build again")

    monkeypatch.setattr("jobs.embed.step.run_plan", fail)
    with pytest.raises(StepFailed, match="shard 0 failed"):
        run_embed(context)
    assert known_identity("sample", "cpu", cache) is None


def test_wrong_device_is_noticed_though_the_identity_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = prepare(tmp_path, [])
    settings = SETTINGS.model_copy(update={"encoder": "sample", "device": "cpu", "cache": tmp_path / "cache"})
    identity = run_encoder(context_on(workspace, settings)).report
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(EncoderError, match="no CUDA GPU"):
        run_encoder(context_on(workspace, settings.model_copy(update={"device": "cuda"})))
    custom = SETTINGS.model_copy(update={"device": "cuda"})  # a custom encoder chooses its device itself
    assert run_encoder(context_on(workspace, custom)).report.id != identity.id
