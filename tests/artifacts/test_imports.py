"""The order inside artifacts: imports point downwards, and light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: The layers, top to bottom; a module may import modules of lower layers, and of its own package.
LAYERS = [
    {"release"},
    {"store"},
    {"segments"},
    {"products", "index", "encoders"},
    {"pictures", "plugins", "versioned_json", "storage"},
    {"settings", "config", "schema", "errors"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

#: What a process can read without loading FAISS, DuckDB or torch.
LIGHT = [
    "artifacts.config",
    "artifacts.encoders.base",
    "artifacts.encoders.registry",
    "artifacts.errors",
    "artifacts.index.planner",
    "artifacts.schema",
    "artifacts.settings",
    "artifacts.store.manifest",
    "artifacts.store.store",
]


def imported_modules(path: Path) -> set[str]:
    """Modules of artifacts that a file imports, wherever in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module for module in modules if module.startswith("artifacts.")}


def part_of(module: str) -> str:
    """Package or module directly below artifacts."""
    return module.split(".")[1]


MODULES = sorted(set((ROOT / "artifacts").rglob("*.py")) - {ROOT / "artifacts/__init__.py"})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path):
    part = path.relative_to(ROOT / "artifacts").with_suffix("").parts[0]
    for module in imported_modules(path):
        other = part_of(module)
        assert other == part or LEVEL[other] > LEVEL[part] or LEVEL[other] == LEVEL[part] == len(LAYERS) - 1, module


@pytest.mark.parametrize("package", ["encoders", "index", "products", "release", "segments", "store"])
def test_packages_have_no_circles(package: str):
    folder = ROOT / "artifacts" / package
    imports = {
        path.stem: {module.split(".")[2] for module in imported_modules(path) if part_of(module) == package}
        for path in folder.glob("*.py")
    }
    remaining = dict(imports)
    while remaining:
        bottom = {name for name, others in remaining.items() if not others & set(remaining)}
        assert bottom, remaining
        remaining = {name: others for name, others in remaining.items() if name not in bottom}


def test_light_modules_load_no_heavy_libraries():
    heavy = ("faiss", "torch", "duckdb")
    program = f"import sys, {', '.join(LIGHT)}; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
