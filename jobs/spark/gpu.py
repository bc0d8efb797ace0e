"""The GPU of a task, found without importing pyspark where the task does not run on Spark."""

from __future__ import annotations

import sys


def assigned_gpu() -> str | None:
    """Return the device that the cluster assigned to the calling task (`cuda:2`), or None if it assigned none."""
    pyspark = sys.modules.get("pyspark")  # a process that runs Spark's tasks has imported it
    context = pyspark.TaskContext.get() if pyspark else None
    gpu = context.resources().get("gpu") if context else None
    return f"cuda:{gpu.addresses[0]}" if gpu and gpu.addresses else None
