"""Measures the build of an index of drawn vectors: training, parts by one or several tasks, the seal, and searches."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from artifacts.config import PipelineConfig
from artifacts.encoders.identity import encoder_identity
from artifacts.segments.info import QUANTIZER_FILE, read_info
from artifacts.store.store import Store
from jobs.bench.build.encoder import drawn_encoder
from jobs.bench.build.searches import measure_searches
from jobs.bench.build.worker import measured, processes
from jobs.bench.build.workspace import draw_workspace
from jobs.index.parts import PartTask, write_part
from jobs.index.plan import IndexPlan
from jobs.index.seal import run_seal
from jobs.index.train import run_train
from jobs.sizing.measured import Measured, PartsRun, Usage
from jobs.steps import Progress, StepContext, no_progress
from jobs.workspace.shards import ShardReport
from jobs.workspace.workspace import Workspace

_Result = TypeVar("_Result")


def measure_build(
    config: PipelineConfig,
    folder: Path,
    *,
    rows: int,
    dim: int,
    tasks: Sequence[int],
    progress: Progress = no_progress,
) -> Measured:
    """Build an index of `rows` drawn vectors with each number of tasks.

    Args:
        config: its shards are the units that parts are made of.
        folder: keeps the drawn workspace for later runs, and the segment that was built last.
        tasks: ascending.
        progress: called with the shards drawn, then with parts written.
    """
    folder = folder / f"build-{rows}x{dim}"
    config = replace(
        config,
        workspace=str(folder / "workspace"),
        releases=str(folder / "releases"),
        encoder=replace(config.encoder, encoder=drawn_encoder(dim), device="cpu"),
        index=replace(config.index, flat_max_rows=0),
    )
    workspace = Workspace.open(config.workspace, config.shards)
    identity = encoder_identity(config.encoder.encoder, "cpu", config.cache)
    draw_workspace(workspace, identity, rows, config.index.seed, progress)
    for name in ("index", "quantizers", "candidate"):
        workspace.folder.remove(name)
    plan, train = _in_process(_train, config)
    runs: list[PartsRun] = []
    for count in tasks:
        shutil.rmtree(config.releases, ignore_errors=True)
        runs.append(_write_parts(config, plan, count, progress))
    _, seal = _in_process(_seal, config)
    built = Store(config.releases, config.cache).segment_path(plan.segment_id)
    searches = measure_searches(built, config.index.seed, config.gate.recall_target)
    info = read_info(built)
    sizes = {name: file.bytes for name, file in info.files.items()}
    indexes = sum(size for name, size in sizes.items() if name.endswith(("index.faiss", "lists.i32")))
    # Each part's index has a copy of the quantizer, of which one is searched.
    resident = indexes - (len(plan.parts) - 1) * sizes[QUANTIZER_FILE]
    return Measured(
        rows, dim, plan.factory, len(plan.parts), plan.codec, plan.lists, plan.train_rows, train, runs, seal,
        resident_bytes=resident / rows, disk_bytes=sum(sizes.values()) / rows,
        searches=searches, shards=config.shards,
    )  # fmt: skip


def _train(config: PipelineConfig) -> IndexPlan:
    return run_train(StepContext.open(config)).report


def _seal(config: PipelineConfig) -> None:
    run_seal(StepContext.open(config))


def _in_process(call: Callable[[PipelineConfig], _Result], config: PipelineConfig) -> tuple[_Result, Usage]:
    with processes(1) as pool:
        return pool.submit(measured, call, config).result()


def _write_parts(config: PipelineConfig, plan: IndexPlan, tasks: int, progress: Progress) -> PartsRun:
    """Write all parts anew, in as many processes as there are tasks."""
    workspace = Workspace(config.workspace, config.shards)
    usages: list[Usage] = []
    with processes(tasks) as pool:
        for future in [pool.submit(_import) for _ in range(tasks)]:  # starting is no part of the rate
            future.result()

        def run() -> None:
            futures = [pool.submit(measured, _write_part, workspace, config, plan, part.number) for part in plan.parts]
            for future in futures:
                usages.append(future.result()[1])
                progress(len(usages), len(futures))

        seconds = measured(run)[1].seconds
    core_seconds = sum(usage.core_seconds for usage in usages)
    return PartsRun(tasks, seconds, core_seconds, plan.rows / seconds, max(usage.peak_mb for usage in usages))


def _import() -> None:
    import artifacts.segments.index_writer  # noqa: F401  (imports FAISS)


def _write_part(workspace: Workspace, config: PipelineConfig, plan: IndexPlan, number: int) -> ShardReport:
    return write_part(PartTask(workspace, config.releases, config.cache, plan, config.thumbnail_side, "cpu"), number)
