"""The load that benchmarks put on a server: nothing that is due goes unasked, and what comes back is taken down."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from jobs.bench.load import load as module
from jobs.bench.load.load import Load, Request, percentiles

RATE = 200.0


def asked(request: Request, ask: Any, expected: Mapping[int, str] | None = None) -> Load:
    """What a load saw of a server that gives the path's last part as the first product; 503 below /full."""

    async def answer(incoming: web.Request) -> web.Response:
        status = 503 if incoming.path.startswith("/full") else 200
        return web.json_response({"results": [{"product_id": incoming.path.rpartition("/")[2]}]}, status=status)

    async def all_of_it() -> Load:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with TestServer(app) as server:
            load = Load(str(server.make_url("")).rstrip("/"), request, expected or {})
            asking: Coroutine[Any, Any, float] = ask(load)
            await asking
            return load

    return asyncio.run(all_of_it())


def test_all_that_is_due_is_asked_however_late() -> None:
    def request(number: int) -> tuple[str, str, bytes | None]:
        if number == 0:  # late from the start
            end = time.perf_counter() + 20 / RATE
            while time.perf_counter() < end:
                pass
        return "GET", f"/{number}", None

    load = asked(request, lambda load: load.offered(RATE, 40 / RATE))
    assert [each.status for each in load.samples] == [200] * 40


def test_what_was_due_before_the_end_is_asked_after_it() -> None:
    ended: list[asyncio.Future[float]] = []

    def request(number: int) -> tuple[str, str, bytes | None]:
        if number == 5:
            ended[0].set_result(time.perf_counter() + 30 / RATE)
        return "GET", f"/{number}", None

    def ask(load: Load) -> Coroutine[Any, Any, float]:
        ended.append(asyncio.get_running_loop().create_future())
        return load.offered(RATE, 60.0, ended[0])

    load = asked(request, ask)
    assert len(load.samples) >= 35
    assert len(load.samples) < 60 * RATE


@pytest.mark.parametrize(("path", "status", "wrong"), [("/a", 200, False), ("/b", 200, True), ("/full/b", 503, False)])
def test_answers_are_taken_down(path: str, status: int, wrong: bool) -> None:
    load = asked(lambda number: ("GET", path, None), lambda load: load.closed(2, 0.01), {0: "a"})
    assert load.asked == len(load.samples) + 2  # each client's first only warms up
    assert {(each.status, each.wrong) for each in load.samples} == {(status, wrong)}


def test_no_answer_is_status_0() -> None:
    async def ask() -> Load:
        load = Load("http://127.0.0.1:9", lambda number: ("GET", "/", None))  # the discard port: nobody listens
        await load.offered(RATE, 2 / RATE)
        return load

    assert [each.status for each in asyncio.run(ask()).samples] == [0, 0]
    assert percentiles([]) == (0.0, 0.0, 0.0)


def test_no_garbage_is_looked_for_while_requests_are_timed() -> None:
    """It would take longer than they do, and be taken for the server's time."""
    collects: list[bool] = []

    def request(number: int) -> tuple[str, str, bytes | None]:
        collects.append(gc.isenabled())
        return "GET", f"/{number}", None

    for ask in (lambda load: load.offered(RATE, 5 / RATE), lambda load: load.closed(2, 5 / RATE)):
        asked(request, ask)
        assert gc.isenabled()
    assert not any(collects)


def test_waiting_for_a_connection_is_not_the_servers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECTIONS", 1)
    load = asked(lambda number: ("GET", f"/{number}", None), lambda load: load.offered(1e6, 50 / 1e6))
    samples = sorted(load.samples, key=lambda each: each.at)
    assert len(samples) == 50
    for one, following in itertools.pairwise(samples):
        assert following.at >= one.at + one.milliseconds / 1000  # one after the other
    assert samples[-1].late_ms > samples[0].late_ms >= 0
