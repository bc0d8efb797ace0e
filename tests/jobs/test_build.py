"""`lookalike build` with nothing new: no process and no heavy library is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pipeline import publish_small, small_settings, write_small_catalog

pytestmark = pytest.mark.slow


#: Runs the command and prints the processes that it started, and the heavy libraries that it imported.
SCRIPT = """
import json, sys
STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"}
starts = []
sys.addaudithook(lambda event, arguments: starts.append([event, str(arguments)]) if event in STARTS else None)
import lookalike
try:
    lookalike.main()
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in ("torch", "open_clip", "pyspark", "faiss", "matplotlib", "airflow") if name in sys.modules]
print(json.dumps([starts, heavy]))
"""


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A catalog whose release is published, and the environment in which the command finds everything done."""
    settings = small_settings(tmp_path, encoder="sample")
    catalog = write_small_catalog(tmp_path / "shop")
    publish_small(catalog, settings)
    variables = settings.model_dump(mode="json", exclude_defaults=True)
    environment = {f"LOOKALIKE_{name.upper()}": str(value) for name, value in variables.items()}
    return catalog, environment


def build(catalog: Path, environment: dict[str, str]) -> tuple[str, list[list[str]], list[str]]:
    """The command's output, the processes that it started, and the heavy libraries that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "build", "--catalog", str(catalog)],
        env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *output, last = done.stdout.splitlines()
    starts, heavy = json.loads(last)
    return "\n".join(output), starts, heavy


def test_build_with_nothing_new_starts_no_process_and_loads_no_encoder(
    published: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    catalog, environment = published
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\ntouch {tmp_path}/java-was-started\nexit 1\n")
    java.chmod(0o755)
    environment |= {"JAVA_HOME": str(java.parent.parent), "PATH": f"{java.parent}:{os.environ['PATH']}"}
    output, starts, heavy = build(catalog, environment)
    assert output.startswith("Nothing changed: no picture downloaded, none embedded;")
    assert (starts, heavy) == ([], [])
    assert not (tmp_path / "java-was-started").exists()


def test_build_names_a_product_to_refetch_that_the_catalog_lacks(
    published: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    catalog, environment = published
    done = subprocess.run(
        [sys.executable, "-m", "lookalike", "build", "--catalog", str(catalog), "--refetch", "p000,nope"],
        env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the catalog has no product 'nope'" in done.stderr
