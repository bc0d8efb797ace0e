"""Every DAG file loads, is light, documented and built on the shared defaults."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).parents[2] / "dags"
#: DAG id -> its file
FILES = {f"catalog_{verb}": f"catalog_{verb}.py" for verb in ("backfill", "compact", "rebuild", "refresh")}
SHARED = {"common.py", "parameters.py", "run_and_report.py"}
#: The tasks that write a candidate and publish it, or publish one.
PUBLISHING = {
    "catalog_backfill": "backfill", "catalog_compact": "compact", "catalog_rebuild": "publish",
    "catalog_refresh": "refresh",
}  # fmt: skip
HEAVY = ("torch", "pyspark", "faiss", "duckdb", "pyarrow", "pandas", "numpy")


def test_all_files_load(dagbag: Any) -> None:
    assert dagbag.import_errors == {}
    assert dagbag.captured_warnings == {}


def test_every_dag_and_every_file_is_accounted_for(dagbag: Any) -> None:
    assert {dag_id: Path(dag.fileloc).name for dag_id, dag in dagbag.dags.items()} == FILES
    assert {path.name for path in DAGS.glob("*.py")} == {*FILES.values(), *SHARED}


def test_no_dag_module_hides_a_package() -> None:
    """Airflow puts the folder on sys.path."""
    names = {path.stem for path in DAGS.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert names.isdisjoint({"artifacts", "jobs", "serving", "lookalike", "airflow", "tests"})


@pytest.mark.parametrize("dag_id", FILES)
def test_dags_use_the_shared_defaults(dagbag: Any, dag_id: str) -> None:
    from common import DEFAULT_ARGS

    dag = dagbag.dags[dag_id]
    assert DEFAULT_ARGS.items() <= dag.default_args.items()
    assert "lookalike" in dag.tags
    assert dag.catchup is False
    assert dag.dagrun_timeout is not None
    for task in dag.tasks:
        assert task.owner == DEFAULT_ARGS["owner"]


def test_pools_exist(dagbag: Any) -> None:
    """A task in a pool that does not exist waits forever, and Airflow reports it as a warning only."""
    assert {warning.message for warning in dagbag.dag_warnings} == set()
    assert dagbag.dags["catalog_rebuild"].task_dict["embed"].pool == "gpu"


@pytest.mark.parametrize("dag_id", FILES)
def test_tasks_that_publish_hold_the_only_slot_and_may_send_the_event(dagbag: Any, dag_id: str) -> None:
    dag = dagbag.dags[dag_id]
    publishing = [PUBLISHING[dag_id]]
    assert [task.task_id for task in dag.tasks if task.pool == "publish"] == publishing
    outlets = {task.task_id: [outlet.name for outlet in task.outlets] for task in dag.tasks if task.outlets}
    assert outlets == {publishing[0]: ["lookalike_publication"]}
    assert dag.max_active_runs == 1


def test_airflow_in_a_checkout_makes_every_pool() -> None:
    from common import POOLS

    script = (DAGS.parent / ".ci/airflow").read_text()
    assert set(re.findall(r"airflow pools set (\w+) ", script)) == POOLS - {"default_pool"}


@pytest.mark.parametrize("dag_id", FILES)
def test_dags_are_documented(dagbag: Any, dag_id: str) -> None:
    dag = dagbag.dags[dag_id]
    assert dag.description
    assert len(dag.doc_md) > 500
    for task_id in dag.task_ids:
        assert f"`{task_id}`" in dag.doc_md


@pytest.mark.parametrize("dag_id", FILES)
def test_parameters_have_schemas_and_valid_defaults(dagbag: Any, dag_id: str) -> None:
    params = dagbag.dags[dag_id].params
    for name in params:
        param = params.get_param(name)
        assert param.schema.get("type"), name
        assert param.schema.get("title"), name
        assert param.description, name
    assert params.dump() == params.validate()  # the defaults are allowed


def test_parsing_imports_nothing_heavy() -> None:
    """The DAG processor parses the files again and again."""
    script = (
        "import json, sys\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        f"before = set(sys.modules); sys.path.append({str(DAGS)!r})\n"
        f"bag = DagBag(dag_folder={str(DAGS)!r})\n"
        f"print(json.dumps([len(bag.dags), [name for name in {HEAVY!r} if name in set(sys.modules) - before]]))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=os.environ, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [len(FILES), []]
