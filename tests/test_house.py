"""The arrows that the import linter does not see: dags/ is a folder of files, and lookalike.py a module."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {"airflow", "pendulum", "common", "jobs", "artifacts"}


def imports(path: Path) -> set[str]:
    """Top-level names of everything a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_dags_call_jobs_and_nothing_beside_them(path: Path) -> None:
    assert imports(path) - set(sys.stdlib_module_names) <= ALLOWED


@pytest.mark.parametrize("folder", ["artifacts", "jobs", "serving", "dags"])
def test_modules_are_read_in_one_sitting(folder: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert lengths
    assert {path.name: length for path, length in lengths.items() if length > 350} == {}


def test_no_file_names_a_registry_or_this_machine() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert lock.count("--hash=sha256:") > 1000
