"""Files for operators: the dashboard, alerts, systemd unit and container file refer to what exists."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

import serving.app
from artifacts.settings import Settings

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "serving/deploy"


@pytest.fixture(scope="module")
def metrics() -> set[str]:
    """Names of all series that the server exports."""
    assert serving.app.create_app
    names = set()
    for metric in REGISTRY.collect():
        if metric.name.startswith("image_search_"):
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
            names |= {metric.name + suffix for suffix in suffixes}
    return names


def metrics_in(expressions: list[str]) -> set[str]:
    return {name for expression in expressions for name in re.findall(r"\bimage_search_\w+", expression)}


def test_dashboard_shows_every_metric_and_no_other(metrics: set[str]) -> None:
    dashboard = json.loads((DEPLOY / "dashboard.json").read_text())
    panels = dashboard["panels"]
    displayed = metrics_in([target["expr"] for panel in panels for target in panel["targets"]])
    assert displayed <= metrics
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in metrics - displayed} <= {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in displayed
    }
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_alerts_use_existing_metrics_and_name_an_action(metrics: set[str]) -> None:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    assert metrics_in([rule["expr"] for rule in rules]) <= metrics
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["expr"].count("(") == rule["expr"].count(")")
    documentation = (ROOT / "docs/operations.md").read_text()
    assert all(rule["alert"] in documentation for rule in rules)


def test_systemd_unit_starts_the_server() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((DEPLOY / "lookalike.service").read_text())
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    assert unit["Service"]["ExecStart"].endswith("/.venv/bin/lookalike serve")
    assert_sets_known_settings((DEPLOY / "lookalike.service").read_text())


def test_container_file_copies_existing_files_and_sets_known_settings() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    sources = [name for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert sources
    assert all((ROOT / name).exists() for name in sources)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"cpu", "gpu", "serve"} <= extras.keys()
    assert re.search(r"^uv==[0-9.]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert_sets_known_settings(text)


def assert_sets_known_settings(text: str) -> None:
    names = set(re.findall(r"LOOKALIKE_([A-Z_]+)=", text))
    assert names
    assert {name.lower() for name in names} <= Settings.model_fields.keys()
