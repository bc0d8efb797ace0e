"""The Spark session of a process: started here, configured by any cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from jobs.spark.java import java_home

#: Used where neither spark-submit nor spark-defaults.conf sets another value.
_DEFAULTS = {
    "spark.log.level": "FATAL",  # a failure is reported once, by `jobs.spark.shards`, in one sentence
    "spark.ui.enabled": "false",
    "spark.sql.session.timeZone": "UTC",
    # A worker process keeps its encoder and connections for the next shard.
    "spark.python.worker.reuse": "true",
    "spark.python.daemon.module": "jobs.spark.daemon",
}

#: The driver's JVM only passes reports on. Compiling its code with the optimizing compiler, too, takes 3 of the 9
#: seconds of a core that starting Spark and running one job takes (2 cores, Java 17).
JVM_OPTIONS = "-XX:TieredStopAtLevel=1"


def session(app: str, *, log: Path | None = None) -> SparkSession:
    """Return the Spark session of this process, started if there is none.

    Master, memory and packages come from spark-submit or spark-defaults.conf; without them Spark runs on all cores of
    this machine. Workers use the Python of this process unless PYSPARK_PYTHON names another.

    Args:
        log: file for the stderr of the JVM and its workers, if this call starts them; None leaves it with this
            process's stderr.

    Raises:
        StepFailed: there is no Java to run it.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if SparkContext._gateway is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        os.environ["JAVA_HOME"] = java_home()
        os.environ.setdefault("SPARK_SUBMIT_OPTS", JVM_OPTIONS)
    with _stderr_to(log):
        SparkContext._ensure_initialized()  # SparkConf sees the options of spark-submit only after this
    conf = SparkConf().setAppName(app)
    for name, value in _DEFAULTS.items():
        conf.setIfMissing(name, value)
    conf.setIfMissing("spark.master", "local[*]")
    conf.set("spark.ui.showConsoleProgress", "false")  # the launcher turns it on; it would overwrite the progress bar
    return SparkSession.builder.config(conf=conf).getOrCreate()


@contextmanager
def _stderr_to(log: Path | None) -> Iterator[None]:
    """Redirect stderr to a file for processes started in the block: a JVM's lines would overwrite the progress bar."""
    if log is None:
        yield
        return
    stderr = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
