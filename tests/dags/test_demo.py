"""`lookalike demo` up to the server: the whole DAG, with Spark, on a sample catalog."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from artifacts.errors import StepFailed
from artifacts.settings import Settings
from artifacts.store.store import Store
from jobs.console import variables_of
from jobs.demo import run_demo
from jobs.progress import Reporter
from tests.pipeline import small_settings

STEPS = ["sample", "airflow", "validate", "download", "embed", "train", "index", "seal", "evaluate", "publish"]


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # the encoder is in tests/
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:////nowhere/another.db")
    return io.StringIO()


def demo(folder: Path, settings: Settings, output: io.StringIO) -> str:
    reporter = Reporter(Console(file=output, width=200))
    return run_demo(folder, products=24, config=settings.pipeline, variables=variables_of(settings), reporter=reporter)


@pytest.mark.airflow
@pytest.mark.spark
@pytest.mark.timeout(900)  # a whole Airflow and two Sparks, on machines that may be busy
def test_demo_builds_a_release_and_a_second_run_changes_nothing(tmp_path: Path, output: io.StringIO) -> None:
    settings = small_settings(tmp_path)
    version = demo(tmp_path, settings, output)
    store = Store(settings.releases, settings.cache)
    assert store.current() == version
    counts = store.verify().counts
    assert counts.input_rows == 24
    assert counts.indexed == 24 - sum(counts.rejected.values()) >= 20
    lines = [line for line in output.getvalue().splitlines() if line.startswith("✓")]
    assert [line.split()[1] for line in lines] == STEPS
    assert f"{counts.pictures} pictures" in lines[STEPS.index("embed")]
    assert "recall" in lines[STEPS.index("evaluate")]
    assert version in lines[STEPS.index("publish")]

    # The second run starts no Spark, and says that nothing has changed.
    assert demo(tmp_path, settings, output) == version
    assert "drawn before" in output.getvalue()
    assert f"Nothing has changed: {version} is still served." in output.getvalue()
    log = (tmp_path / "airflow" / "demo.log").read_text()
    assert "spark-submit --master" not in log

    # A shard that fails in Spark ends the demo with its own sentence and the path of the log.
    other = settings.model_copy(update={"encoder": "python:tests.encoders:NoMemory"})
    with pytest.raises(StepFailed, match=r"embed failed: shard \d failed: the device has not enough.*demo\.log"):
        demo(tmp_path, other, output)
    assert store.current() == version


def test_task_states_are_reported_as_json_lines() -> None:
    from run_and_report import StateReporter

    stream = io.StringIO()
    reporter = StateReporter(stream)
    task = SimpleNamespace(task_id="index", map_index=-1, xcom_pull=lambda **_: "36 products")
    reporter.on_task_instance_running(None, task)
    reporter.on_task_instance_success(None, task)
    reporter.on_task_instance_failed(None, task, StepFailed("shard 3 is missing"))
    reporter.on_task_instance_failed(None, task, RuntimeError("many\nlines"))
    common = {"task": "index", "map_index": -1}
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        common | {"state": "running"},
        common | {"state": "success", "note": "36 products"},
        common | {"state": "failed", "error": "shard 3 is missing"},
        common | {"state": "failed", "error": ""},
    ]


def test_demo_without_the_dags_names_the_cause(
    tmp_path: Path, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.demo.ROOT", tmp_path)
    with pytest.raises(StepFailed, match="checkout"):
        demo(tmp_path, small_settings(tmp_path), output)
