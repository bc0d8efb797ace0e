"""The rules of the house that import-linter cannot see: dags/ imports by bare name, and lookalike.py is a module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("artifacts", "jobs", "serving", "dags")
MAX_LINES = 300
MAX_MODULES = 12


def imports(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_dags_import_only_airflow_jobs_and_artifacts(path: Path) -> None:
    siblings = {sibling.stem for sibling in (ROOT / "dags").glob("*.py")}
    assert imports(path) - set(sys.stdlib_module_names) <= {"airflow", "jobs", "artifacts"} | siblings


def test_command_line_imports_no_dags() -> None:
    allowed = {"typer", "rich", "pydantic", "artifacts", "jobs", "serving"}
    assert imports(ROOT / "lookalike.py") - set(sys.stdlib_module_names) <= allowed


def test_command_line_starts_without_heavy_libraries() -> None:
    heavy = ("faiss", "torch", "duckdb", "pyspark", "flask", "pyarrow")
    program = f"import sys, lookalike; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("folder", FOLDERS)
def test_modules_and_folders_can_be_read_in_one_sitting(folder: str) -> None:
    modules = list((ROOT / folder).rglob("*.py"))
    assert modules
    lengths = {path: len(path.read_text().splitlines()) for path in modules}
    assert {path.name: length for path, length in lengths.items() if length > MAX_LINES} == {}
    widths: dict[Path, int] = {}
    for path in modules:
        widths[path.parent] = widths.get(path.parent, 0) + (path.name != "__init__.py")
    assert {str(path): width for path, width in widths.items() if width > MAX_MODULES} == {}


@pytest.mark.parametrize("folder", FOLDERS[:3])
def test_packages_describe_themselves(folder: str) -> None:
    for path in (ROOT / folder).rglob("__init__.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert len(docstring) > 100, f"{path.relative_to(ROOT)} says too little of what lives there"


def test_no_file_names_a_registry_or_this_machine() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert lock.count("--hash=sha256:") > 1000
