"""Runs a DAG once, in this process, and reports the states of its tasks as JSON, one object a line.

    python dags/run_and_report.py DAG CONF FD

CONF is the run's configuration as JSON, FD an open file descriptor for the report. `lookalike demo` starts this; the
states are those that Airflow passes to its listeners, so no log has to be parsed:

    {"task": "index", "map_index": -1, "state": "running"}
    {"task": "index", "map_index": -1, "state": "success", "note": "972 products, 972 pictures"}
    {"task": "index", "map_index": -1, "state": "failed", "error": "shards [3] of 4 have not been done; …"}
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

from airflow.dag_processing.dagbag import DagBag
from airflow.listeners import hookimpl
from airflow.sdk.listener import get_listener_manager
from common import NOTE

from artifacts.errors import LookalikeError


class StateReporter:
    """A listener that writes each change of a task's state to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        self._report(task_instance, "running")

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        note = task_instance.xcom_pull(
            task_ids=task_instance.task_id, key=NOTE, map_indexes=max(task_instance.map_index, -1)
        )
        self._report(task_instance, "success", note=note or "")

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        # Other errors may have many lines, or no readable text: then the log says more.
        sentence = str(error) if isinstance(error, LookalikeError) else ""
        self._report(task_instance, "failed", error=sentence)

    def _report(self, task_instance: Any, state: str, **more: str) -> None:
        event = {"task": task_instance.task_id, "map_index": task_instance.map_index, "state": state, **more}
        print(json.dumps(event), file=self._stream, flush=True)


def main(dag_id: str, conf: str, descriptor: str) -> int:
    """Run the DAG; returns 0 if the run succeeded, else 1."""
    with open(int(descriptor), "w") as stream:  # noqa: PTH123 (a descriptor, not a path)
        get_listener_manager().add_listener(StateReporter(stream))
        dag = DagBag(dag_folder=str(Path(__file__).parent)).dags[dag_id]
        run = dag.test(run_conf=json.loads(conf))
        return 0 if str(run.state) == "success" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
