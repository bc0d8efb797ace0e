"""Step 3: images/shard-….parquet → embeddings/<encoder>/shard-….parquet, one row for each distinct picture.

A vector is kept under the sha256 of its picture, so only pictures that this encoder has not seen in the shard go
through the model: a rebuild costs what changed. Decoding and preprocessing run in threads, some batches ahead of the
model; only vectors leave the process.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.encoder import Encoder, load_encoder
from artifacts.errors import CorruptFile, StepFailed
from artifacts.pictures import open_stored
from artifacts.schema import OK, Reason, embeddings_schema
from artifacts.settings import Settings
from artifacts.storage import Folder
from jobs.fetch_store import sound
from jobs.workspace import ShardCounts, ShardReport, fingerprint, read_report, report_name, run_shard, shard_name

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

#: Batches decoded ahead of the model: one to have ready, one to even out slow pictures.
AHEAD = 2

_OPTIONS: dict[str, Any] = {
    "compression": "none",  # digests and vectors are noise to a compressor
    "use_dictionary": ["status"],
    "write_statistics": ["sha256"],
    "write_page_checksum": True,
    "row_group_size": 8192,
}


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
    from jobs.spark import everywhere, map_shards, threads_per_task

    chosen = range(settings.shards) if shards is None else shards
    threads = threads_per_task(spark, len(chosen))
    task = partial(_embed_on_worker, everywhere(workspace), shards=settings.shards, settings=settings, threads=threads)
    return map_shards(spark, chosen, task, on_report)


def _embed_on_worker(workspace_url: str, shard: int, shards: int, settings: Settings, threads: int) -> ShardReport:
    from jobs.spark import assigned_gpu

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
        _limit_threads(threads)
    folder = workspace / "embeddings" / encoder.slug

    def work(path: Path) -> ShardCounts:
        wanted = _distinct_pictures(images, shard)
        table = _Vectors(wanted, encoder.dim)
        reused = table.take_from(_earlier(folder, shard, encoder.dim))
        with ThreadPoolExecutor(max(2, threads or 0), "embed-decode") as pool:
            for keys, vectors in _encoded(_jpegs(images, shard, table.missing()), encoder, settings.embed_batch, pool):
                table.put(keys, vectors)
        table.write(path)
        counts = table.counts()
        return ShardCounts(rows=len(wanted), ok=counts.pop(OK, 0), failed=dict(counts), reused=reused)

    try:
        return run_shard(folder, "embed", shard, shards, fingerprint("embed", source.sha256, encoder.id), work)
    except CorruptFile as error:
        images.remove(report_name(shard))  # no report may vouch for such a file
        raise CorruptFile(error.path, f"{error.detail}; run the download step again") from None


class _Vectors:
    """The output of a shard while it fills: float16[n, dim], in the order of the sorted keys."""

    def __init__(self, keys: list[str], dim: int) -> None:
        self._keys = keys
        self._row = {key: row for row, key in enumerate(keys)}
        self._vectors = np.zeros((len(keys), dim), dtype=np.float16)
        self._status: list[str | None] = [None] * len(keys)

    def take_from(self, earlier: pa.Table | None) -> int:
        """Copy what an earlier run made of these keys; returns how many good vectors that were."""
        if earlier is None:
            return 0
        rows = [self._row.get(key, -1) for key in earlier["sha256"].to_pylist()]
        statuses = earlier["status"].to_pylist()
        for row, status in zip(rows, statuses, strict=True):
            if row >= 0:
                self._status[row] = status
        good = [at for at, row in enumerate(rows) if row >= 0 and statuses[at] == OK]
        vectors = earlier["vector"].take(pa.array(good, pa.int64())).combine_chunks().flatten()
        found = vectors.to_numpy(zero_copy_only=False).reshape(len(good), self._vectors.shape[1])
        self._vectors[np.array([rows[at] for at in good], dtype=np.int64)] = found
        return len(good)

    def missing(self) -> set[str]:
        return {key for key, status in zip(self._keys, self._status, strict=True) if status is None}

    def put(self, keys: list[str], vectors: np.ndarray) -> None:
        """Store float32[n, dim]; rows that are no unit vectors are BAD_EMBEDDING: an index would return nonsense."""
        norms = np.linalg.norm(vectors, axis=1)
        for key, vector, norm in zip(keys, vectors, norms, strict=True):
            row = self._row[key]
            good = bool(abs(norm - 1) < 0.01)  # False for NaN too
            self._status[row] = OK if good else Reason.BAD_EMBEDDING.value
            if good:
                self._vectors[row] = vector

    def counts(self) -> Counter[str]:
        return Counter(status for status in self._status if status is not None)

    def write(self, path: Path) -> None:
        dim = self._vectors.shape[1]
        bad = pa.array([status != OK for status in self._status], pa.bool_())
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(self._vectors.reshape(-1)), dim, mask=bad)
        schema = embeddings_schema(dim)
        columns = [
            pa.array(self._keys, pa.string()),
            pa.array(self._status, pa.string()),
            vectors.cast(schema.types[2]),
        ]
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), path, **_OPTIONS)


def _distinct_pictures(images: Folder, shard: int) -> list[str]:
    """sha256 of every good picture of a shard, sorted, each once."""
    with images.open(shard_name(shard)) as stream, sound(images.path(shard_name(shard))):
        table = pq.read_table(stream, columns=["sha256"], page_checksum_verification=True)
    return sorted(set(table["sha256"].drop_null().to_pylist()))


def _jpegs(images: Folder, shard: int, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """The wanted pictures, each once, one row group in memory at a time."""
    if not wanted:
        return
    left = set(wanted)
    with images.open(shard_name(shard)) as stream, sound(images.path(shard_name(shard))):
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


def _earlier(folder: Folder, shard: int, dim: int) -> pa.Table | None:
    """What an earlier run left for this shard and encoder; None if that is nothing, or damaged."""
    name = shard_name(shard)
    if not folder.exists(name):
        return None
    try:
        with folder.open(name) as stream, sound(folder.path(name)):
            table = pq.read_table(stream, page_checksum_verification=True)
    except CorruptFile:
        return None
    return table if table.schema.equals(embeddings_schema(dim)) else None


def _encoded(
    pictures: Iterable[tuple[str, bytes]], encoder: Encoder, batch: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[str], np.ndarray]]:
    """(keys, float32[n, dim]) batch by batch; the next batches are prepared while one is in the model."""

    def prepare(jpeg: bytes) -> Any:
        return encoder.prepare(open_stored(jpeg))

    model = _Model(encoder, batch)
    waiting = iter(pictures)
    ahead: deque[list[tuple[str, Future[Any]]]] = deque()
    while True:
        while len(ahead) <= AHEAD and (taken := list(islice(waiting, batch))):
            ahead.append([(key, pool.submit(prepare, jpeg)) for key, jpeg in taken])
        if not ahead:
            return
        current = ahead.popleft()
        yield [key for key, _ in current], model([future.result() for _, future in current])


class _Model:
    """Calls the encoder; a batch that does not fit the device's memory is split, and so are those after it."""

    def __init__(self, encoder: Encoder, batch: int) -> None:
        self._encoder = encoder
        self._most = batch

    def __call__(self, prepared: list[Any]) -> np.ndarray:
        """float32[n, dim] of what `Encoder.prepare` returned."""
        done: list[np.ndarray] = []
        start = 0
        while start < len(prepared):
            piece = prepared[start : start + self._most]
            vectors = self._try(piece)
            if vectors is None:
                if len(piece) == 1:
                    raise StepFailed("the device has not enough memory for one picture: LOOKALIKE_DEVICE=cpu has")
                self._most = len(piece) // 2
                continue
            done.append(vectors)
            start += len(piece)
        return np.concatenate(done)

    def _try(self, piece: list[Any]) -> np.ndarray | None:
        """The vectors, or None if the device ran out of memory."""
        try:
            return self._encoder.encode_prepared(piece)
        except RuntimeError as error:
            import torch

            if not isinstance(error, torch.OutOfMemoryError):
                raise
            torch.cuda.empty_cache()  # does nothing where CUDA has not been used
            return None


def _limit_threads(threads: int) -> None:
    """Each worker process would otherwise take all cores, and they would wait for each other."""
    torch = sys.modules.get("torch")  # an encoder of one's own may do without it, and it takes seconds to import
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
