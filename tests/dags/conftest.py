"""An Airflow for the tests, in a home of its own. Airflow reads its environment once, when it is first imported."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "dags"
HOME = tempfile.mkdtemp(prefix="lookalike-airflow-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)

for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]  # another Airflow's database must not be used
os.environ |= {
    "AIRFLOW_HOME": HOME,
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW_CONN_SPARK_DEFAULT": '{"conn_type": "spark", "host": "local[2]"}',
}
sys.path.append(str(DAGS))  # as Airflow does for the folder's modules


@pytest.fixture(scope="session")
def dagbag() -> Any:
    from airflow.dag_processing.dagbag import DagBag
    from common import POOLS

    return DagBag(dag_folder=str(DAGS), known_pools=set(POOLS))


@pytest.fixture(scope="session")
def database() -> Iterator[None]:
    """Airflow's tables; a run of a DAG needs them."""
    from airflow.utils.db import initdb

    initdb()
    yield
    from airflow.settings import dispose_orm

    dispose_orm(do_log=False)


@pytest.fixture
def small_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a small catalog that are no parameters, in the environment, as a worker has them."""
    monkeypatch.setenv("LOOKALIKE_ENCODER", "python:tests.encoders:ColourWords")
    monkeypatch.setenv("LOOKALIKE_EVALUATION_QUERIES", "20")
    monkeypatch.setenv("LOOKALIKE_PICTURE_SIDE", "160")
