"""Both parts of the benchmark in one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from artifacts.config import PipelineConfig
from jobs.bench.refresh.delta import DeltaReport, measure_delta
from jobs.bench.refresh.rebuild import RebuildReport, measure_rebuild
from jobs.progress import Reporter


@dataclass(frozen=True)
class RefreshBenchReport:
    """All that was measured; a part that was left out is None."""

    rebuild: RebuildReport | None
    delta: DeltaReport | None


def measure_refresh(
    products: int,
    rows: int,
    dim: int,
    share: float,
    refreshes: int,
    config: PipelineConfig,
    folder: Path,
    reporter: Reporter,
    *,
    turns: int,
    only: Literal["rebuild", "delta"] | None = None,
) -> RefreshBenchReport:
    """Measure both parts, or one of them; see `measure_rebuild` and `measure_delta`."""
    rebuild = None if only == "delta" else measure_rebuild(products, share, config, folder, reporter)
    delta = None
    if only != "rebuild":
        delta = measure_delta(rows, dim, share, refreshes, config.index, config.gate, folder, reporter, turns=turns)
    return RefreshBenchReport(rebuild, delta)
