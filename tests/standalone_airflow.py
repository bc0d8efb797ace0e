"""A real `airflow standalone` for tests: this checkout's DAGs, a database and ports of its own, and its REST API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from jobs.spark.java import java_home
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent
#: The end states of a run and of a task.
ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class StandaloneAirflow:
    """Runs while its `with` block does; every process that it started is gone after it.

    Args:
        home: for database, logs and configuration.
        variables: environment variables of all its processes, beside those of dags/airflow.env.
    """

    def __init__(self, home: Path, variables: Mapping[str, str]) -> None:
        self._home = home
        self._variables = dict(variables)
        self._environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""

    # ── the processes ────────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> StandaloneAirflow:
        self._home.mkdir(parents=True)
        port, log_port, trigger_port = free_ports(3)
        self._address = f"http://127.0.0.1:{port}"
        ports = {"AIRFLOW_PORT": port, "AIRFLOW_LOG_PORT": log_port, "AIRFLOW_TRIGGER_LOG_PORT": trigger_port}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        inherited |= {name: str(value) for name, value in ports.items()}
        inherited |= {"JAVA_HOME": java_home()}
        inherited |= {"LOOKALIKE_ROOT": str(ROOT), "LOOKALIKE_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
        self._environment = sourced(ROOT / "dags/airflow.env", inherited) | {
            "AIRFLOW_HOME": str(self._home),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            # Many processes write to one SQLite: its own 5 s are too short on a busy machine.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self._home}/airflow.db?timeout=60",
            **self._variables,
        }
        with (self._home / "standalone.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(self._is_up, seconds=180)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGINT)  # to the parent alone, which stops its parts
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in of_session(process.pid):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not of_session(process.pid))

    def _is_up(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"airflow standalone ended: {self.log()[-3000:]}")
        if not self._token:
            with urlopen(f"{self._address}/auth/token", timeout=10) as response:
                self._token = json.load(response)["access_token"]
        health = self.call("GET", "monitor/health")
        return all(part["status"] in ("healthy", None) for part in health.values())

    def log(self) -> str:
        return (self._home / "standalone.log").read_text(errors="replace")

    def callback_logs(self) -> str:
        """Return what callbacks of deadlines have logged."""
        folder = self._home / "logs/executor_callbacks"
        return "".join(file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Airflow."""
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self._environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    # ── the REST API ─────────────────────────────────────────────────────────────────────────────────────────────

    def call(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """Call the REST API; raises HTTPError for a status that is no success."""
        url = f"{self._address}/api/v2/{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(url, data, headers, method=method), timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None

    def refusal(self, method: str, path: str, body: object) -> tuple[int, str]:
        """Return the status and the text of a call that must fail."""
        try:
            self.call(method, path, body)
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()
        raise AssertionError(f"{method} {path} was not refused")

    def trigger(self, dag_id: str, **conf: object) -> str:
        """Start a run; returns its id."""
        started: list[str] = []

        def triggered() -> bool:
            try:
                run = self.call("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
            except HTTPError as error:
                if error.code != 500:  # which is SQLite's "database is locked"
                    raise AssertionError(error.read()) from None
                error.close()
                return False
            started.append(run["dag_run_id"])
            return True

        wait_until(triggered)
        return started[0]

    def runs(self, dag_id: str, **query: object) -> list[dict[str, Any]]:
        return self.call("GET", f"dags/{dag_id}/dagRuns", **query)["dag_runs"]

    def ended_run(self, dag_id: str, run_id: str, seconds: float = 90) -> dict[str, Any]:
        """Wait until a run has ended, and return it."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.call("GET", f"dags/{dag_id}/dagRuns/{quote(run_id)}"))
            return found["state"] in ENDED

        wait_until(ended, seconds)
        return found

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run, by task id."""
        path = f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances"
        return {each["task_id"]: each for each in self.call("GET", path)["task_instances"]}

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        path = f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.call("GET", path, deserialize=True)["value"]

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        path = f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/logs/{try_number}"
        return json.dumps(self.call("GET", path, full_content=True))

    def asset_id(self, name: str) -> int | None:
        assets = self.call("GET", "assets", name_pattern=name)["assets"]
        return next((asset["id"] for asset in assets if asset["name"] == name), None)

    def asset_events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of an asset, oldest first."""
        asset_id = self.asset_id(name)
        if asset_id is None:
            return []
        return self.call("GET", "assets/events", asset_id=asset_id, order_by="timestamp")["asset_events"]


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def sourced(file: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment after a shell has read a file of assignments in it."""
    script = f'set -a; . "{file}"; exec "{sys.executable}" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    done = subprocess.run(["sh", "-c", script], env=dict(environment), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def of_session(leader: int) -> list[int]:
    """Return the processes that a session's leader has started, zombies left out."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(folder.name))
    return found
