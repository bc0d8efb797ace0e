"""Shows a sizing as text."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from artifacts.index.choosing import size_text
from jobs.sizing.measured import Measured
from jobs.sizing.plan import BUSY_SHARE, HTTP_CORE_MS, WORKER_BYTES, Sizing


def sizing_table(sizing: Sizing) -> Table:
    """Return what a demand takes."""
    demand, choice, index = sizing.demand, sizing.choice, sizing.index
    title = f"{demand.products:,} products, {index.rows:,} pictures, {demand.dim}-d, {demand.qps:,.0f} searches/s"
    table = Table(title=title, title_justify="left", show_header=False, show_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("index", choice.factory)
    for reason in choice.reasons:
        table.add_row("", reason)
    table.add_row("parts", f"{index.parts} of up to {index.part_rows:,} pictures")
    table.add_row("shards", _shards(sizing))
    table.add_section()
    table.add_row("a server: memory", _server_memory(sizing))
    disk, segment = _size(sizing.server_disk_bytes), _size(sizing.segment_bytes)
    table.add_row("a server: disk", f"{disk}: two bases of {segment}, while one replaces the other")
    load = f"{demand.qps:,.0f} searches/s at {sizing.core_ms:.1f} ms of a core, {BUSY_SHARE:.0%} busy"
    table.add_row("servers", f"{sizing.replicas} of {demand.cores} cores: {load}, and a spare one")
    for search in sizing.searches:
        depth = f"nprobe {search.depth.nprobe}, rescore {search.depth.rescore}"
        text = f"{search.index_ms:.1f} ms index ({depth}), {HTTP_CORE_MS} ms HTTP, {search.encode_ms:.0f} ms encoder"
        table.add_row(f"  by {search.modality}", text)
    table.add_section()
    rounds = f"{sizing.rounds} round{'s' if sizing.rounds > 1 else ''} of {sizing.tasks} tasks"
    stages = (
        f"training {sizing.train_hours:.1f} on {demand.cores} cores, parts {sizing.parts_hours:.1f} in {rounds} "
        f"of one core, seal {sizing.seal_hours:.2f}"
    )
    table.add_row("index: hours", f"{sizing.index_hours:.1f}: {stages}")
    memory = (
        f"{_size(sizing.train_memory_bytes)} to train, beside a sample of {_size(sizing.sample_bytes)} in a file; "
        f"{_size(sizing.part_memory_bytes)} a task; {_size(sizing.seal_memory_bytes)} to seal"
    )
    table.add_row("index: memory", memory)
    table.add_row("ground truth", _truth(sizing))
    table.add_row("embedding: hours", _embedding(sizing))
    table.add_row("workspace: disk", _size(sizing.workspace_bytes))
    return table


def errors_text(point: Measured, errors: Mapping[str, float]) -> str:
    """Return how far the model is off on a point that it was not fitted to."""
    listed = ", ".join(f"{name} {error:+.0%}" for name, error in errors.items())
    return (
        f"Error of the model on the largest measurement, fitted to the smaller ones "
        f"({point.rows:,} rows, {point.factory}): {listed}."
    )


def _size(size: float) -> str:
    return size_text(round(size))


def _shards(sizing: Sizing) -> str:
    index = sizing.index
    text = f"{sizing.shards} of {index.shard_rows:,} pictures"
    if index.shard_rows == index.part_rows and index.parts > 1:
        return f"{text}: a part is never less than a shard; more shards make smaller parts"
    return f"{text}: set LOOKALIKE_SHARDS before the first build, since a workspace keeps its number"


def _server_memory(sizing: Sizing) -> str:
    demand = sizing.demand
    index = f"{_size(sizing.choice.resident_bytes)} of index ({sizing.choice.row_bytes:.0f} bytes a picture)"
    workers = f"{_size(demand.cores * WORKER_BYTES)} of {demand.cores} workers"
    mapped = f"as much of {_size(2 * sizing.index.numbers)} of vectors, and of the product rows, as fits"
    return f"{_size(sizing.server_memory_bytes)}: {index}, {workers}; beside it {mapped}"


def _truth(sizing: Sizing) -> str:
    demand, vectors = sizing.demand, _size(2 * sizing.index.numbers)
    queries = f"{demand.truth_queries:,.0f} queries of the gate with {vectors} of vectors, read once"
    minutes, memory = 60 * sizing.truth_hours, _size(sizing.truth_memory_bytes)
    return f"{minutes:.0f} minutes on {demand.cores} cores for {queries}; {memory} of memory"


def _embedding(sizing: Sizing) -> str:
    demand = sizing.demand
    if sizing.embed_hours is not None:
        return f"{sizing.embed_hours:.1f} on {demand.gpus} GPUs, at {demand.pictures_per_second:,.0f} pictures/s each"
    return "give --gpus and --pictures-per-second, as you have measured it"
