"""Step 3: images/shard-….parquet → embeddings/<encoder>/shard-….parquet, one row for each distinct picture.

A vector is stored under the sha256 of its picture, so only pictures that this encoder has seen neither in the shard
nor in a refresh, and that the embedding store lacks, go through the model: the cost of a rebuild grows with what
changed. Decoding and preprocessing run in threads, some batches ahead of the model; only vectors leave the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from artifacts.config import EmbeddingStoreConfig, EncoderConfig
from artifacts.encoders.identity import (
    EncoderIdentity,
    encoder_identity,
    forget_identity,
    known_identity,
    load_verified,
)
from artifacts.errors import CorruptFile, StepFailed
from artifacts.features.opening import open_embedding_store
from artifacts.plugins import PREFIX
from artifacts.schema import OK
from jobs.embed.cache import VectorTable, read_cached, read_refreshed
from jobs.embed.engine import check_engine
from jobs.embed.model import encode_batches, limit_threads
from jobs.embed.stored import stored_vectors
from jobs.parquet import corruption_guard, read_parquet
from jobs.spark.gpu import assigned_gpu
from jobs.steps import ShardPlan, ShardTask, StepContext, StepResult, run_plan, split_shards
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.shards import ShardCounts, ShardFolder, ShardReport, ShardTotals
from jobs.workspace.workspace import Workspace

_NO_STORE = EmbeddingStoreConfig()


def run_encoder(context: StepContext) -> StepResult[EncoderIdentity]:
    """Identify the encoder, so that a wrong spec, device, store or engine is noticed before anything is downloaded.

    Raises:
        EncoderError: the encoder cannot be loaded, or there is no such device.
        InputError: the settings name an embedding store that does not exist; whether it answers is not tried.
            Or they name an engine without its address.
        EngineError: the engine cannot be loaded: see `check_engine`.
    """
    config = context.config.encoder
    if (store := open_embedding_store(context.config.features, seconds=1)) is not None:
        store.close()
    check_engine(context.config.engine)
    identity = encoder_identity(config.encoder, config.device, context.config.cache)
    if config.device not in ("auto", "cpu") and not config.encoder.startswith(PREFIX):
        from artifacts.encoders.torch_base import resolve_device  # imports torch

        resolve_device(config.device)
    return StepResult(False, identity.id, identity)


def run_embed(
    context: StepContext, shards: Sequence[int] | None = None, *, reuse: bool = True
) -> StepResult[ShardTotals]:
    """Embed the pictures of some shards, or of all; see `embed_shard` and `run_plan`.

    Raises:
        StepFailed: the download step has not been done, or a shard failed.
        EncoderError: the encoder cannot be loaded.
    """
    plan = plan_embed(context, shards, reuse=reuse)
    try:
        totals = run_plan(context, plan)
    except StepFailed:
        # A worker may have found another encoder than the remembered one, and can correct only its own machine.
        forget_identity(context.config.encoder.encoder, context.config.cache)
        raise
    return StepResult(totals.changed, totals.note("pictures", "embedded"), totals)


def plan_embed(context: StepContext, shards: Sequence[int] | None = None, *, reuse: bool = True) -> ShardPlan:
    """Find the shards that have pictures to embed, or to remove.

    Args:
        reuse: whether vectors that refreshes have computed are taken from them.

    Raises:
        StepFailed: the download step has not been done.
    """
    workspace, config, cache = context.workspace, context.config.encoder, context.config.cache
    features = context.config.features
    # If the identity is not known, all shards go to the workers, which identify the encoder themselves.
    identity = known_identity(config.encoder, config.device, cache)

    def unchanged(shard: int) -> ShardReport | None:
        images = _images_report(workspace, shard)
        if identity is None:
            return None
        return workspace.embeddings(identity.slug).unchanged(shard, _fingerprint(images, identity.id))

    def make_task(threads: int) -> ShardTask:
        return partial(
            _embed_on_worker, workspace,
            config=config, features=features, cache=cache, identity=identity, threads=threads, reuse=reuse,
        )  # fmt: skip

    done, changed = split_shards(range(workspace.shards) if shards is None else shards, unchanged)
    preload = _encoder_modules(config.encoder) if _needs_model(workspace, identity, changed) else ()
    return ShardPlan(done, changed, make_task, preload)


def _needs_model(workspace: Workspace, identity: EncoderIdentity | None, shards: Sequence[int]) -> bool:
    """Whether these shards have pictures to embed, by their reports; a shard that only lost pictures has none."""
    if identity is None:
        return bool(shards)
    embeddings = workspace.embeddings(identity.slug)
    return any(_images_report(workspace, shard).done or not embeddings.exists(shard) for shard in shards)


def _encoder_modules(spec: str) -> Sequence[str]:
    """The modules that all workers of an encoder import; a custom encoder may do without torch."""
    if spec.startswith(PREFIX):
        return ()
    name = "timm_model" if spec.startswith("timm:") else "open_clip_model"
    return (f"artifacts.encoders.{name}",)


def _embed_on_worker(
    workspace: Workspace,
    shard: int,
    config: EncoderConfig,
    features: EmbeddingStoreConfig,
    cache: Path,
    identity: EncoderIdentity | None,
    threads: int,
    reuse: bool,
) -> ShardReport:
    if config.device == "auto" and (gpu := assigned_gpu()):
        config = replace(config, device=gpu)
    return embed_shard(
        workspace, shard, config, features=features, cache=cache, identity=identity, threads=threads, reuse=reuse
    )


def embed_shard(
    workspace: Workspace,
    shard: int,
    config: EncoderConfig,
    *,
    cache: Path,
    features: EmbeddingStoreConfig = _NO_STORE,
    identity: EncoderIdentity | None = None,
    threads: int | None = None,
    reuse: bool = True,
) -> ShardReport:
    """Embed the pictures of one shard, unless that is done. The encoder is loaded only if there are new pictures.

    Args:
        features: the embedding store, which is asked for new pictures first, and given what the encoder computes.
        cache: folder on this machine in which the encoder's identity is remembered.
        identity: the encoder's, where it is known without loading it.
        threads: for the model on a CPU and for decoding; None leaves the libraries' defaults.
        reuse: whether vectors that refreshes have computed are taken from them.

    Raises:
        StepFailed: the download step has not been done, or a single picture does not fit the device's memory.
        EncoderError: the encoder cannot be loaded, or is not the one of `identity`.
        CorruptFile: the images are damaged; the download step will make them again.
    """
    images = workspace.images
    source = _images_report(workspace, shard)
    known = identity or encoder_identity(config.encoder, config.device, cache)
    embeddings = workspace.embeddings(known.slug)

    def work(path: Path) -> ShardCounts:
        pictures_of = _pictures_by_key(images, shard)
        keys = sorted(pictures_of)
        table = VectorTable(keys, known.dim)
        reused = table.take_from(read_cached(embeddings, shard, known.dim))
        if reuse and (missing := table.missing()):
            refreshed = read_refreshed(workspace, known.slug, known.dim, missing)
            reused += sum(table.take_from(vectors) for vectors in refreshed)
        with stored_vectors(features, known) as stored:
            reused += stored.take(table)
            if missing := table.missing():
                encoder = load_verified(config, known, cache)
                if threads:
                    limit_threads(threads)
                with ThreadPoolExecutor(max(2, threads or 0), "embed-decode") as pool:
                    pictures = _jpegs(images, shard, missing)
                    for batch_keys, vectors in encode_batches(pictures, encoder, config.embed_batch, pool):
                        table.put(batch_keys, vectors)
                        stored.add(batch_keys, vectors)
        table.write(path)
        counts = table.counts()
        return ShardCounts(
            rows=len(keys), ok=counts.pop(OK, 0), failed=dict(counts), reused=reused,
            pictures=sum(pictures_of[key] for key in table.good_keys()),
            from_store=stored.taken, store_failures=stored.failures,
        )  # fmt: skip

    try:
        return embeddings.run(shard, _fingerprint(source, known.id), work)
    except CorruptFile as error:
        images.discard_report(shard)  # the report must not remain with such a file
        raise CorruptFile(error.path, f"{error.detail}; run the download step again") from None


def _images_report(workspace: Workspace, shard: int) -> ShardReport:
    report = workspace.images.report(shard)
    if report is None:
        raise StepFailed(f"{workspace.images.url}: shard {shard} has not been done; run the download step first")
    return report


def _fingerprint(images: ShardReport, encoder_id: str) -> str:
    return fingerprint("embed", images.digest, encoder_id)


def _pictures_by_key(images: ShardFolder, shard: int) -> Counter[str]:
    """sha256 of every good picture of a shard, and how many pictures have it."""
    with images.open(shard) as stream, corruption_guard(images.path(shard)):
        table = read_parquet(stream, ["sha256"], checked=True)
    return Counter(table["sha256"].drop_null().to_pylist())


def _jpegs(images: ShardFolder, shard: int, keys: set[str]) -> Iterator[tuple[str, bytes]]:
    """The pictures of these keys, each once, one row group in memory at a time."""
    if not keys:
        return
    remaining = set(keys)
    with images.open(shard) as stream, corruption_guard(images.path(shard)):
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        for number in range(file.num_row_groups):
            group_keys = file.read_row_group(number, ["sha256"])["sha256"].to_pylist()
            if remaining.isdisjoint(group_keys):
                continue
            pictures = file.read_row_group(number, ["jpeg"])["jpeg"]
            for key, jpeg in zip(group_keys, pictures, strict=True):
                if key in remaining:
                    remaining.remove(key)
                    yield key, jpeg.as_py()
