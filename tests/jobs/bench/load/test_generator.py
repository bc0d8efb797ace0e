"""The load generator: no due request is left out, and every outcome is recorded."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from jobs.bench.load.generator import LoadGenerator, Request, percentiles

pytestmark = pytest.mark.server


RATE = 200.0


def run(
    request: Request,
    start: Callable[[LoadGenerator], Awaitable[float]],
    expected: Mapping[int, str] | None = None,
    **options: Any,
) -> LoadGenerator:
    """Run a load generator against a server and return it.

    The server returns the last part of the path as the first product; with status 503 below /full.
    """

    async def respond(incoming: web.Request) -> web.Response:
        status = 503 if incoming.path.startswith("/full") else 200
        return web.json_response({"results": [{"product_id": incoming.path.rpartition("/")[2]}]}, status=status)

    async def main() -> LoadGenerator:
        app = web.Application()
        app.router.add_get("/{path:.*}", respond)
        async with TestServer(app) as server:
            load = LoadGenerator(str(server.make_url("")).rstrip("/"), request, expected or {}, **options)
            await start(load)
            return load

    return asyncio.run(main())


def test_open_loop_sends_every_due_request_however_late() -> None:
    def request(number: int) -> tuple[str, str, bytes | None]:
        if number == 0:  # delays all later requests
            end = time.perf_counter() + 20 / RATE
            while time.perf_counter() < end:
                pass
        return "GET", f"/{number}", None

    load = run(request, lambda load: load.run_open_loop(RATE, 40 / RATE))
    assert [sample.status for sample in load.samples] == [200] * 40


def test_open_loop_sends_requests_due_before_the_stop_time() -> None:
    stops: list[asyncio.Future[float]] = []

    def request(number: int) -> tuple[str, str, bytes | None]:
        if number == 5:
            stops[0].set_result(time.perf_counter() + 30 / RATE)
        return "GET", f"/{number}", None

    def start(load: LoadGenerator) -> Awaitable[float]:
        stops.append(asyncio.get_running_loop().create_future())
        return load.run_open_loop(RATE, 60.0, stops[0])

    load = run(request, start)
    assert len(load.samples) >= 35
    assert len(load.samples) < 60 * RATE


@pytest.mark.parametrize(("path", "status", "wrong"), [("/a", 200, False), ("/b", 200, True), ("/full/b", 503, False)])
def test_samples_record_status_and_wrong_answers(path: str, status: int, wrong: bool) -> None:
    load = run(lambda number: ("GET", path, None), lambda load: load.run_closed_loop(2, 0.01), {0: "a"})
    assert load.sent == len(load.samples) + 2  # the first request of each client is a warm-up
    assert {(sample.status, sample.wrong) for sample in load.samples} == {(status, wrong)}


def test_request_without_response_has_status_0() -> None:
    async def main() -> LoadGenerator:
        load = LoadGenerator("http://127.0.0.1:9", lambda number: ("GET", "/", None))  # the discard port: closed
        await load.run_open_loop(RATE, 2 / RATE)
        return load

    assert [sample.status for sample in asyncio.run(main()).samples] == [0, 0]


def test_percentiles_of_no_samples_are_zero() -> None:
    assert percentiles([]) == (0.0, 0.0, 0.0)


def test_garbage_collector_is_off_while_requests_are_timed() -> None:
    """A collection would take longer than the requests, and count as the server's time."""
    enabled: list[bool] = []

    def request(number: int) -> tuple[str, str, bytes | None]:
        enabled.append(gc.isenabled())
        return "GET", f"/{number}", None

    for start in (lambda load: load.run_open_loop(RATE, 5 / RATE), lambda load: load.run_closed_loop(2, 5 / RATE)):
        run(request, start)
        assert gc.isenabled()
    assert not any(enabled)


def test_wait_for_a_connection_is_recorded_as_late_ms() -> None:
    load = run(
        lambda number: ("GET", f"/{number}", None),
        lambda load: load.run_open_loop(1e6, 50 / 1e6),
        max_connections=1,
    )
    samples = sorted(load.samples, key=lambda sample: sample.sent_at)
    assert len(samples) == 50
    for sample, following in itertools.pairwise(samples):
        assert following.sent_at >= sample.sent_at + sample.milliseconds / 1000  # one after the other
    assert samples[-1].late_ms > samples[0].late_ms >= 0
