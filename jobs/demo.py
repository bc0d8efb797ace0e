"""`lookalike demo`: a sample catalog, and the DAG `catalog_rebuild` run on it by Airflow, from download to publish.

Airflow runs as a program of its own, in an environment and with a database of its own: an Airflow that is installed on
this machine is neither read nor changed.
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from artifacts.config import PipelineConfig
from artifacts.errors import StepFailed
from artifacts.store.store import Store
from jobs.progress import Reporter, Step
from jobs.sample.catalog import draw_catalog
from jobs.spark.java import java_home
from jobs.workspace.workspace import Workspace

DAG = "catalog_rebuild"
#: The checkout: a wheel contains no DAGs.
ROOT = Path(__file__).parent.parent
#: Lines of Airflow's log that are shown if a failure has no clear sentence.
_LAST_LINES = 15
#: Seconds between two counts of the shards that are done.
_POLL_SECONDS = 0.5

#: The sentence that `spark_submit.py` fails with. Airflow gets only its exit code and copies its output to the log,
#: so the log is the one place that has it.
_SPARK_ERROR = re.compile(r"\] error: (.+?)(?: +\[[\w.]+\]|$)", re.MULTILINE)


def run_demo(
    folder: Path, *, products: int, config: PipelineConfig, variables: Mapping[str, str], reporter: Reporter
) -> str:
    """Draw a sample catalog into `folder` and let Airflow build and publish a release of it.

    A second run draws, downloads, embeds and indexes nothing again.

    Args:
        folder: gets `catalog/`, and `airflow/` with Airflow's database and logs.
        config: names the releases, the workspace and the encoder.
        variables: the settings behind `config`, as LOOKALIKE_ variables for Airflow's tasks.

    Returns:
        The version that is served now.

    Raises:
        StepFailed: Airflow is not installed, or a task failed; names the log.
    """
    airflow = _Airflow(folder.resolve() / "airflow", config, variables)
    catalog = _draw_sample(folder / "catalog", products, config.index.seed, reporter)
    store = Store(config.releases, config.cache)
    before = store.current()
    with reporter.step("airflow") as step:
        step.note(airflow.prepare())
    with airflow.dag_run(catalog) as events:
        while (event := events.get()) is not None:
            if event["state"] == "running":
                with reporter.step(event["task"]) as step:
                    _follow(event["task"], events, step, config, airflow.log)
    after = store.current()
    if after is None:
        raise StepFailed(f"the DAG succeeded but published nothing: see {airflow.log}")
    if after == before:
        reporter.console.print(f"Nothing has changed: {after} is still served.", highlight=False)
    return after


def _draw_sample(folder: Path, products: int, seed: int, reporter: Reporter) -> Path:
    """Draw the sample catalog, unless an earlier run has."""
    with reporter.step("sample", "products") as step:
        recipe, table = folder / "sample.json", folder / "catalog.csv"
        if table.exists() and recipe.exists():  # the table is written last
            drawn = json.loads(recipe.read_text())
            if (drawn["products"], drawn["seed"], drawn["pictures_per_product"]) == (products, seed, 1):
                step.note(f"{products:,} products, drawn before")
                return table
        table = draw_catalog(products, seed, folder, progress=lambda done: step.at(done, products))
        step.note(f"{products:,} products drawn")
        return table


#: Events of `dags/run_and_report.py`; None once the run has ended.
_Events = queue.Queue[dict[str, Any] | None]


class _Airflow:
    """Airflow as another program: `dags/airflow.env`, and a home in the demo's folder."""

    def __init__(self, home: Path, config: PipelineConfig, variables: Mapping[str, str]) -> None:
        if not (ROOT / "dags" / "airflow.env").exists():
            raise StepFailed("the demo runs the DAGs of a checkout, and this is an installed package: clone Lookalike")
        try:
            self._version = version("apache-airflow")
        except PackageNotFoundError:
            raise StepFailed("the demo needs Airflow: pip install -e '.[cpu,serve,pipeline,airflow]'") from None
        self._home, self._config, self._variables = home, config, variables
        self.log = home / "demo.log"

    def prepare(self) -> str:
        """Create the database, unless an earlier run has; returns Airflow's version."""
        marker = self._home / "migrated"
        if not marker.exists() or marker.read_text() != self._version:
            self._home.mkdir(parents=True, exist_ok=True)
            with self.log.open("w") as log:
                command = [sys.executable, "-m", "airflow", "db", "migrate"]
                done = subprocess.run(command, env=self._environment(), stdout=log, stderr=log, check=False)
            if done.returncode:
                raise StepFailed(_failure("airflow db migrate", self.log))
            marker.write_text(self._version)
        return self._version

    @contextmanager
    def dag_run(self, catalog: Path) -> Iterator[_Events]:
        """Run the DAG; yields its tasks' states as they change. All processes are stopped when the block ends."""
        config = self._config
        conf = {
            "catalog": str(catalog.resolve()),
            "releases": config.releases,
            "workspace": config.workspace,
            "encoder": config.encoder.encoder,
            "codec": config.index.codec,
            "shards": config.shards,
            "groups": 1,  # a JVM takes seconds to start
        }
        receiving, sending = os.pipe()
        command = [sys.executable, str(ROOT / "dags" / "run_and_report.py"), DAG, json.dumps(conf), str(sending)]
        with self.log.open("w") as log:
            process = subprocess.Popen(
                command,
                env=self._environment(),
                stdout=log,
                stderr=log,
                pass_fds=[sending],
                start_new_session=True,  # Spark's JVM is stopped with it
            )
        os.close(sending)
        events: _Events = queue.Queue()
        reader = threading.Thread(target=_read_events, args=(receiving, events), daemon=True)
        reader.start()
        try:
            yield events
            if process.wait() != 0:
                raise StepFailed(_failure(f"the DAG {DAG}", self.log))
        finally:
            _stop(process)
            reader.join()

    def _environment(self) -> dict[str, str]:
        # Another Airflow's database must not be used.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        inherited |= self._variables
        inherited |= {"LOOKALIKE_ROOT": str(ROOT), "LOOKALIKE_PYTHON": sys.executable, "JAVA_HOME": java_home()}
        script = 'set -a; . "$LOOKALIKE_ROOT/dags/airflow.env"; exec "$LOOKALIKE_PYTHON" -c "$1"'
        show = "import json, os; print(json.dumps(dict(os.environ)))"
        read = subprocess.run(
            ["sh", "-c", script, "sh", show], env=inherited, capture_output=True, text=True, check=True
        )
        return json.loads(read.stdout) | {
            "AIRFLOW_HOME": str(self._home),
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }


def _read_events(descriptor: int, events: _Events) -> None:
    """Pass events on until the other end of a pipe is closed."""
    try:
        with open(descriptor) as stream:
            for line in stream:
                events.put(json.loads(line))
    except json.JSONDecodeError:
        return  # the process was killed while it wrote the line
    finally:
        events.put(None)


def _follow(task: str, events: _Events, step: Step, config: PipelineConfig, log: Path) -> None:
    """Show a task's progress until its state changes.

    Raises:
        StepFailed: the task failed.
    """
    shards = _ShardCounter(task, config)
    while True:
        try:
            event = events.get(timeout=_POLL_SECONDS)
            break
        except queue.Empty:
            if done := shards.count():
                step.at(done, config.shards)
    if event is not None and event["state"] != "failed":
        step.note(event.get("note", ""))
        return
    sentence = event.get("error", "") if event else ""
    if not sentence and (errors := _SPARK_ERROR.findall(log.read_text(errors="replace"))):
        sentence = errors[-1]
    raise StepFailed(f"{task} failed: {sentence} (log: {log})" if sentence else _failure(task, log))


class _ShardCounter:
    """Counts the shards that a task has finished since it began, by their reports in the workspace."""

    def __init__(self, task: str, config: PipelineConfig) -> None:
        self._task, self._workspace = task, Workspace(config.workspace, config.shards)
        self._before = self._workspace.step_reports(task)

    def count(self) -> int:
        return sum(report not in self._before for report in self._workspace.step_reports(self._task))


def _failure(subject: str, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return f"{subject} failed. Its log, {log}, ends with:\n" + "\n".join(f"  {line[:300]}" for line in lines)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it has started."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
