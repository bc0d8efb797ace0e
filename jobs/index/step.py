"""Step 4: one segment from the catalog, the pictures and the vectors; every catalog row ends indexed or rejected.

The segment's id is a digest of everything it is made from, so building the same again finds it done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.encoders.base import Encoder
from artifacts.encoders.registry import load_encoder
from artifacts.errors import StepFailed
from artifacts.pictures import thumbnail
from artifacts.schema import FORMAT_VERSION, OK, REJECTS, Reason, attributes_of, is_http, segment_schema
from artifacts.segments.writer import SegmentWriter
from artifacts.settings import Settings
from artifacts.storage import Folder
from artifacts.store.manifest import Counts
from artifacts.store.store import Store, usable_segment
from jobs.candidate import CANDIDATE, Candidate, load_candidate, recorded
from jobs.candidate import REJECTS as REJECTS_FILE
from jobs.catalog.report import CatalogReport, read_catalog_report
from jobs.catalog.shards import read_products
from jobs.workspace import fingerprint, read_reports, shard_name

#: Pictures that are joined and written at once.
_BATCH = 1024


@dataclass(frozen=True)
class IndexReport:
    """What `run_index` did."""

    candidate: Candidate
    skipped: bool  # the segment was there already


@dataclass
class _Tally:
    """Counts of what did not make it, and the rejects to write."""

    rejected: Counter[str] = field(default_factory=Counter)
    failed_pictures: Counter[str] = field(default_factory=Counter)
    rejects: list[dict[str, object]] = field(default_factory=list)


def run_index(
    workspace: Folder, store: Store, settings: Settings, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> IndexReport:
    """Build the candidate's segment and save the candidate.

    Args:
        progress: called with shards joined, and of how many.

    Raises:
        StepFailed: an earlier step is not complete, or no product has a usable picture, or too many have none.
    """
    encoder = load_encoder(settings.encoder, settings.device)
    catalog = read_catalog_report(workspace)
    segment_id = _segment_id(workspace, catalog, encoder, settings)
    if workspace.exists(CANDIDATE) and usable_segment(store, segment_id):
        earlier = load_candidate(workspace)
        if [segment.id for segment in earlier.segments] == [segment_id]:
            candidate = earlier.model_copy(update={"expected": store.current(), "source": catalog.source})
            candidate.save(workspace)
            return IndexReport(candidate, skipped=True)
    tally = _Tally()
    with store.new_segment(segment_id) as folder:
        writer = SegmentWriter(folder, encoder.dim)
        products = 0
        schema = segment_schema(attributes_of(read_products(workspace, 0).schema))
        for shard in range(catalog.shards):
            products += _add_shard(workspace, shard, encoder, settings, writer, schema, tally)
            progress(shard + 1, catalog.shards)
        _check(catalog, products, tally, settings)
        info = writer.finish(segment_id, encoder.id, schema, settings.pipeline.index)
    counts = Counts(
        input_rows=catalog.input_rows,
        indexed=info.products,
        pictures=info.rows,
        rejected=dict(sorted((Counter(catalog.rejected) + tally.rejected).items())),
        failed_pictures=dict(sorted(tally.failed_pictures.items())),
    )
    if counts.input_rows != counts.indexed + sum(counts.rejected.values()):
        raise StepFailed(f"rows do not add up: {counts}; this is a fault of Lookalike, please report it")
    _write_rejects(workspace, tally)
    candidate = Candidate(
        expected=store.current(),
        source=catalog.source,
        encoder=encoder.describe(),
        segments=[store.reference(segment_id)],
        counts=counts,
        settings=recorded(settings),
    )
    candidate.save(workspace)
    return IndexReport(candidate, skipped=False)


def _segment_id(workspace: Folder, catalog: CatalogReport, encoder: Encoder, settings: Settings) -> str:
    steps = ("catalog", "images", f"embeddings/{encoder.slug}")
    digests = [[report.sha256 for report in read_reports(workspace / step, catalog.shards)] for step in steps]
    shaping = settings.model_dump(
        include={"codec", "flat_max_rows", "rows_per_index", "train_rows_per_list", "seed", "thumbnail_side"}
    )
    return fingerprint(FORMAT_VERSION, encoder.id, shaping, digests)[:16]


def _add_shard(
    workspace: Folder,
    shard: int,
    encoder: Encoder,
    settings: Settings,
    writer: SegmentWriter,
    schema: pa.Schema,
    tally: _Tally,
) -> int:
    """Append one shard's pictures; returns how many of its products were indexed."""
    products = read_products(workspace, shard)
    with (workspace / "embeddings" / encoder.slug).open(shard_name(shard)) as file:
        embeddings = pq.read_table(file)
    vectors = _vectors(embeddings, encoder.dim)
    usable = embeddings["status"].to_numpy() == OK
    indexed: set[str] = set()
    failures: dict[str, list[tuple[str, str]]] = {}  # product -> (reason, detail) of each picture that failed
    with ThreadPoolExecutor() as pool:
        for batch in _batches(workspace, shard):
            at = _places(batch["sha256"], embeddings["sha256"])
            embedded = (at >= 0) & usable[at] if len(usable) else at >= 0
            for row in batch.filter(pa.array(~embedded)).select(["product_id", "status", "detail"]).to_pylist():
                reason, detail = row["status"], row["detail"] or ""
                if reason == OK:
                    reason, detail = Reason.BAD_EMBEDDING, "the encoder returned no usable vector for the picture"
                failures.setdefault(row["product_id"], []).append((reason, detail))
            good = batch.filter(pa.array(embedded))
            if good.num_rows == 0:
                continue
            indexed.update(good["product_id"].to_pylist())
            jpegs = _thumbnails(good, settings.thumbnail_side, pool)
            writer.add(_product_rows(products, good, schema), vectors[at[embedded]], jpegs)
    for product_id in products["product_id"].to_pylist():
        if product_id not in indexed:
            # A product without any row in the images has an empty list of pictures; the catalog step rejects those.
            reason, detail = failures[product_id][0]
            tally.rejected[reason] += 1
            tally.rejects.append({"product_id": product_id, "reason": reason, "detail": detail})
    for product_id, reasons in failures.items():
        if product_id in indexed:
            tally.failed_pictures.update(reason for reason, _ in reasons)
    return len(indexed)


def _batches(workspace: Folder, shard: int) -> Iterator[pa.Table]:
    with (workspace / "images").open(shard_name(shard)) as file:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH):
            yield pa.Table.from_batches([batch])


def _vectors(embeddings: pa.Table, dim: int) -> np.ndarray:
    """float16[rows, dim]; rows without a vector hold anything."""
    column = embeddings["vector"].combine_chunks()
    return column.values.to_numpy(zero_copy_only=False).reshape(-1, dim).astype(np.float16, copy=False)


def _places(values: pa.ChunkedArray, among: pa.ChunkedArray) -> np.ndarray:
    """Where each value stands in `among`, int64[n]; -1 where it is null or not there."""
    options = pc.SetLookupOptions(value_set=among, skip_nulls=True)
    return pc.call_function("index_in", [values], options).fill_null(-1).to_numpy().astype(np.int64)


def _product_rows(products: pa.Table, pictures: pa.Table, schema: pa.Schema) -> pa.Table:
    """One product row for each picture, in the pictures' order."""
    rows = products.take(pa.array(_places(pictures["product_id"], products["product_id"])))
    columns = {
        **{name: rows[name] for name in schema.names if name in rows.column_names},
        "picture": pictures["picture"],
        "image_url": pictures["url"],
    }
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def _thumbnails(pictures: pa.Table, side: int, pool: ThreadPoolExecutor) -> list[bytes | None]:
    """A thumbnail for each picture that browsers cannot fetch by its own URL."""
    urls = pictures["url"].to_pylist()
    private = [not is_http(url) for url in urls]
    jpegs = [jpeg if wanted else None for jpeg, wanted in zip(pictures["jpeg"].to_pylist(), private, strict=True)]
    shrink = partial(thumbnail, side=side)
    return list(pool.map(lambda jpeg: None if jpeg is None else shrink(jpeg), jpegs))


def _check(catalog: CatalogReport, products: int, tally: _Tally, settings: Settings) -> None:
    """Stop before anything is sealed if too little is left."""
    failed = sum(tally.rejected.values())
    common = ", ".join(f"{reason} ({count})" for reason, count in tally.rejected.most_common(3))
    if products == 0:
        raise StepFailed(f"none of the {catalog.ok} products has a usable picture: {common or 'the catalog is empty'}")
    rate = failed / catalog.input_rows
    if rate > settings.max_reject_rate:
        example = tally.rejects[0]
        raise StepFailed(
            f"{failed} of {catalog.input_rows} products ({rate:.0%}) have no usable picture, more than max_reject_rate "
            f"{settings.max_reject_rate:.0%} allows: {common}; for example {example['product_id']}: {example['detail']}"
        )


def _write_rejects(workspace: Folder, tally: _Tally) -> None:
    with workspace.open("catalog/rejects.parquet") as file:
        earlier = pq.read_table(file).cast(REJECTS)
    found = pa.Table.from_pylist([{"input_row": None, **reject} for reject in tally.rejects], schema=REJECTS)
    with workspace.writing(REJECTS_FILE) as path:
        pq.write_table(pa.concat_tables([earlier, found]), path, compression="zstd")
