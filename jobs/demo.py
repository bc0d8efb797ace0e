"""`lookalike demo`: a sample catalog, and the DAG `catalog_rebuild` run on it by Airflow, from download to publish.

Airflow runs as its own program, in an environment and with a database of its own: nothing of an Airflow that is set up
on this machine is read or touched.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from artifacts.errors import StepFailed
from artifacts.settings import Settings
from artifacts.store.store import Store
from jobs.progress import Reporter, Step
from jobs.sample.catalog import draw_catalog

DAG = "catalog_rebuild"
#: The checkout: a wheel has no dags.
ROOT = Path(__file__).parent.parent
#: Lines of Airflow's log to show when it says nothing clearer.
_LAST_LINES = 15

_STARTS = re.compile(r"\[DAG TEST\] starting task_id=(\w+)")
_ENDS = re.compile(r"\[DAG TEST\] end task task_id=(\w+)")
_RESULT = re.compile(r"\] result: (.+?)(?: +\[[\w.]+\]|$)")
_SHARD = re.compile(r"(?:download|embed) shard \d+ of (\d+): (\d+) rows, (\d+) ok, (unchanged|(\d+) reused)")
_FAILS = re.compile(r"Task failed with exception|\[DAG TEST\] Error running task")
#: What `spark_submit.py` prints, and how a traceback ends.
_SENTENCE = re.compile(r"\] error: (.+?)(?: +\[[\w.]+\]|$)|^artifacts\.errors\.\w+: (.+)$")


def run_demo(folder: Path, *, products: int, settings: Settings, reporter: Reporter) -> str:
    """Draw a sample catalog into `folder` and let Airflow build and publish a release of it.

    A second run draws, downloads, embeds and indexes nothing again.

    Args:
        folder: gets `catalog/`, and `airflow/` with Airflow's database and logs.
        settings: where releases and workspace are, and the encoder.

    Returns:
        The version now served.

    Raises:
        StepFailed: Airflow is not there, or a task failed; says where the log is.
    """
    airflow = _Airflow(folder.resolve() / "airflow", settings)
    catalog = _sample(folder / "catalog", products, settings.seed, reporter)
    store = Store(settings.releases, settings.cache)
    before = store.current()
    with reporter.step("airflow") as step:
        step.note(airflow.prepare())
    with airflow.dag_run(catalog) as lines:
        for line in lines:
            if found := _STARTS.search(line):
                with reporter.step(found[1]) as step:
                    _follow(found[1], lines, step, airflow.log)
    after = store.current()
    if after is None:
        raise StepFailed(f"the DAG ended well but published nothing: see {airflow.log}")
    if after == before:
        reporter.console.print(f"Nothing has changed: {after} is still served.", highlight=False)
    return after


def _sample(folder: Path, products: int, seed: int, reporter: Reporter) -> Path:
    """The sample catalog, drawn unless it is there."""
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


class _Airflow:
    """Airflow as another program: `dags/airflow.env`, and a home in the demo's folder."""

    def __init__(self, home: Path, settings: Settings) -> None:
        if not (ROOT / "dags" / "airflow.env").exists():
            raise StepFailed("the demo runs the DAGs of a checkout, and this is an installed package: clone Lookalike")
        try:
            self._version = version("apache-airflow")
        except PackageNotFoundError:
            raise StepFailed("the demo needs Airflow: pip install -e '.[cpu,serve,pipeline,airflow]'") from None
        self._home, self._settings = home, settings
        self.log = home / "demo.log"

    def prepare(self) -> str:
        """Make the database, unless it is there; returns what there is to say."""
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
    def dag_run(self, catalog: Path) -> Iterator[Iterator[str]]:
        """Run the DAG; gives the lines of its log as they come. What is left running when the block ends is stopped."""
        settings = self._settings
        conf = {
            "catalog": str(catalog.resolve()),
            "releases": settings.releases,
            "workspace": settings.workspace,
            "encoder": settings.encoder,
            "codec": settings.codec,
            "shards": settings.shards,
            "groups": 1,  # a JVM takes seconds to start
        }
        command = [sys.executable, "-m", "airflow", "dags", "test", DAG, "--conf", json.dumps(conf)]
        process = subprocess.Popen(
            command,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Spark's JVM is stopped with it
        )
        assert process.stdout is not None  # noqa: S101 — for the type checker
        try:
            with self.log.open("w") as log, process.stdout as output:
                yield _copied(output, log)
                if process.wait() != 0:
                    raise StepFailed(_failure(f"airflow dags test {DAG}", self.log))
        finally:
            _stop(process)

    def _environment(self) -> dict[str, str]:
        from jobs.spark.session import java_home

        # Another Airflow's database must not become ours.
        ours = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        for name, value in self._settings.model_dump(mode="json", exclude_defaults=True).items():
            ours[f"LOOKALIKE_{name.upper()}"] = str(value)
        ours |= {"LOOKALIKE_ROOT": str(ROOT), "LOOKALIKE_PYTHON": sys.executable, "JAVA_HOME": java_home()}
        script = 'set -a; . "$LOOKALIKE_ROOT/dags/airflow.env"; exec "$LOOKALIKE_PYTHON" -c "$1"'
        show = "import json, os; print(json.dumps(dict(os.environ)))"
        read = subprocess.run(["sh", "-c", script, "sh", show], env=ours, capture_output=True, text=True, check=True)
        return json.loads(read.stdout) | {
            "AIRFLOW_HOME": str(self._home),
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }


def _copied(output: Iterator[str], log: object) -> Iterator[str]:
    for line in output:
        print(line, end="", file=log, flush=True)  # type: ignore[arg-type]
        yield line.rstrip("\n")


def _follow(task: str, lines: Iterator[str], step: Step, log: Path) -> None:
    """Read a task's lines up to its last one, and show how far it is."""
    shards = rows = reused = 0
    failed = False
    sentence = ""
    for line in lines:
        if found := _SHARD.search(line):
            shards += 1
            rows += int(found[3])
            reused += int(found[3] if found[4] == "unchanged" else found[5])
            step.at(shards, int(found[1]))
        elif found := _RESULT.search(line):
            step.note(found[1])
        elif found := _SENTENCE.search(line):
            sentence = found[1] or found[2]
        elif _FAILS.search(line):
            failed = True
        elif _ENDS.search(line):
            break
    else:
        failed = True
    if failed:
        raise StepFailed(f"{task} failed: {sentence} (log: {log})" if sentence else _failure(task, log))
    if shards:
        step.note(f"{rows - reused:,} pictures" + (f", {reused:,} kept from before" if reused else ""))


def _failure(what: str, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return f"{what} failed. Its log, {log}, ends with:\n" + "\n".join(f"  {line[:300]}" for line in lines)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the process and all that it started."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
