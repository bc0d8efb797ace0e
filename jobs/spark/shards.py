"""Maps a function over shards: one Spark task for each, one report back, one sentence when a task fails."""

from __future__ import annotations

import json
import os
import queue
import re
import threading
from collections.abc import Callable, Sequence

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkContext
from pyspark.accumulators import AccumulatorParam
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from artifacts.errors import LookalikeError, StepFailed
from jobs.spark.daemon import PRELOAD
from jobs.workspace.shards import ShardReport

#: Begins the line, in a task's traceback, that names the failed shard and the cause.
_NOTE = "lookalike-failure "


def threads_per_task(spark: SparkSession, tasks: int) -> int:
    """Cores that each of `tasks` tasks may use when they run side by side."""
    context = spark.sparkContext
    if (context.master or "").startswith("local"):
        return max(1, (os.cpu_count() or 1) // max(1, min(context.defaultParallelism, tasks)))
    return int(context.getConf().get("spark.task.cpus", "1"))


def map_shards(
    spark: SparkSession,
    shards: Sequence[int],
    task: Callable[[int], ShardReport],
    on_report: Callable[[ShardReport], None] = lambda report: None,
    *,
    preload: Sequence[str] = (),
    noun: str = "shard",
) -> list[ShardReport]:
    """Run a task for each shard, as many at once as Spark has cores.

    Args:
        task: picklable, by module and name: the workers import it.
        on_report: called in the caller's thread, once for each shard, as soon as it is done.
        preload: modules that the workers import once for all of them, see `jobs.spark.daemon`.
        noun: what a shard is called in messages.

    Returns:
        The reports in the order of `shards`.

    Raises:
        StepFailed: a shard failed, and Spark's retries did; names the shard and the cause. Finished shards stay.
    """
    if not shards:
        return []
    context = spark.sparkContext
    context.environment[PRELOAD] = ",".join(preload)
    events: queue.Queue[ShardReport | BaseException | None] = queue.Queue()
    # collect() returns when all tasks are done. An accumulator arrives with each task, exactly once, and so shows the
    # progress.
    progress = context.accumulator(None, _Progress(events.put))

    def work(shard: int) -> ShardReport:
        try:
            report = task(shard)
        except Exception as error:  # Spark passes on the text of its traceback, and notes with it
            error.add_note(_NOTE + json.dumps([shard, _sentence(error)]))
            raise
        progress.add(report)
        return report

    group = f"lookalike-{id(events)}"
    reports: list[ShardReport] = []

    def collect() -> None:
        try:
            context.setJobGroup(group, context.appName or group, interruptOnCancel=True)
            reports.extend(context.parallelize(list(shards), len(shards)).map(work).collect())
            events.put(None)
        except BaseException as error:
            events.put(error)

    runner = threading.Thread(target=collect, name="spark-collect", daemon=True)
    runner.start()
    reported: set[int] = set()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, (Py4JJavaError, PySparkException)):
                raise _failure(event, shards, noun) from None
            if isinstance(event, BaseException):
                raise event
            reported.add(event.shard)
            on_report(event)
    except BaseException:  # an interrupt, or an error of on_report: the tasks must not go on
        _cancel(context, group)
        raise
    finally:
        runner.join(timeout=60)
    for report in reports:
        if report.shard not in reported:
            on_report(report)
    return reports


def _cancel(context: SparkContext, group: str) -> None:
    try:
        context.cancelJobGroup(group)
    except (Py4JError, OSError):
        return  # Spark itself has ended, and its tasks with it


class _Progress(AccumulatorParam[ShardReport | None]):
    """Passes every report on at the driver; a worker's copy keeps the last one until its task ends."""

    def __init__(self, put: Callable[[ShardReport], None]) -> None:
        self._put = put

    def zero(self, value: ShardReport | None) -> ShardReport | None:
        return value

    def addInPlace(self, value1: ShardReport | None, value2: ShardReport | None) -> ShardReport | None:
        if value2 is not None:
            self._put(value2)
        return None

    def __reduce__(self) -> tuple[type[_KeepLast], tuple[()]]:
        return _KeepLast, ()


class _KeepLast(AccumulatorParam[ShardReport | None]):
    """Stands for `_Progress` in a worker process: the queue stays at the driver."""

    def zero(self, value: ShardReport | None) -> ShardReport | None:
        return value

    def addInPlace(self, value1: ShardReport | None, value2: ShardReport | None) -> ShardReport | None:
        return value2 if value2 is not None else value1


def _sentence(error: Exception) -> str:
    text = str(error).strip().split("\n")[0][:500]
    return text if isinstance(error, LookalikeError) and text else f"{type(error).__name__}: {text}"


def _failure(error: Py4JJavaError | PySparkException, shards: Sequence[int], noun: str) -> StepFailed:
    """One sentence from the hundreds of lines that Spark reports of a failed task."""
    text = str(error)
    if note := re.search(rf"^{_NOTE}(\[.*\])$", text, re.MULTILINE):
        shard, cause = json.loads(note[1])
        return StepFailed(f"{noun} {shard} failed: {cause}")
    task = re.search(r"Task (\d+) in stage \S+ failed \d+ times?", text)
    subject = f"{noun} {shards[int(task[1])]}" if task else "the Spark job"
    if "exited unexpectedly" in text or "ExecutorLostFailure" in text:
        return StepFailed(f"{subject} failed: its worker process died (killed, or out of memory)")
    cause = next((line.strip() for line in text.split("\n") if "Exception: " in line), text.split("\n")[0])
    return StepFailed(f"{subject} failed: {cause[:500]}")
