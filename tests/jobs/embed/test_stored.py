"""The embed step with an embedding store: what several workspaces and catalogs share, and a store that fails."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from artifacts.encoders.registry import load_encoder
from artifacts.errors import EmbeddingStoreError, InputError
from artifacts.features.parquet_store import ParquetStore
from artifacts.settings import Settings
from jobs.catalog.step import run_catalog
from jobs.download.step import download_shard
from jobs.embed import stored
from jobs.embed.step import run_embed, run_encoder
from jobs.steps import StepContext, StepResult
from jobs.workspace.shards import ShardTotals
from tests.catalogs import read_shards
from tests.encoders import MeanColor
from tests.features import PostgresPlace, postgres_with_pgvector
from tests.pipeline import small_settings, write_small_catalog
from tests.redis import RedisServer


def settings_of(folder: Path, store: str | Path, **changes: object) -> Settings:
    """Settings of a workspace of its own."""
    encoder = "python:tests.encoders:MeanColor"
    return small_settings(folder, encoder=encoder, embedding_store=str(store), embed_batch=8, **changes)


def embed(catalog: Path, settings: Settings) -> StepResult[ShardTotals]:
    """The steps up to embed, as a build does them, in this process."""
    MeanColor.calls.clear()
    config = settings.pipeline
    context = StepContext(
        config, StepContext.open(config).workspace, StepContext.open(config).store, str(catalog), in_process=True
    )
    run_catalog(context)
    for shard in range(config.shards):
        download_shard(context.workspace, shard, config.download)
    return run_embed(context)


def vectors(settings: Settings) -> dict[str, bytes]:
    slug = load_encoder(settings.encoder).slug
    table = read_shards(Path(settings.workspace), f"embeddings/{slug}", settings.shards)
    rows = zip(table["sha256"].to_pylist(), table["vector"].to_pylist(), strict=True)
    return {key: np.array(vector, np.float16).tobytes() for key, vector in rows}


def assert_new_workspace_embeds_nothing(tmp_path: Path, store: str | Path, **changes: object) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    first = settings_of(tmp_path / "first", store, **changes)
    second = settings_of(tmp_path / "second", store, shards=3, **changes)
    built = embed(catalog, first)
    assert (built.report.done, built.report.from_store) == (36, 0)
    rebuilt = embed(catalog, second)
    assert (rebuilt.report.done, rebuilt.report.from_store, rebuilt.report.store_failures) == (0, 36, 0)
    assert MeanColor.calls == []
    assert vectors(second) == vectors(first)
    assert "36 kept from before, 36 of them from the embedding store" in rebuilt.note


def test_a_new_workspace_embeds_nothing_that_the_folder_of_the_store_has(tmp_path: Path) -> None:
    assert_new_workspace_embeds_nothing(tmp_path, tmp_path / "features")


@pytest.mark.redis
def test_a_new_workspace_embeds_nothing_that_redis_has(tmp_path: Path, redis_server: RedisServer) -> None:
    assert_new_workspace_embeds_nothing(tmp_path, redis_server.url)


@pytest.mark.slow
@pytest.mark.parametrize("may_create", [True, False], ids=["halfvec", "bytea"])
def test_a_new_workspace_embeds_nothing_that_postgres_has(tmp_path: Path, may_create: bool) -> None:
    with postgres_with_pgvector() as server:
        place = PostgresPlace(server, may_create=may_create)
        assert_new_workspace_embeds_nothing(tmp_path, place.url, embedding_store_key=place.key)


def test_a_rebuild_from_the_store_does_not_load_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    embed(catalog, settings_of(tmp_path / "first", tmp_path / "features"))
    monkeypatch.setattr("jobs.embed.step.load_verified", lambda *_: pytest.fail("the encoder was loaded"))
    assert embed(catalog, settings_of(tmp_path / "second", tmp_path / "features")).report.from_store == 36


def test_two_catalogs_share_the_vectors_of_their_common_pictures(tmp_path: Path) -> None:
    small = write_small_catalog(tmp_path / "small", products=24)
    large = write_small_catalog(tmp_path / "large", products=36)
    embed(small, settings_of(tmp_path / "a", tmp_path / "features"))
    report = embed(large, settings_of(tmp_path / "b", tmp_path / "features")).report
    assert (report.from_store, report.done, sum(MeanColor.calls)) == (24, 12, 12)
    assert embed(large, settings_of(tmp_path / "c", tmp_path / "features")).report.from_store == 36


def test_the_store_is_not_asked_for_what_the_shard_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = write_small_catalog(tmp_path / "shop", products=24)
    settings = settings_of(tmp_path / "first", tmp_path / "features", shards=1)
    embed(catalog, settings)
    asked: list[int] = []
    get = ParquetStore.get

    def counting(self: ParquetStore, encoder_id: str, dim: int, keys: list[bytes]) -> object:
        asked.append(len(keys))
        return get(self, encoder_id, dim, keys)

    monkeypatch.setattr(ParquetStore, "get", counting)
    report = embed(write_small_catalog(tmp_path / "shop", products=30), settings).report
    assert (report.reused, report.from_store, report.done) == (24, 0, 6)
    assert asked == [6]


def test_another_encoder_finds_nothing_in_the_store(tmp_path: Path) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    embed(catalog, settings_of(tmp_path / "first", tmp_path / "features"))
    other = settings_of(tmp_path / "second", tmp_path / "features").model_copy(
        update={"encoder": "python:tests.encoders:ColourWords"}
    )
    assert embed(catalog, other).report.from_store == 0


def test_a_store_that_is_down_is_missed_counted_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    settings = settings_of(tmp_path / "first", "redis://127.0.0.1:1/0", shards=2)
    with caplog.at_level(logging.WARNING):
        result = embed(catalog, settings)
    assert (result.report.done, result.report.failed, result.report.from_store) == (36, {}, 0)
    assert result.report.store_failures == 2  # one of each shard: then there is a pause
    assert "2 calls of the embedding store failed" in result.note
    assert "without the embedding store" in caplog.text
    assert "redis://127.0.0.1:1/0" in caplog.text


def test_a_store_that_fails_for_a_time_is_used_again_after_a_pause(tmp_path: Path) -> None:
    class Flaky(ParquetStore):
        rows_per_call = 1
        down = True

        def put(self, *arguments: object) -> int:
            if self.down:
                raise EmbeddingStoreError("down")
            return super().put(*arguments)  # type: ignore[arg-type]

    now = [0.0]
    store, encoder = Flaky(str(tmp_path)), MeanColor()
    shard = stored.StoredVectors(store, stored.EncoderIdentity("e", "e", {"dim": encoder.dim}), clock=lambda: now[0])
    names = ["00" * 32, "11" * 32]
    for name in names:
        shard.add([name], np.array([[1, 0, 0, 0]], np.float32))
        shard.flush()
    assert shard.failures == 1  # no call during the pause
    Flaky.down, now[0] = False, 1000.0
    shard.add(names, np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32))
    shard.flush()
    found, _ = store.get("e", 4, [bytes.fromhex(name) for name in names])
    assert (found.tolist(), shard.failures) == ([True, True], 1)


def test_pictures_that_the_encoder_cannot_encode_are_not_stored(tmp_path: Path) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    settings = settings_of(tmp_path / "first", tmp_path / "features").model_copy(
        update={"encoder": "python:tests.encoders:Blind"}
    )
    failed = embed(catalog, settings).report.failed
    assert failed["bad_embedding"] > 0
    again = settings_of(tmp_path / "second", tmp_path / "features").model_copy(update={"encoder": settings.encoder})
    report = embed(catalog, again).report
    assert report.failed == failed
    assert report.from_store + sum(failed.values()) == 36


def test_vectors_of_a_killed_build_are_in_the_store(tmp_path: Path) -> None:
    catalog = write_small_catalog(tmp_path / "shop")
    settings = settings_of(tmp_path / "first", tmp_path / "features", shards=1)
    program = (
        "import os; from pathlib import Path; from jobs.embed import stored;"
        "from tests.jobs.embed import test_stored as t;"
        "stored._PUT_ROWS = 8; calls = t.MeanColor.calls; vectors = t.MeanColor.image_vectors;"
        "t.MeanColor.image_vectors = lambda self, p: os.kill(os.getpid(), 9) if len(calls) == 3 else vectors(self, p);"
        f"t.embed(Path({str(catalog)!r}), t.Settings.model_validate_json({settings.model_dump_json()!r}))"
    )
    assert subprocess.run([sys.executable, "-c", program], env=os.environ, check=False).returncode == -9
    report = embed(catalog, settings).report
    assert (report.from_store, report.done) == (24, 12)


def test_a_store_that_does_not_exist_is_noticed_before_anything_is_downloaded(tmp_path: Path) -> None:
    context = StepContext.open(settings_of(tmp_path, "nonsense://features").pipeline)
    with pytest.raises(InputError, match="embedding_store 'nonsense://features'"):
        run_encoder(context)
