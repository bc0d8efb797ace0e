"""The README says what there is: settings, commands, routes, encoders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

import lookalike
from artifacts.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_settings_table_is_the_settings() -> None:
    table = README.split("<!-- settings:")[1].split("<!-- /settings -->")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (.*) \|$", table, re.MULTILINE)
    assert rows == [(name, str(field.default), field.description) for name, field in Settings.model_fields.items()]


def commands() -> list[str]:
    root = typer.main.get_command(lookalike.app)
    found: list[str] = []
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        found += [f"{name} {inner}" for inner in command.commands] if hasattr(command, "commands") else [name]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_named(command: str) -> None:
    section = README.split("## Commands")[1].split("\n## ")[0]
    verb, _, inner = command.partition(" ")
    assert re.search(rf"`lookalike {verb}\b[^`]*{inner}", section)


def test_every_route_is_named() -> None:
    from serving.app import create_app

    app = create_app(Settings().server, watch=False)
    section = README.split("## HTTP API")[1].split("\n## ")[0]
    for path in app.api_doc["paths"]:
        assert path.replace("{product_id}", "{id}") in section, path


def test_the_files_it_points_at_are_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_tests_it_names_are_there() -> None:
    found = re.findall(r"`(tests/[\w/]+\.py)?::(test_\w+)`", README)
    assert len(found) > 20
    path = ""
    for named, test in found:
        path = named or path  # `::test` is in the file named before it
        assert re.search(rf"^def {test}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{test}"


def test_the_two_commands_and_their_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("setup", "demo", "test", "lint", "airflow"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "make demo" in README
    assert "make test" in README
