"""The systemd unit and the container file of the stream refer to what exists."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

from artifacts.settings import Settings

ROOT = Path(__file__).parent.parent.parent.parent
DEPLOY = ROOT / "serving/deploy"


def assert_sets_known_settings(text: str) -> None:
    names = set(re.findall(r"LOOKALIKE_([A-Z_]+)=", text))
    assert names
    assert {name.lower() for name in names} <= Settings.model_fields.keys()


def test_systemd_unit_starts_the_stream_and_gives_a_batch_time_to_end() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    text = (DEPLOY / "lookalike-stream.service").read_text()
    unit.read_string(text)
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    assert unit["Service"]["ExecStart"].endswith("/.venv/bin/lookalike stream")
    assert int(unit["Service"]["TimeoutStopSec"]) >= 300
    assert_sets_known_settings(text)


def test_container_file_copies_existing_files_installs_existing_extras_and_sets_known_settings() -> None:
    text = (DEPLOY / "Containerfile.stream").read_text()
    sources = [name for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert sources
    assert all((ROOT / name).exists() for name in sources)
    (extras,) = re.findall(r"\"\.\[\$EXTRA,([a-z,]+)\]\"", text)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= known.keys()
    assert_sets_known_settings(text)
