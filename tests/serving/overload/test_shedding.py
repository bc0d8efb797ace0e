"""The load shedder's decision on the bytes of a request."""

from __future__ import annotations

from time import perf_counter

import pytest

from artifacts.errors import Busy
from serving.overload.admission import AdmissionController
from serving.overload.shedding import Decision, LoadShedder
from tests.serving.overload.raw_http import request

COMPLETE = request(body=b"12345")


def load_shedder(admission: AdmissionController) -> LoadShedder:
    return LoadShedder(lambda environ, start_response: [], admission)


@pytest.mark.parametrize(
    "content",
    [
        COMPLETE[:-1],
        COMPLETE + b"6",
        COMPLETE[: COMPLETE.index(b"\r\n\r\n")],
        COMPLETE + COMPLETE,
        b"",
        COMPLETE.replace(b"POST", b"PUT"),
        COMPLETE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        COMPLETE.replace(b"/v1/search", b"http://shop/v1/search"),
        COMPLETE.replace(b"/v1/search", b"/v1/products"),
        COMPLETE.replace(b"/v1/search", b"/v1/s%65arch"),
        COMPLETE.replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 5"),
        COMPLETE.replace(b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: x"),
        COMPLETE.replace(b"Content-Length: 5", b"Content-Length: 00000000005"),
        COMPLETE.replace(b"Content-Length: 5", b"Content-Length: 5, 5"),
        COMPLETE.replace(b"Content-Length: 5", b"Content-Length: \xb2"),
        COMPLETE.replace(b"Host: shop", b"Host: shop\r\n folded: line"),
        COMPLETE.replace(b"Host: shop", b"Host : shop"),
        COMPLETE.replace(b"Host: shop", b"Host: shop\nX: y"),
        COMPLETE.replace(b"Host: shop", b"Host: sh\0p"),
        COMPLETE.replace(b"Host: shop", b"Host: sh\x07p"),
        COMPLETE.replace(b"Host: shop", b"Host: shop\r\nExpect: 100-continue"),
        COMPLETE.replace(b"Host: shop", b"Host: shop\r\nUPGRADE: h2c"),
        COMPLETE.replace(b"Host: shop", b"Connection: close"),
        COMPLETE.replace(b"Host: shop", b"Connection: keep-alive, upgrade"),
        COMPLETE.replace(b"Host: shop", b"Transfer-Encoding: chunked"),
    ],
)
def test_decide_leaves_ambiguous_requests_to_the_parser(content: bytes) -> None:
    admission = AdmissionController(1, 0, 3600)
    with admission.admitted(perf_counter()):
        assert load_shedder(admission).decide(content, 0.0, 0, last=False) == Decision(search=False)


@pytest.mark.parametrize(
    "content",
    [
        COMPLETE,
        COMPLETE.replace(b"Content-Length: 5", b"content-length:\t5 "),
        COMPLETE.replace(b"Host: shop", b"Connection: Keep-Alive\r\nHost: shop"),
        COMPLETE.replace(b"Host: shop", b"User-Agent: \xc3\xa9\r\nX-Empty:"),
        request("/v1/search/text?q=a+red%20dress&limit=3", b"", method="GET"),
        request("/v1/products/p%2F1/similar", b"", method="GET"),
    ],
)
def test_decide_refuses_complete_searches_while_all_slots_are_taken(content: bytes) -> None:
    admission = AdmissionController(1, 0, 3600)
    assert load_shedder(admission).decide(content, 0.0, 0, last=False) == Decision(search=True)
    with admission.admitted(perf_counter()):
        refusal = load_shedder(admission).decide(content, 0.0, 0, last=False).refusal
    assert (refusal or b"").startswith(b"HTTP/1.1 503 ")


def test_decide_refuses_by_queue_time_and_pending_searches() -> None:
    now = 0.0
    admission = AdmissionController(1, 100, 100.0, clock=lambda: now)
    with admission.admitted(now):  # a search takes 1 s
        now += 1.0
    shedder = load_shedder(admission)

    def accepts(queue_time: float, pending: int) -> bool:
        return shedder.decide(COMPLETE, queue_time, pending, last=False).refusal is None

    assert accepts(0.0, 1000)  # the slot is free
    with admission.admitted(now):
        assert accepts(0.0, 1)
        assert not accepts(60.0, 1)
        assert not accepts(0.0, 60)
        with pytest.raises(Busy):
            admission.check(60.0)
