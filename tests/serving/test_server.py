"""`lookalike serve` as processes: its port is its own, and its workers share what comes in."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.errors import LookalikeError
from artifacts.settings import Settings
from jobs.bench.load.server import ServerProcess, listening
from serving.server import Server, listen
from tests.waiting import wait_until


def test_a_port_that_is_taken_is_told(published: Settings) -> None:
    with listen("127.0.0.1", 0) as there:
        assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # connections have it from the listener
        port = there.getsockname()[1]
        with pytest.raises(LookalikeError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port)
        command = [sys.executable, "-m", "lookalike", "serve", "--port", str(port), "--releases", published.releases]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 1
        assert "Address already in use" in ended.stderr
        assert "Traceback" not in ended.stderr
    with pytest.raises(LookalikeError, match=r"cannot listen on 192\.0\.2\.1:80"):
        listen("192.0.2.1", 80)  # an address of nobody (RFC 5737)


def test_idle_connections_outlive_a_load_balancers(published: Settings, tmp_path: Path) -> None:
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = Server(published.server, listener, tmp_path)
    assert server.cfg is not None
    assert server.cfg.keepalive > 60  # what load balancers keep them for
    assert listener.fileno() == -1  # it is gunicorn's now
    assert listening(port) == 1
    os.close(server.fd)


def test_every_worker_listens_by_itself_once_it_is_warm(published: Settings) -> None:
    environment = {"LOOKALIKE_RELEASES": published.releases, "LOOKALIKE_WORKERS": "2"}
    with ServerProcess(environment) as server:
        host, port = server.address.removeprefix("http://").split(":")
        # The one that they share, where whoever is there first takes a connection; and one of each, which are dealt to.
        assert sys.platform != "linux" or listening(int(port)) == 3
        connections = [http.client.HTTPConnection(host, int(port)) for _ in range(40)]
        for connection in connections:
            connection.connect()
        for connection in connections:
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b'{"status":"ok"}'
            connection.close()
        # and a connection does not stay with its worker for ever
        connection = http.client.HTTPConnection(host, int(port))

        def told() -> str | None:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            assert answer.read() == b'{"status":"ok"}'
            return answer.headers["Connection"]

        assert told() == "keep-alive"
        wait_until(lambda: told() == "close")
    assert sys.platform != "linux" or listening(int(port)) == 0
