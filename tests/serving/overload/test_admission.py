"""The gate: first come, first served, and no to what could not be answered in time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from time import perf_counter
from types import SimpleNamespace

import pytest
from gunicorn.workers.gthread import TConn, ThreadWorker

from artifacts.errors import Busy
from artifacts.settings import Settings
from serving.overload.admission import AdmissionController
from serving.overload.queue_time import queue_time
from serving.overload.shedding import search_type_of
from serving.overload.worker import Worker
from serving.services import services_of
from serving.timing import RequestTimer
from tests.serving.answers import client_for, problem
from tests.waiting import wait_until


class Visitor:
    """A search in a thread of its own, at the gate or through it."""

    def __init__(self, gate: AdmissionController, order: list[str], name: str = "") -> None:
        self.leave = threading.Event()
        self.inside = threading.Event()
        self.refused: Busy | None = None
        self._thread = threading.Thread(target=self._visit, args=(gate, order, name), daemon=True)
        self._thread.start()

    def _visit(self, gate: AdmissionController, order: list[str], name: str) -> None:
        try:
            with gate.admitted(perf_counter()):
                order.append(name)
                self.inside.set()
                self.leave.wait(60)
        except Busy as busy:
            self.refused = busy

    def end(self) -> None:
        self.leave.set()
        self._thread.join()


def waiting(gate: AdmissionController, count: int) -> Callable[[], bool]:
    return lambda: len(gate._waiting) == count


def test_so_many_work_and_the_others_come_in_order() -> None:
    gate, order = AdmissionController(2, 10, 60), []
    visitors = [Visitor(gate, order, "a"), Visitor(gate, order, "b")]
    wait_until(lambda: all(each.inside.is_set() for each in visitors))
    for place, name in enumerate("cdef", start=1):
        visitors.append(Visitor(gate, order, name))
        wait_until(waiting(gate, place))
    assert sorted(order) == ["a", "b"]
    for place, visitor in enumerate(visitors):
        visitor.end()
        for following in visitors[place + 2 : place + 3]:
            wait_until(following.inside.is_set)
    assert order[2:] == ["c", "d", "e", "f"]
    assert gate._free == 2


def test_a_full_queue_says_no_at_once() -> None:
    gate, order = AdmissionController(1, 2, 60), []
    first = Visitor(gate, order)
    wait_until(first.inside.is_set)
    others = [Visitor(gate, order) for _ in range(2)]
    wait_until(waiting(gate, 2))
    with pytest.raises(Busy) as caught, gate.admitted(perf_counter()):
        pass
    assert caught.value.retry_after >= 1
    for visitor in (first, *others):
        visitor.end()
    with gate.admitted(perf_counter()):
        pass


def test_whoever_would_come_too_late_is_not_let_wait() -> None:
    gate, order = AdmissionController(1, 100, 32), []
    gate._mean = 4.0  # seconds that a search has taken so far
    first = Visitor(gate, order)
    wait_until(first.inside.is_set)
    gate.check()
    gate.check(queue_time=0.7)
    with pytest.raises(Busy):
        gate.check(queue_time=0.9)  # 4.9 s in all
    with pytest.raises(Busy), gate.admitted(perf_counter() - 0.9):
        pass
    second = Visitor(gate, order)  # 4 s to wait: less than 15 % of its time
    wait_until(waiting(gate, 1))
    with pytest.raises(Busy) as caught, gate.admitted(perf_counter()):  # 8 s to wait
        pass
    assert caught.value.retry_after == 8
    with pytest.raises(Busy):
        gate.check()
    first.end()
    second.end()


def test_searches_that_are_on_their_way_here_count_as_waiting() -> None:
    gate, order = AdmissionController(2, 100, 60), []
    gate._mean = 4.0
    gate.check(pending=50)  # there is room: let it come, and see
    visitors = [Visitor(gate, order), Visitor(gate, order)]
    wait_until(lambda: all(each.inside.is_set() for each in visitors))
    gate.check(pending=3)  # three before it, so 8 s to wait: less than 15 % of its time
    with pytest.raises(Busy) as caught:
        gate.check(pending=4)
    assert caught.value.retry_after == 10
    for visitor in visitors:
        visitor.end()


def test_waiting_ends_with_the_deadline() -> None:
    gate, order = AdmissionController(1, 10, 0.05), []
    first = Visitor(gate, order)
    wait_until(first.inside.is_set)
    second = Visitor(gate, order)
    wait_until(lambda: second.refused is not None)
    assert len(gate._waiting) == 0
    first.end()
    third = Visitor(gate, order)
    wait_until(third.inside.is_set)
    third.end()
    assert gate._free == 1


def test_a_search_that_fails_gives_its_slot_back() -> None:
    gate = AdmissionController(1, 0, 60)
    for _ in range(3):
        with pytest.raises(KeyError), gate.admitted(perf_counter()):
            raise KeyError
    assert gate._free == 1


def test_many_threads_lose_no_slot() -> None:
    gate = AdmissionController(3, 50, 60)
    at_once, most, lock = [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(200):
            try:
                with gate.admitted(perf_counter()):
                    with lock:
                        at_once[0] += 1
                        most[0] = max(most[0], at_once[0])
                    with lock:
                        at_once[0] -= 1
            except Busy:
                pass

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= 3
    assert gate._free == 3
    assert not gate._waiting


def test_a_stage_after_the_deadline_is_not_begun() -> None:
    timer = RequestTimer(0.0)
    with pytest.raises(Busy):
        timer.mark("read")
    RequestTimer(60.0).mark("read")


# ── asked of the server ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_busy_server_says_so_in_one_shape(rich: Settings) -> None:
    client = client_for(rich.model_copy(update={"threads": 1, "queue": 0}))
    with services_of(client.application).admission.admitted(perf_counter()):
        for response in (
            client.get("/v1/search/text?q=red"),
            client.post("/v1/search", json={"text": "red"}),
            client.post("/v1/search/batch", json={"searches": [{"text": "red"}]}),
            client.get("/v1/products/p001/similar"),
        ):
            assert "more to do" in problem(response, 503)
            assert int(response.headers["Retry-After"]) >= 1
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/products/p001").status_code == 200
        metrics = client.get("/metrics").get_data(as_text=True)
        assert 'image_search_requests_total{search_type="batch",status="busy"}' in metrics
        assert "image_search_working 1.0" in metrics
    assert client.get("/v1/search/text?q=red").status_code == 200


def test_what_is_refused_is_not_read(rich: Settings) -> None:
    client = client_for(rich.model_copy(update={"threads": 1, "queue": 0}))
    with services_of(client.application).admission.admitted(perf_counter()):
        problem(client.post("/v1/search", data=b"{ not JSON", content_type="application/json"), 503)
        problem(client.get("/v1/search/text?limit=none"), 503)
    problem(client.get("/v1/search/text?limit=none"), 422, "limit")


def test_time_spent_waiting_for_a_thread_is_a_searchs_own(rich: Settings) -> None:
    asked: list[float | None] = []

    class Told(ThreadWorker):
        def __init__(self) -> None:
            """None of gunicorn's: no process is to be made."""

        def enqueue_req(self, conn: TConn) -> None:
            asked.append(conn.came)

        def handle_request(self, req: object, conn: TConn) -> bool:
            return client.get("/v1/search/text?q=red").status_code == 200

    class Tested(Worker, Told):
        pass

    client = client_for(rich)
    here, there = socket.socketpair()  # of no network, so the kernel tells nothing of it
    worker, conn = Tested(), SimpleNamespace(initialized=True, data_ready=False, came=None, sock=here)
    worker.enqueue_req(conn)
    assert conn.came == pytest.approx(perf_counter(), abs=5)
    assert worker.handle_request(None, conn)
    conn.came -= rich.deadline_seconds
    assert not worker.handle_request(None, conn)
    assert queue_time() > rich.deadline_seconds
    # a connection that is new may have been waiting for its caller
    conn.initialized = False
    worker.enqueue_req(conn)
    assert asked == [asked[0], None]
    assert worker.handle_request(None, conn)
    assert queue_time() == 0
    here.close()
    there.close()


def test_a_search_past_its_deadline_is_given_up(rich: Settings) -> None:
    client = client_for(rich.model_copy(update={"deadline_seconds": 1e-9}))
    problem(client.get("/v1/search/text?q=red"), 503)
    assert services_of(client.application).admission._free == rich.threads


def test_the_doorman_knows_every_search(rich: Settings) -> None:
    paths = client_for(rich).application.api_doc["paths"]
    searches = {path for path, methods in paths.items() for each in methods.values() if each.get("tags") == ["search"]}
    kinds = {path: search_type_of(path.replace("{product_id}", "a/b")) for path in paths}
    assert {path for path, kind in kinds.items() if kind is not None} == searches
    assert len({kinds[path] for path in searches}) == len(searches) == 6
