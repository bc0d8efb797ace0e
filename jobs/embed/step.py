"""Step 3: images/shard-….parquet → embeddings/<encoder>/shard-….parquet, one row for each distinct picture.

A vector is kept under the sha256 of its picture, so only pictures that this encoder has not seen in the shard go
through the model: a rebuild costs what changed. Decoding and preprocessing run in threads, some batches ahead of the
model; only vectors leave the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from artifacts.encoders.registry import load_encoder
from artifacts.errors import CorruptFile, StepFailed
from artifacts.schema import OK
from artifacts.settings import Settings
from artifacts.storage import Folder
from jobs.embed.cache import VectorTable, read_cached
from jobs.embed.model import encode_batches, limit_threads
from jobs.parquet import corruption_guard
from jobs.workspace import ShardCounts, ShardReport, fingerprint, read_report, report_name, run_shard, shard_name

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def run_embed(
    spark: SparkSession,
    workspace: Folder,
    settings: Settings,
    shards: Sequence[int] | None = None,
    on_report: Callable[[ShardReport], None] = lambda report: None,
) -> list[ShardReport]:
    """Embed the pictures of some shards, or of all, one Spark task each. See `embed_shard`.

    Raises:
        StepFailed: a shard could not be done.
    """
    from jobs.spark.shards import everywhere, map_shards, threads_per_task

    chosen = range(settings.shards) if shards is None else shards
    threads = threads_per_task(spark, len(chosen))
    task = partial(_embed_on_worker, everywhere(workspace), shards=settings.shards, settings=settings, threads=threads)
    return map_shards(spark, chosen, task, on_report)


def _embed_on_worker(workspace_url: str, shard: int, shards: int, settings: Settings, threads: int) -> ShardReport:
    from jobs.spark.shards import assigned_gpu

    if settings.device == "auto" and (gpu := assigned_gpu()):
        settings = settings.model_copy(update={"device": gpu})
    return embed_shard(workspace_url, shard, shards, settings, threads=threads)


def embed_shard(
    workspace_url: str, shard: int, shards: int, settings: Settings, *, threads: int | None = None
) -> ShardReport:
    """Embed the pictures of one shard, unless that is done.

    Args:
        threads: for the model on a CPU and for decoding; None leaves the libraries' defaults.

    Raises:
        StepFailed: the download step has not been done, or a single picture does not fit the device's memory.
        EncoderError: the encoder cannot be loaded.
        CorruptFile: the images are damaged; the download step will make them anew.
    """
    workspace = Folder(workspace_url)
    images = workspace / "images"
    source = read_report(images, shard)
    if source is None:
        raise StepFailed(f"{images.url}: shard {shard} has not been done; run the download step first")
    encoder = load_encoder(settings.encoder, settings.device)
    if threads:
        limit_threads(threads)
    folder = workspace / "embeddings" / encoder.slug

    def work(path: Path) -> ShardCounts:
        wanted = _distinct_pictures(images, shard)
        table = VectorTable(wanted, encoder.dim)
        reused = table.take_from(read_cached(folder, shard, encoder.dim))
        with ThreadPoolExecutor(max(2, threads or 0), "embed-decode") as pool:
            for keys, vectors in encode_batches(
                _jpegs(images, shard, table.missing()), encoder, settings.embed_batch, pool
            ):
                table.put(keys, vectors)
        table.write(path)
        counts = table.counts()
        return ShardCounts(rows=len(wanted), ok=counts.pop(OK, 0), failed=dict(counts), reused=reused)

    try:
        return run_shard(folder, "embed", shard, shards, fingerprint("embed", source.sha256, encoder.id), work)
    except CorruptFile as error:
        images.remove(report_name(shard))  # no report may vouch for such a file
        raise CorruptFile(error.path, f"{error.detail}; run the download step again") from None


def _distinct_pictures(images: Folder, shard: int) -> list[str]:
    """sha256 of every good picture of a shard, sorted, each once."""
    with images.open(shard_name(shard)) as stream, corruption_guard(images.path(shard_name(shard))):
        table = pq.read_table(stream, columns=["sha256"], page_checksum_verification=True)
    return sorted(set(table["sha256"].drop_null().to_pylist()))


def _jpegs(images: Folder, shard: int, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """The wanted pictures, each once, one row group in memory at a time."""
    if not wanted:
        return
    left = set(wanted)
    with images.open(shard_name(shard)) as stream, corruption_guard(images.path(shard_name(shard))):
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        for number in range(file.num_row_groups):
            keys = file.read_row_group(number, ["sha256"])["sha256"].to_pylist()
            if left.isdisjoint(keys):
                continue
            pictures = file.read_row_group(number, ["jpeg"])["jpeg"]
            for key, jpeg in zip(keys, pictures, strict=True):
                if key in left:
                    left.remove(key)
                    yield key, jpeg.as_py()
