"""The GPU that a task takes: the one that Spark assigned, or one by the task's number."""

from __future__ import annotations

from types import SimpleNamespace

import pyspark
import pytest

from jobs.spark.gpu import assigned_gpu, gpu_number


def on_spark(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    resources = {"gpu": SimpleNamespace(addresses=list(addresses))} if addresses else {}
    monkeypatch.setattr(pyspark.TaskContext, "get", lambda: SimpleNamespace(resources=lambda: resources))


def test_outside_of_spark_a_task_has_all_gpus() -> None:
    assert gpu_number(3) is None


def test_task_takes_the_gpu_that_spark_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    on_spark(monkeypatch, "2")
    assert (gpu_number(3), assigned_gpu()) == (2, "cuda:2")


@pytest.mark.parametrize("addresses", [(), ("GPU-5c1b",)])
def test_task_without_a_numbered_gpu_takes_one_by_its_own_number(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    on_spark(monkeypatch, *addresses)
    assert gpu_number(3) == 3
