"""What tests read of a run of a DAG: states, XComs and asset events; and the parameters of runs on a small catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from artifacts.settings import Settings

DAGS = Path(__file__).parents[2] / "dags"


def fresh_dag(dag_id: str) -> Any:
    """A DAG that no run has used: a run in this process leaves its conf in the DAG's parameters."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=str(DAGS / f"{dag_id}.py")).dags[dag_id]


def params_of(catalog: Path | str | None, settings: Settings, **more: object) -> dict[str, object]:
    """The conf of a run, with the settings that are parameters, on a catalog if there is one."""
    names = ("releases", "workspace", "encoder", "codec", "shards")
    conf = {name: getattr(settings, name) for name in names} | more
    return conf if catalog is None else {"catalog": str(catalog), **conf}


def states(run: Any) -> dict[str, str | None]:
    """The state of each task; mapped ones together if they agree."""
    states: dict[str, str | None] = {}
    for instance in run.get_task_instances():
        state = instance.state and str(instance.state)
        states[instance.task_id] = state if states.get(instance.task_id, state) == state else "mixed"
    return states


def xcoms(run: Any, task_id: str, key: str = "return_value") -> list[Any]:
    """The XComs of a task, one for each mapped instance."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        query = XComModel.get_many(key=key, run_id=run.run_id, dag_ids=run.dag_id, task_ids=task_id)
        return [XComModel.deserialize_value(row) for row in session.scalars(query)]


def events(run: Any) -> dict[str, dict[str, Any]]:
    """The asset events that a run has sent: the asset's name and the event's extra."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = (
        select(AssetModel.name, AssetEvent.extra)
        .join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        .where(AssetEvent.source_run_id == run.run_id, AssetEvent.source_dag_id == run.dag_id)
    )
    with create_session() as session:
        return dict(session.execute(query).all())
