"""Admission: slots, the order of the queue, and searches that are rejected because they would be answered too late."""

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


class Search:
    """A search in its own thread, which holds its slot until `finish` is called."""

    def __init__(
        self,
        admission: AdmissionController,
        order: list[str] | None = None,
        name: str = "",
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.may_finish = threading.Event()
        self.admitted = threading.Event()
        self.refused: Busy | None = None
        self._admission, self._clock = admission, clock
        self._thread = threading.Thread(target=self._run, args=([] if order is None else order, name), daemon=True)
        self._thread.start()

    def _run(self, order: list[str], name: str) -> None:
        try:
            with self._admission.admitted(self._clock()):
                order.append(name)
                self.admitted.set()
                self.may_finish.wait(60)
        except Busy as busy:
            self.refused = busy

    def finish(self) -> None:
        self.may_finish.set()
        self._thread.join()


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def admission_of_slow_searches(
    slots: int, queue_limit: int, deadline_seconds: float, *, mean_seconds: float
) -> tuple[AdmissionController, Clock]:
    """An admission controller that has seen a search take `mean_seconds`, and its clock."""
    clock = Clock()
    admission = AdmissionController(slots, queue_limit, deadline_seconds, clock)
    with admission.admitted(clock()):
        clock.now += mean_seconds
    return admission, clock


def test_admission_serves_in_arrival_order() -> None:
    admission, order = AdmissionController(2, 10, 60), []
    searches = [Search(admission, order, "a"), Search(admission, order, "b")]
    wait_until(lambda: all(search.admitted.is_set() for search in searches))
    for length, name in enumerate("cdef", start=1):
        searches.append(Search(admission, order, name))
        wait_until(lambda length=length: admission.waiting == length)
    assert sorted(order) == ["a", "b"]
    for position, search in enumerate(searches):
        search.finish()
        for following in searches[position + 2 : position + 3]:
            wait_until(following.admitted.is_set)
    assert order[2:] == ["c", "d", "e", "f"]
    assert admission.free_slots == 2


def test_admission_rejects_at_once_when_the_queue_is_full() -> None:
    admission = AdmissionController(1, 2, 60)
    first = Search(admission)
    wait_until(first.admitted.is_set)
    queued = [Search(admission) for _ in range(2)]
    wait_until(lambda: admission.waiting == 2)
    with pytest.raises(Busy) as caught, admission.admitted(perf_counter()):
        pass
    assert caught.value.retry_after >= 1
    for search in (first, *queued):
        search.finish()
    with admission.admitted(perf_counter()):
        pass


def test_admission_rejects_searches_that_would_wait_too_long() -> None:
    admission, clock = admission_of_slow_searches(1, 100, 32, mean_seconds=4.0)
    first = Search(admission, clock=clock)
    wait_until(first.admitted.is_set)
    admission.check()
    admission.check(queue_time=0.7)
    with pytest.raises(Busy):
        admission.check(queue_time=0.9)  # 4.9 s in all, more than 15 % of 32 s
    with pytest.raises(Busy), admission.admitted(clock() - 0.9):
        pass
    second = Search(admission, clock=clock)  # 4 s to wait
    wait_until(lambda: admission.waiting == 1)
    with pytest.raises(Busy) as caught, admission.admitted(clock()):  # 8 s to wait
        pass
    assert caught.value.retry_after == 8
    with pytest.raises(Busy):
        admission.check()
    first.finish()
    second.finish()


def test_admission_counts_pending_searches_as_waiting() -> None:
    admission, clock = admission_of_slow_searches(2, 100, 60, mean_seconds=4.0)
    admission.check(pending=50)  # never rejects while a slot is free
    searches = [Search(admission, clock=clock), Search(admission, clock=clock)]
    wait_until(lambda: all(search.admitted.is_set() for search in searches))
    admission.check(pending=3)  # behind three others it waits 8 s, less than 15 % of 60 s
    with pytest.raises(Busy) as caught:
        admission.check(pending=4)
    assert caught.value.retry_after == 10
    for search in searches:
        search.finish()


def test_waiting_ends_at_the_deadline() -> None:
    admission = AdmissionController(1, 10, 0.05)
    first = Search(admission)
    wait_until(first.admitted.is_set)
    second = Search(admission)
    wait_until(lambda: second.refused is not None)
    assert admission.waiting == 0
    first.finish()
    third = Search(admission)
    wait_until(third.admitted.is_set)
    third.finish()
    assert admission.free_slots == 1


def test_failing_search_returns_its_slot() -> None:
    admission = AdmissionController(1, 0, 60)
    for _ in range(3):
        with pytest.raises(KeyError), admission.admitted(perf_counter()):
            raise KeyError
    assert admission.free_slots == 1


def test_admission_keeps_its_limit_with_many_threads() -> None:
    admission = AdmissionController(3, 50, 60)
    in_progress, maximum, lock = [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(200):
            try:
                with admission.admitted(perf_counter()):
                    with lock:
                        in_progress[0] += 1
                        maximum[0] = max(maximum[0], in_progress[0])
                    with lock:
                        in_progress[0] -= 1
            except Busy:
                pass

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert maximum[0] <= 3
    assert admission.free_slots == 3
    assert admission.waiting == 0


def test_request_timer_stops_after_the_deadline() -> None:
    timer = RequestTimer(0.0)
    with pytest.raises(Busy):
        timer.mark("read")
    RequestTimer(60.0).mark("read")


# ── through the server ───────────────────────────────────────────────────────────────────────────────────────────


def test_busy_server_refuses_every_kind_of_search(rich: Settings) -> None:
    client = client_for(rich.model_copy(update={"threads": 1, "queue": 0}))
    with services_of(client.application).admission.admitted(perf_counter()):
        for response in (
            client.get("/v1/search/text?q=red"),
            client.post("/v1/search", json={"text": "red"}),
            client.post("/v1/search/batch", json={"searches": [{"text": "red"}]}),
            client.get("/v1/products/p001/similar"),
        ):
            assert problem(response, 503) == str(Busy(1))
            assert int(response.headers["Retry-After"]) >= 1
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/products/p001").status_code == 200
        metrics = client.get("/metrics").get_data(as_text=True)
        assert 'image_search_requests_total{search_type="batch",status="busy"}' in metrics
        assert "image_search_working 1.0" in metrics
    assert client.get("/v1/search/text?q=red").status_code == 200


def test_refused_searches_are_not_parsed(rich: Settings) -> None:
    client = client_for(rich.model_copy(update={"threads": 1, "queue": 0}))
    with services_of(client.application).admission.admitted(perf_counter()):
        problem(client.post("/v1/search", data=b"{ not JSON", content_type="application/json"), 503)
        problem(client.get("/v1/search/text?limit=none"), 503)
    problem(client.get("/v1/search/text?limit=none"), 422, "limit")


def test_queue_time_counts_towards_the_deadline(rich: Settings) -> None:
    queued_at: list[float | None] = []

    class WorkerWithoutProcess(ThreadWorker):
        def __init__(self) -> None:
            """Skip gunicorn's constructor, which needs a process."""

        def enqueue_req(self, conn: TConn) -> None:
            queued_at.append(conn.queued_at)

        def handle_request(self, req: object, conn: TConn) -> bool:
            return client.get("/v1/search/text?q=red").status_code == 200

    class TestedWorker(Worker, WorkerWithoutProcess):
        pass

    client = client_for(rich)
    end, other_end = socket.socketpair()  # not TCP, so the kernel reports no times
    worker, conn = TestedWorker(), SimpleNamespace(initialized=True, data_ready=False, queued_at=None, sock=end)
    worker.enqueue_req(conn)
    assert conn.queued_at == pytest.approx(perf_counter(), abs=5)
    assert worker.handle_request(None, conn)
    conn.queued_at -= rich.deadline_seconds
    assert not worker.handle_request(None, conn)
    assert queue_time() > rich.deadline_seconds
    # a new connection may have waited for its caller
    conn.initialized = False
    worker.enqueue_req(conn)
    assert queued_at == [queued_at[0], None]
    assert worker.handle_request(None, conn)
    assert queue_time() == 0
    end.close()
    other_end.close()


def test_search_past_its_deadline_is_refused_and_returns_its_slot(rich: Settings) -> None:
    client = client_for(rich.model_copy(update={"deadline_seconds": 1e-9}))
    problem(client.get("/v1/search/text?q=red"), 503)
    assert services_of(client.application).admission.free_slots == rich.threads


def test_load_shedder_knows_every_search_route(rich: Settings) -> None:
    paths = client_for(rich).application.api_doc["paths"]
    searches = {
        path for path, methods in paths.items() for method in methods.values() if method.get("tags") == ["search"]
    }
    types = {path: search_type_of(path.replace("{product_id}", "a/b")) for path in paths}
    assert {path for path, search_type in types.items() if search_type is not None} == searches
    assert len({types[path] for path in searches}) == len(searches) == 6
