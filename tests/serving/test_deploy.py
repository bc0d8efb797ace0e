"""What operators take as it is: a dashboard, alerts, a unit and a container file speak of what is there."""

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
    """Names of all series that the server's modules make."""
    assert serving.app.create_app
    found = set()
    for metric in REGISTRY.collect():
        if metric.name.startswith("image_search_"):
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
            found |= {metric.name + suffix for suffix in suffixes}
    return found


def named(expressions: list[str]) -> set[str]:
    return {name for each in expressions for name in re.findall(r"\bimage_search_\w+", each)}


def test_the_dashboard_shows_every_metric_and_no_other(metrics: set[str]) -> None:
    dashboard = json.loads((DEPLOY / "dashboard.json").read_text())
    panels = dashboard["panels"]
    shown = named([target["expr"] for panel in panels for target in panel["targets"]])
    assert shown <= metrics
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in metrics - shown} <= {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in shown
    }
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_alerts_name_metrics_that_are_there_and_say_what_to_do(metrics: set[str]) -> None:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    assert named([rule["expr"] for rule in rules]) <= metrics
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["expr"].count("(") == rule["expr"].count(")")
    readme = (ROOT / "README.md").read_text()
    assert all(rule["alert"] in readme for rule in rules)


def test_the_unit_starts_what_there_is() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((DEPLOY / "lookalike.service").read_text())
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    assert unit["Service"]["ExecStart"].endswith("/.venv/bin/lookalike serve")
    settings_named((DEPLOY / "lookalike.service").read_text())


def test_the_container_file_copies_and_sets_what_there_is() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"cpu", "gpu", "serve"} <= extras.keys()
    assert re.search(r"^uv==[0-9.]+", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    settings_named(text)


def settings_named(text: str) -> None:
    names = set(re.findall(r"LOOKALIKE_([A-Z_]+)=", text))
    assert names
    assert {name.lower() for name in names} <= Settings.model_fields.keys()
