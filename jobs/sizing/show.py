"""Shows a sizing as text."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from artifacts.index.choosing import size_text
from jobs.sizing.measured import Measured
from jobs.sizing.plan import BUSY_SHARE, HTTP_CORE_MS, Sizing


def sizing_table(sizing: Sizing) -> Table:
    """Return what a demand takes, in the order in which one buys it."""
    demand, choice = sizing.demand, sizing.choice
    title = f"{demand.products:,} products, {sizing.rows:,} pictures, {demand.dim}-d, {demand.qps:,.0f} searches/s"
    table = Table(title=title, title_justify="left", show_header=False, show_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("index", f"{choice.factory}, {sizing.parts} parts")
    for reason in choice.reasons:
        table.add_row("", reason)
    table.add_section()
    table.add_row("a server: memory", _memory(sizing))
    disk, segment = size_text(round(sizing.server_disk_bytes)), size_text(round(sizing.segment_bytes))
    table.add_row("a server: disk", f"{disk}: two bases of {segment}, while one replaces the other")
    load = f"{demand.qps:,.0f} searches/s at {sizing.core_ms:.1f} ms of a core, {BUSY_SHARE:.0%} busy"
    table.add_row("servers", f"{sizing.replicas} of {demand.cores} cores: {load}, and a spare one")
    for search in sizing.searches:
        encoder = f"{search.encode_core_ms:.0f} ms encoder" if search.encode_core_ms else "encoder on a GPU"
        depth = f"nprobe {search.depth.nprobe}, rescore {search.depth.rescore}"
        text = f"{search.index_core_ms:.1f} ms index ({depth}), {HTTP_CORE_MS:.0f} ms HTTP, {encoder}"
        table.add_row(f"  by {search.modality}", text)
    table.add_section()
    stages = (
        f"training {sizing.train_core_hours:,.1f} core hours, parts {sizing.parts_core_hours:,.1f} on "
        f"{demand.build_cores} cores, seal {sizing.seal_core_hours:.1f} on one"
    )
    table.add_row("index: time", f"{sizing.index_hours:.1f} h: {stages}")
    task, train = size_text(round(sizing.part_memory_bytes)), size_text(round(sizing.train_memory_bytes))
    table.add_row("index: memory", f"{task} a task; {train} to train")
    table.add_row("embedding: time", _embedding(sizing))
    table.add_row("workspace: disk", size_text(round(sizing.workspace_bytes)))
    return table


def errors_line(point: Measured, errors: Mapping[str, float]) -> str:
    """Return how far the model is off on a point that it was not fitted to."""
    listed = ", ".join(f"{name} {error:+.0%}" for name, error in errors.items())
    return f"Error on a measurement left out of the fit ({point.rows:,} rows, {point.factory}): {listed}."


def _memory(sizing: Sizing) -> str:
    index = f"{size_text(sizing.choice.resident_bytes)} of index ({sizing.choice.row_bytes:.0f} bytes a picture)"
    vectors = size_text(round(2.0 * sizing.rows * sizing.demand.dim))
    return f"{index}; beside it as much of {vectors} of vectors as fits, since candidates are read from them"


def _embedding(sizing: Sizing) -> str:
    demand = sizing.demand
    if sizing.embed_hours is not None:
        return f"{sizing.embed_hours:.1f} h on {demand.gpus} GPUs, at {demand.pictures_per_second:,.0f} pictures/s each"
    return "give --gpus and --pictures-per-second, as `lookalike build` reports it for your pictures"
