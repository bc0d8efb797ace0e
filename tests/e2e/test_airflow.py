"""A standalone Airflow, with its scheduler and REST API, keeps a small shop's release fresh."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.console import variables_of
from tests.pipeline import draw
from tests.shop import Rows, Shop
from tests.standalone_airflow import StandaloneAirflow
from tests.waiting import wait_until

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

RELEASE = "lookalike_release"
DAYS = ("2026-11-01", "2026-11-02", "2026-11-03")


def set_price(shop: Shop, product_id: str, price: float) -> None:
    def change(rows: Rows) -> None:
        rows[product_id]["price"] = str(price)

    shop.edit(change)


def price_of(shop: Shop, product_id: str) -> float:
    """The price of a product in the served release."""
    release = shop.open()
    try:
        rows = release.rows.to_results(release.searcher.rows_that_can_be_found())
    finally:
        release.close()
    return next(row["price"] for row in rows if row["product_id"] == product_id)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A published catalog, of which one price has changed since."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    set_price(shop, "p000", 500)
    return shop


@pytest.fixture(scope="module")
def days(shop: Shop) -> str:
    """A catalog with `{date}`: each day's changes, of one price."""
    header, _, row = shop.catalog.read_text().splitlines()[:3]
    assert row.startswith("p001,")
    for day in DAYS:
        folder = shop.folder / f"days/date={day}"
        shutil.copytree(shop.catalog.parent / "images", folder / "images")  # with the times of the originals
        price = f"{2000 + int(day[-2:])}"
        (folder / "changes.csv").write_text(f"{header}\n{row.replace('brand 1,1,', f'brand 1,{price},')}\n")
    return str(shop.folder / "days/date={date}/changes.csv")


@pytest.fixture(scope="module")
def airflow(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneAirflow]:
    """Airflow with the shop's settings; it refreshes once in a few minutes, for the first time when it is just up."""
    first = datetime.now(UTC) + timedelta(seconds=100)
    variables = variables_of(shop.settings) | {
        "LOOKALIKE_CATALOG": str(shop.catalog),
        "LOOKALIKE_REFRESH_CRON": f"{first.minute},{(first.minute + 4) % 60} * * * *",
        "LOOKALIKE_DEADLINE_MINUTES": "0.2",
    }
    with StandaloneAirflow(tmp_path_factory.mktemp("airflow") / "home", variables) as airflow:
        for name in ("gpu", "publish"):
            airflow.call("POST", "pools", {"name": name, "slots": 1})
        wait_until(lambda: len(airflow.call("GET", "dags")["dags"]) == 4, seconds=120)
        assert airflow.call("GET", "importErrors")["total_entries"] == 0
        for other in ("catalog_compact", "catalog_rebuild"):
            airflow.call("PATCH", f"dags/{other}", {"is_paused": True})
        yield airflow


def published(airflow: StandaloneAirflow) -> list[str]:
    """The versions that the asset's events announce, in order."""
    return [event["extra"]["version"] for event in airflow.asset_events(RELEASE)]


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"product_ids": "p001"}, "product_ids"),
        ({"date_from": "yesterday"}, "date_from"),
        ({"encoder": "clip"}, "encoder"),
        ({"dry_run": "maybe"}, "dry_run"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused_by_the_rest_api(
    airflow: StandaloneAirflow, conf: dict[str, object], says: str
) -> None:
    body = {"logical_date": None, "conf": conf}
    status, text = airflow.refusal("POST", "dags/catalog_backfill/dagRuns", body)
    assert status == 400
    assert says in text


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"product_id": ["p001"]}, "there is no parameter 'product_id'; did you mean 'product_ids'?"),
        ({"product_ids": ["p001"], "encoder": "sample"}, "a new encoder embeds every product"),
        ({"catalog": "/data/{{ ds }}.csv", "reembed": True}, "looks like a template"),
    ],
    ids=str,
)
def test_run_with_parameters_that_mean_nothing_fails_at_once(
    airflow: StandaloneAirflow, shop: Shop, conf: dict[str, object], says: str
) -> None:
    before = shop.store.versions()
    run = airflow.ended_run("catalog_backfill", airflow.trigger("catalog_backfill", **conf))
    assert run["state"] == "failed"
    task = airflow.tasks("catalog_backfill", run["dag_run_id"])["backfill"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert says in airflow.task_log("catalog_backfill", run["dag_run_id"], "backfill")
    assert shop.store.versions() == before


# ── refreshes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def ended_refresh(airflow: StandaloneAirflow, run_type: str, known: set[str], seconds: float = 90) -> dict[str, Any]:
    """Wait for a refresh of a type that is not known yet, and for its end."""
    found: list[str] = []

    def started() -> bool:
        runs = airflow.runs("catalog_refresh", run_type=run_type)
        found[:] = [run["dag_run_id"] for run in runs if run["dag_run_id"] not in known]
        return bool(found)

    wait_until(started, seconds)
    return airflow.ended_run("catalog_refresh", found[0])


def test_schedule_publishes_what_has_changed(airflow: StandaloneAirflow, shop: Shop) -> None:
    run = ended_refresh(airflow, "scheduled", set(), seconds=400)
    assert run["state"] == "success"
    assert airflow.tasks("catalog_refresh", run["dag_run_id"])["refresh"]["state"] == "success"
    assert price_of(shop, "p000") == 500
    assert published(airflow) == [shop.store.current()]


def test_run_that_finds_nothing_is_skipped_and_announces_nothing(airflow: StandaloneAirflow, shop: Shop) -> None:
    before = published(airflow)
    run = airflow.ended_run("catalog_refresh", airflow.trigger("catalog_refresh"))
    assert run["state"] == "success"
    assert airflow.tasks("catalog_refresh", run["dag_run_id"])["refresh"]["state"] == "skipped"
    assert airflow.xcom("catalog_refresh", run["dag_run_id"], "refresh", "note") == "nothing has changed"
    assert published(airflow) == before


def test_event_of_the_catalog_starts_a_refresh(airflow: StandaloneAirflow, shop: Shop) -> None:
    before = shop.store.current()
    set_price(shop, "p002", 600)
    airflow.call("POST", "assets/events", {"asset_id": airflow.asset_id("lookalike_catalog"), "extra": {}})
    assert ended_refresh(airflow, "asset_triggered", set())["state"] == "success"
    assert price_of(shop, "p002") == 600
    assert shop.store.current() != before
    assert published(airflow)[-1] == shop.store.current()


def test_failed_gate_publishes_nothing(airflow: StandaloneAirflow, shop: Shop) -> None:
    before, announced = shop.store.current(), published(airflow)
    half = shop.catalog.with_name("half.csv")
    half.write_text("\n".join(shop.catalog.read_text().splitlines()[:19]) + "\n")
    run = airflow.ended_run("catalog_refresh", airflow.trigger("catalog_refresh", catalog=str(half)))
    assert run["state"] == "failed"
    task = airflow.tasks("catalog_refresh", run["dag_run_id"])["refresh"]
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert "50% would be gone" in airflow.task_log("catalog_refresh", run["dag_run_id"], "refresh")
    assert shop.store.current() == before
    assert published(airflow) == announced


def test_late_run_is_reported(airflow: StandaloneAirflow) -> None:
    airflow.call("PATCH", "dags/catalog_refresh", {"is_paused": True})  # its runs stay queued
    try:
        run_id = airflow.trigger("catalog_refresh")
        report = f"freshness at risk: run {run_id} of catalog_refresh is queued 0.2 minutes after it was queued"
        wait_until(lambda: report in airflow.callback_logs())
    finally:
        airflow.call("PATCH", "dags/catalog_refresh", {"is_paused": False})
    assert airflow.ended_run("catalog_refresh", run_id)["state"] == "success"


# ── backfills ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_backfill_downloads_chosen_products_again(airflow: StandaloneAirflow, shop: Shop) -> None:
    conf = {"product_ids": ["p003", "p004"], "redownload": True}
    before = shop.store.current()
    run = airflow.ended_run("catalog_backfill", airflow.trigger("catalog_backfill", dry_run=True, **conf))
    assert run["state"] == "success"
    note = airflow.xcom("catalog_backfill", run["dag_run_id"], "backfill", "note")
    assert "products 2 to process" in note
    assert "pictures 2 to fetch" in note
    assert shop.store.current() == before

    draw(shop.images / "003.jpg", "green", "circle", 99)
    run = airflow.ended_run("catalog_backfill", airflow.trigger("catalog_backfill", **conf))
    assert run["state"] == "success"
    assert "2 pictures fetched" in airflow.xcom("catalog_backfill", run["dag_run_id"], "backfill", "note")
    assert shop.store.current() != before
    assert published(airflow)[-1] == shop.store.current()


def test_airflows_backfill_applies_days_in_order(airflow: StandaloneAirflow, shop: Shop, days: str) -> None:
    done = airflow.command(
        "backfill", "create", "--dag-id", "catalog_backfill", "--from-date", DAYS[0], "--to-date", DAYS[-1],
        "--max-active-runs", "1", "--dag-run-conf", f'{{"catalog": "{days}", "changes_only": true}}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    def ended() -> list[dict[str, Any]]:
        runs = airflow.runs("catalog_backfill", run_type="backfill", order_by="id")
        return runs if len(runs) == 3 and all(run["end_date"] for run in runs) else []

    wait_until(ended, seconds=150)
    runs = ended()
    assert [(run["partition_key"], run["state"]) for run in runs] == [(day, "success") for day in DAYS]
    ends = [airflow.tasks("catalog_backfill", run["dag_run_id"])["backfill"]["end_date"] for run in runs]
    assert ends == sorted(ends)
    assert price_of(shop, "p001") == 2003
    assert shop.store.manifest().counts.indexed == 36


@pytest.mark.spark
def test_new_encoder_goes_live_by_a_rebuild_beside_the_release(airflow: StandaloneAirflow, shop: Shop) -> None:
    before = shop.store.manifest()
    airflow.call("PATCH", "dags/catalog_rebuild", {"is_paused": False})
    run_id = airflow.trigger("catalog_backfill", encoder="python:tests.encoders:MeanColor")
    run = airflow.ended_run("catalog_backfill", run_id, seconds=400)
    assert run["state"] == "success"
    (rebuild,) = airflow.runs("catalog_rebuild")
    assert (rebuild["state"], rebuild["run_type"]) == ("success", "operator_triggered")
    after = shop.store.manifest()
    assert after.encoder["id"] != before.encoder["id"]
    assert after.previous == before.version  # where a rollback leads
    assert published(airflow)[-1] == after.version


def test_parsing_a_dag_again_makes_no_new_version(airflow: StandaloneAirflow) -> None:
    for dag in airflow.call("GET", "dags")["dags"]:
        assert airflow.call("GET", f"dags/{dag['dag_id']}/dagVersions")["total_entries"] == 1, dag["dag_id"]
