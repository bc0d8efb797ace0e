"""`lookalike serve` as processes: its port, how its workers share connections and metrics, and how it stops."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from artifacts.errors import LookalikeError
from artifacts.settings import Settings
from jobs.bench.load.server import listening
from serving.server import Server, listen
from tests.waiting import wait_until

pytestmark = pytest.mark.server


class RunningServer:
    """`lookalike serve` on a free port of 127.0.0.1, in a process group of its own.

    Args:
        releases: folder of the releases to serve.
        log: file for stderr.
        workers: number of worker processes.
    """

    def __init__(self, releases: str, log: Path, workers: int) -> None:
        self._log, self._workers = log, workers
        command = [sys.executable, "-m", "lookalike", "serve", "--port", "0", "--releases", releases]
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*command, "--workers", str(workers)],
                stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        address = next(word for word in self._process.stdout.readline().split() if word.startswith("http://"))
        self.port = int(address.rstrip("/").rpartition(":")[2])

    def wait_until_ready(self) -> None:
        wait_until(lambda: self.get("/readyz"))
        if sys.platform == "linux" and self._workers > 1:  # the socket that the workers share, and one for each
            wait_until(lambda: listening(self.port) == 1 + self._workers)

    def get(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as response:
            return response.read().decode()

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.connect()
        return connection

    def logged_events(self) -> set[str]:
        """The events of the log; fails if any line of stderr is not a JSON object."""
        return {json.loads(line)["event"] for line in self._log.read_text().splitlines()}

    def interrupt(self) -> None:
        """Send SIGINT to all processes, as Ctrl-C in a terminal does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def stop(self) -> int:
        """Send SIGTERM to the parent process and wait for its end; returns its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        status = self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status


@pytest.fixture(scope="module")
def server(published: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(published.releases, tmp_path_factory.mktemp("server") / "stderr", workers=2)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.stop()


def test_listen_refuses_a_port_in_use(published: Settings) -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # accepted connections inherit it
        port = listener.getsockname()[1]
        with pytest.raises(LookalikeError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port)
        command = [sys.executable, "-m", "lookalike", "serve", "--port", str(port), "--releases", published.releases]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 1
        assert "Address already in use" in ended.stderr
        assert "Traceback" not in ended.stderr
    with pytest.raises(LookalikeError, match=r"cannot listen on 192\.0\.2\.1:80"):
        listen("192.0.2.1", 80)  # reserved for documentation (RFC 5737)


def test_server_keeps_idle_connections_longer_than_load_balancers(published: Settings, tmp_path: Path) -> None:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = Server(published.server, listener, tmp_path)
    assert server.cfg is not None
    assert server.cfg.keepalive > 60  # the usual idle timeout of load balancers
    assert listener.fileno() == -1  # gunicorn owns it
    assert listening(port) == 1
    os.close(server.fd)


def test_workers_share_the_connections_of_one_port(server: RunningServer) -> None:
    connections = [server.connect() for _ in range(40)]
    for connection in connections:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        connection.close()


def test_worker_ends_a_connection_after_some_seconds(server: RunningServer) -> None:
    connection = server.connect()

    def connection_header() -> str | None:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        assert response.read() == b'{"status":"ok"}'
        return response.headers["Connection"]

    assert connection_header() == "keep-alive"
    wait_until(lambda: connection_header() == "close")
    connection.close()


def test_metrics_add_up_the_searches_of_all_workers(server: RunningServer) -> None:
    for _ in range(12):
        server.get("/v1/search/text?q=red")
    assert 'image_search_requests_total{search_type="text",status="ok"} 12.0' in server.get("/metrics").splitlines()


# DuckDB's bindings would print lines such as "nanobind: leaked 111 functions!" to stderr.


def test_stopped_server_frees_its_port_and_prints_no_leaks(server: RunningServer) -> None:
    server.get("/v1/search/text?q=red&filter=colour:red&facets=brand")
    assert server.stop() == 0
    assert sys.platform != "linux" or listening(server.port) == 0
    assert server.logged_events() == {"release loaded", "search"}


def test_interrupted_server_prints_no_leaks_and_no_traceback(published: Settings, tmp_path: Path) -> None:
    server = RunningServer(published.releases, tmp_path / "stderr", workers=1)
    try:
        server.wait_until_ready()
        server.get("/v1/search/text?q=red")
        server.interrupt()
        assert server.wait() == 0
    finally:
        server.stop()
    assert server.logged_events() == {"release loaded", "search"}
