"""Light modules of artifacts stay light; the import contracts in pyproject.toml hold the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

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


def test_light_modules_load_no_heavy_libraries():
    heavy = ("faiss", "torch", "duckdb")
    program = f"import sys, {', '.join(LIGHT)}; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
