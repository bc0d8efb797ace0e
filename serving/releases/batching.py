"""Requests that come at the same time share one call of the encoder, and of the index.

A call takes little longer for eight texts than for one, and reads an index's centroids once for all of its queries. So
while as many calls run as may, what comes in meanwhile waits and goes into the next one together; a request that comes
alone waits for nobody, and nobody waits for company.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from prometheus_client import Histogram

BATCH = Histogram(
    "image_search_batch", "Texts or pictures in one call of the encoder, queries in one call of the index.", ["kind"],
    buckets=[1, 2, 4, 8, 16, 32, 64],
)  # fmt: skip

Item = TypeVar("Item")
Result = TypeVar("Result")


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass
class _Order(Generic[Item, Result]):
    """What one request wants."""

    items: Sequence[Item]
    # Held until somebody has served the order, or it is its turn to serve. An Event would do the same and take longer:
    # one is waited for by one, once.
    called: threading.Lock = field(default_factory=_held)
    results: Sequence[Result] | None = None
    error: BaseException | None = None

    @property
    def served(self) -> bool:
        return self.results is not None or self.error is not None


class Batcher(Generic[Item, Result]):
    """Puts the items of requests that come at the same time into one call.

    Args:
        kind: for the metrics.
        call: takes items, returns as many results, each depending on its own item alone.
        most: items in one call at most, unless one request alone brings more.
        concurrency: calls that run side by side.
    """

    def __init__(
        self, kind: str, call: Callable[[list[Item]], Iterable[Result]], most: int, concurrency: int = 1
    ) -> None:
        self._kind, self._call, self._most = kind, call, most
        self._lock = threading.Lock()
        self._waiting: deque[_Order[Item, Result]] = deque()
        self._free = concurrency

    def __call__(self, items: Sequence[Item]) -> list[Result]:
        """The results of items, in their order; what `call` raises for them."""
        if not items:
            return []
        order: _Order[Item, Result] = _Order(items)
        with self._lock:
            mine = self._free > 0
            if mine:
                self._free -= 1
            else:
                self._waiting.append(order)
        if not mine:
            order.called.acquire()
        if not order.served:
            self._serve(order)
        if order.error is not None:
            raise order.error
        return list(order.results or ())

    def _serve(self, own: _Order[Item, Result]) -> None:
        """Serve an order and those that wait behind it, then let the next one go on."""
        with self._lock:
            orders = [own]
            size = len(own.items)
            while self._waiting and size + len(self._waiting[0].items) <= self._most:
                orders.append(self._waiting.popleft())
                size += len(orders[-1].items)
        try:
            self._run(orders)
        finally:
            with self._lock:
                following = self._waiting.popleft() if self._waiting else None
                if following is None:
                    self._free += 1
            for order in (*orders[1:], following):
                if order is not None:
                    order.called.release()

    def _run(self, orders: list[_Order[Item, Result]]) -> None:
        try:
            BATCH.labels(self._kind).observe(sum(len(order.items) for order in orders))
            results = iter(self._call([item for order in orders for item in order.items]))
            for order in orders:
                order.results = [next(results) for _ in order.items]
        except BaseException as error:
            if len(orders) > 1 and isinstance(error, Exception):
                # Nobody is to fail for somebody else's picture.
                for order in orders:
                    order.results = None
                    self._run([order])
                return
            for order in orders:
                order.results, order.error = None, error
