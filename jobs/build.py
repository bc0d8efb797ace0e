"""`lookalike build`: all steps in one process tree, from a catalog to a published release.

    catalog -> download -> embed -> train -> index -> seal -> rebase -> load -> evaluate -> publish

The DAG `catalog_rebuild` calls the same functions. Everything that an earlier run has finished is recorded, so a build
that was killed continues where it was, and one with nothing new starts neither Spark nor an encoder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from artifacts.config import PipelineConfig
from artifacts.store.manifest import Counts
from jobs.catalog.step import run_catalog
from jobs.download.refetch import NOTHING, Refetch
from jobs.download.step import run_download
from jobs.embed.step import run_embed, run_encoder
from jobs.evaluate.step import run_evaluate
from jobs.index.parts import run_parts
from jobs.index.seal import run_seal
from jobs.index.train import run_train
from jobs.load.step import run_load
from jobs.progress import Reporter
from jobs.publish import PublishReport
from jobs.rebase.step import run_publish_rebased, run_rebase
from jobs.spark.launcher import SparkLauncher
from jobs.steps import StepContext, StepResult


@dataclass(frozen=True)
class Step:
    """One step of the build, as it is shown."""

    name: str
    run: Callable[[StepContext], StepResult[Any]]
    unit: str = "shards"  # of its progress
    on_spark: bool = False


STEPS = (
    Step("encoder", run_encoder),
    Step("catalog", run_catalog, unit="rows"),
    Step("download", run_download, on_spark=True),
    Step("embed", run_embed, on_spark=True),
    Step("train", run_train),
    Step("index", run_parts, on_spark=True),
    Step("seal", run_seal, unit="parts"),
    Step("rebase", run_rebase),
    Step("load", run_load, unit="rows"),
    Step("evaluate", run_evaluate, unit="measurements"),
    Step("publish", run_publish_rebased),
)


@dataclass(frozen=True)
class BuildSummary:
    """The outcome of a build: the result of each step by its name, and its wall time."""

    steps: dict[str, StepResult[Any]]
    seconds: float

    @property
    def changed(self) -> bool:
        """Whether a picture was fetched or embedded, or another release is served now."""
        done = self.steps["download"].report.done + self.steps["embed"].report.done
        return bool(done) or self.steps["publish"].changed

    @property
    def counts(self) -> Counts:
        """Where every row of the catalog ended."""
        return self.steps["rebase"].report.counts

    @property
    def recall(self) -> dict[str, float]:
        """recall@k by modality, as `image@100`."""
        return self.steps["evaluate"].report.recall

    @property
    def published(self) -> PublishReport:
        return self.steps["publish"].report


def build(source: str, config: PipelineConfig, reporter: Reporter, refetch: Refetch = NOTHING) -> BuildSummary:
    """Build and publish a release from a catalog.

    Args:
        source: see `jobs.catalog.sources`.
        refetch: products whose pictures are fetched even if they are unchanged.

    Raises:
        LookalikeError: a step cannot go on; what is served stays as it was.
    """
    return build_steps(StepContext.open(config, source), reporter, refetch)


def build_steps(context: StepContext, reporter: Reporter, refetch: Refetch = NOTHING) -> BuildSummary:
    """Run all steps on a context; see `build`."""
    began = time.monotonic()
    spark = SparkLauncher("lookalike build", log=context.workspace.spark_log)
    results: dict[str, StepResult[Any]] = {}

    def download(context: StepContext) -> StepResult[Any]:
        refetch.require_known(context.workspace)
        return run_download(context, refetch=refetch)

    try:
        for step in STEPS:
            if step.name == "load" and context.config.engine.engine == "faiss":
                continue
            if not step.on_spark:
                spark.stop()  # its memory is needed by the steps that follow
            with reporter.step(step.name, step.unit) as display:
                run = download if step.name == "download" else step.run
                result = run(replace(context, spark=spark, progress=display.at))
                display.note(result.note)
            results[step.name] = result
    finally:
        spark.stop()
    return BuildSummary(results, round(time.monotonic() - began, 3))
