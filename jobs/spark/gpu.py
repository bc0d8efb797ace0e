"""The GPU of a task, found without importing pyspark where the task does not run on Spark."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark import TaskContext


def gpu_number(task: int) -> int | None:
    """Return the number by which the calling task takes one GPU of several; None outside of Spark, for all of them.

    Spark names GPUs only where they are configured as resources of tasks (`spark.task.resource.gpu.amount`), which its
    local mode does not support; an address may be a UUID. Then the tasks of a machine share its GPUs by their numbers.

    Args:
        task: number of the task.
    """
    gpu = assigned_gpu()
    if gpu is None:
        return task if _task_context() else None
    address = gpu.removeprefix("cuda:")
    return int(address) if address.isdecimal() else task


def assigned_gpu() -> str | None:
    """Return the device that the cluster assigned to the calling task (`cuda:2`), or None if it assigned none."""
    context = _task_context()
    gpu = context.resources().get("gpu") if context else None
    return f"cuda:{gpu.addresses[0]}" if gpu and gpu.addresses else None


def _task_context() -> TaskContext | None:
    pyspark = sys.modules.get("pyspark")  # a process that runs Spark's tasks has imported it
    return pyspark.TaskContext.get() if pyspark else None
