"""The compose file pins its images, checks their health, binds loopback ports only, and has no secrets."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from artifacts.config import EngineKind
from artifacts.settings import Settings

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "serving/deploy/compose.yaml"
EXAMPLE = ROOT / "serving/deploy/compose.env.example"

#: Services that Lookalike speaks to; Milvus alone speaks to the others.
REACHED = {"milvus", "qdrant", "postgres", "redis", "kafka"}


@pytest.fixture(scope="module")
def file() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module")
def services(file: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return file["services"]


def test_compose_file_has_the_engines_stores_and_the_broker(services: dict[str, Any]) -> None:
    assert set(services) == REACHED | {"etcd", "minio"}


def test_every_image_is_pinned_to_a_version_and_names_its_registry(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        host, tag = service["image"].split("/")[0], service["image"].rpartition(":")[2]
        assert "." in host, name
        assert re.search(r"\d+\.\d+\.\d+|\d{4}-\d\d-\d\d", tag), name


def test_every_service_has_a_health_check_and_keeps_its_data_in_a_volume(
    file: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    for name, service in services.items():
        check = service["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL"), name
        assert {"interval", "timeout", "retries"} <= check.keys(), name
        assert [volume.partition(":")[0] for volume in service["volumes"]] == [name]
    assert set(file["volumes"]) == set(services)


def test_every_port_is_bound_to_this_machine(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        ports = service.get("ports", [])
        assert bool(ports) == (name in REACHED), name
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports), name
        assert "network_mode" not in service, name


def test_services_wait_for_services_that_exist(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            assert name in services
            assert wait == {"condition": "service_healthy"}


def test_secrets_are_required_variables_that_the_example_lists_empty(services: dict[str, dict[str, Any]]) -> None:
    text = COMPOSE.read_text()
    variables = set(re.findall(r"\$\{(\w+)", text))
    assert variables == set(re.findall(r"\$\{(\w+):\?[^}]+\}", text))  # no defaults: compose stops without a value
    assert dict.fromkeys(variables, "") == dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|API_KEY", name):
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), name
    assert "serving/deploy/compose.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_comments_name_existing_settings_and_engines() -> None:
    named = re.findall(r"\b([a-z_]+)=([\w:/.$-]*)", "\n".join(re.findall(r"^ *#(.*)$", COMPOSE.read_text(), re.M)))
    assert {"engine", "engine_url", "embedding_store", "kafka_servers"} <= {name for name, _ in named}
    assert {name for name, _ in named} <= Settings.model_fields.keys()
    engines = {value for name, value in named if name == "engine"}
    assert engines == {"milvus", "qdrant", "pgvector"} < set(EngineKind.__args__)


def has_compose() -> bool:
    """Whether `docker compose` can be run; checking a configuration needs no daemon."""
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="needs `docker compose`")
def test_docker_accepts_the_configuration(tmp_path: Path) -> None:
    env = tmp_path / "compose.env"
    env.write_text(re.sub("=$", "=s3cret", EXAMPLE.read_text(), flags=re.MULTILINE))
    command = ["docker", "compose", "--env-file", str(env), "-f", str(COMPOSE), "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    refused = subprocess.run([*command[:3], str(EXAMPLE), *command[4:]], capture_output=True, text=True)
    assert refused.returncode != 0
    assert "set it in compose.env" in refused.stderr
