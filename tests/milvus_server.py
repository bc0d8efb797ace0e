"""Milvus servers for tests: standalone 2.3.5, which the PyPI package `milvus` holds, and milvus-lite.

That package is no part of the lock: `.ci/run` unpacks it into a folder of its own. It is old, and stands for the
protocol, not for the speed of today's Milvus. Its ports listen on all interfaces whatever it is told, so it asks for a
password that is drawn for each server.
"""

from __future__ import annotations

import lzma
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO

import grpc
from pymilvus import MilvusClient, MilvusException

from tests.waiting import wait_until

#: What `.ci/run` puts here.
_PACKAGE = Path(__file__).parent.parent / ".ci-milvus"
_FILES = _PACKAGE / "milvus/data"

#: What a new server's user `root` has.
_FIRST_PASSWORD = "Milvus"

#: Milvus takes each setting from the environment, too.
_PORTS = (
    "ROOTCOORD_PORT", "PROXY_PORT", "PROXY_INTERNALPORT", "QUERYCOORD_PORT", "QUERYNODE_PORT", "INDEXNODE_PORT",
    "DATACOORD_PORT", "DATANODE_PORT", "METRICS_PORT", "etcd", "etcd peer",
)  # fmt: skip


class _Server(ABC):
    """A process that can be killed and started again, suspended and resumed.

    Attributes:
        folder: of its data, which are removed when it is stopped.
        url: of the server.
        key: that it asks for.
    """

    url: str
    key = ""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lookalike-milvus-"))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, also after `kill`, and return once it takes requests."""
        with (self.folder / "log").open("ab") as log:
            self.process = self._started(log)
        wait_until(self._answers, seconds=180)

    @abstractmethod
    def _started(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        """Return the process, which is starting."""

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        client: Any = None
        try:
            client = MilvusClient(self.url, token=self.key, dedicated=True, timeout=2)
            client.list_collections(timeout=2)
        except (MilvusException, grpc.RpcError):
            return False
        finally:
            if client is not None:
                client.close()
        return True

    def kill(self) -> None:
        """End it at once; Milvus takes a minute to end by itself."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=60)

    def suspend(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class MilvusServer(_Server):
    """A standalone server, with a user `root`."""

    def __init__(self) -> None:
        super().__init__()
        self._ports = _free_ports()
        self.url = f"http://127.0.0.1:{self._ports['PROXY_PORT']}"
        self.key = f"root:{_FIRST_PASSWORD}"
        self._configure()

    def start(self) -> None:
        super().start()
        if self.key == f"root:{_FIRST_PASSWORD}":
            password = secrets.token_hex(8)
            client = MilvusClient(self.url, token=self.key, dedicated=True, timeout=10)
            client.update_password("root", _FIRST_PASSWORD, password, timeout=10)
            client.close()
            self.key = f"root:{password}"
            wait_until(self._answers)

    def _started(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        programs = _programs()
        settings = {
            "DEPLOY_MODE": "STANDALONE",
            "MILVUSCONF": str(self.folder / "configs"),
            "LD_LIBRARY_PATH": str(programs),
            "ETCD_ENDPOINTS": f"localhost:{self._ports['etcd']}",
            "ETCD_CONFIG_PATH": str(self.folder / "configs/etcd.yaml"),
            "COMMON_SECURITY_AUTHORIZATIONENABLED": "true",
            "COMMON_SESSION_TTL": "5",  # a killed server's session, which the next start waits for
            **{name: str(port) for name, port in self._ports.items() if not name.startswith("etcd")},
        }
        return subprocess.Popen(
            [programs / "milvus", "run", "standalone"],
            stdout=log, stderr=log, cwd=self.folder, env={**os.environ, **settings},
        )  # fmt: skip

    def _configure(self) -> None:
        configs = self.folder / "configs"
        configs.mkdir()
        values = {
            "etcd_log_level": "error", "etcd_log_path": str(self.folder / "etcd.log"),
            "etcd_data_dir": str(self.folder / "etcd"), "local_storage_dir": str(self.folder / "data"),
            "rocksmq_data_dir": str(self.folder / "rocksmq"), "system_log_path": "",
        }  # fmt: skip

        def value(match: re.Match[str]) -> str:
            return values.get(match["name"], match["default"] or "")

        template = (_FILES / "config.yaml.template").read_text()
        placeholder = r"\{\{ *(?P<name>\w+)(\(\w+\))?(: *(?P<default>[^ }]*))? *\}\}"
        config = re.sub(r"(?m)^( +level: )(info|debug)\b", r"\1warn", re.sub(placeholder, value, template))
        (configs / "milvus.yaml").write_text(config)
        shutil.copy(_FILES / "glog.conf", configs)
        client, peer = (f"http://localhost:{self._ports[name]}" for name in ("etcd", "etcd peer"))
        (configs / "etcd.yaml").write_text(
            f"name: default\ndata-dir: {self.folder / 'etcd'}\nlog-level: error\n"
            f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
            f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
        )


class MilvusLiteServer(_Server):
    """milvus-lite, which imitates Milvus in Python, as a server. It asks for no key."""

    def __init__(self) -> None:
        super().__init__()
        self._port = _free_ports()["PROXY_PORT"]
        self.url = f"http://127.0.0.1:{self._port}"

    def _started(self, log: BinaryIO) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "milvus_lite", "server", "--data-dir", self.folder / "data",
             "--host", "127.0.0.1", "--port", str(self._port)],
            stdout=log, stderr=log,
        )  # fmt: skip


def _free_ports() -> dict[str, int]:
    probes = [socket.socket() for _ in _PORTS]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return dict(zip(_PORTS, ports, strict=True))


def _programs() -> Path:
    """Return the folder of the server's programs; they are unpacked there once, in seconds."""
    folder = _PACKAGE / "unpacked"
    if not folder.is_dir():
        half = Path(tempfile.mkdtemp(dir=_PACKAGE))
        for file in (_FILES / "bin").glob("*.lzma"):
            with lzma.open(file) as packed, (half / file.stem).open("wb") as program:
                shutil.copyfileobj(packed, program, 1 << 20)
            (half / file.stem).chmod(0o755)
        half.rename(folder)
    return folder
