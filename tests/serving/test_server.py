"""`lookalike serve` as processes: its port is its own, and its workers share what comes in."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
from urllib.request import urlopen

import pytest

from artifacts.errors import LookalikeError
from artifacts.settings import Settings
from jobs.bench.server import ServerProcess
from serving.server import listen
from tests.waiting import wait_until


def test_a_port_that_is_taken_is_told(published: Settings) -> None:
    with listen("127.0.0.1", 0) as there:
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


def two_serve(address: str) -> bool:
    with urlopen(f"{address}/metrics") as response:
        text = response.read().decode()
    return re.search(r"^image_search_release_workers\{.*\} 2.0$", text, re.MULTILINE) is not None


def test_connections_are_dealt_out_to_all_workers(published: Settings) -> None:
    environment = {"LOOKALIKE_RELEASES": published.releases, "LOOKALIKE_WORKERS": "2"}
    with ServerProcess(environment) as server:
        host, port = server.address.removeprefix("http://").split(":")
        wait_until(lambda: two_serve(server.address))
        before = {each.pid: each.files for each in server.resources()}
        connections = [http.client.HTTPConnection(host, int(port)) for _ in range(60)]
        for connection in connections:
            connection.connect()
        for connection in connections:
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b'{"status":"ok"}'
        after = {each.pid: each.files for each in server.resources()}
        for connection in connections:
            connection.close()
    assert before.keys() == after.keys()
    if sys.platform == "linux":  # other kernels deal no connections out
        assert all(after[pid] - before[pid] >= 8 for pid in before)
