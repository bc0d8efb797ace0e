"""`lookalike bench stream`: events at a steady rate from Kafka to searches, with a killed consumer and a hung broker.

The broker is librdkafka's mock cluster in a process of its own, the consumer is `lookalike stream` in another. Most
events change a price, as in a shop; some change a title, delete a product or bring one back, and a few give a product
another picture.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from confluent_kafka import Producer

from artifacts.errors import LookalikeError
from artifacts.release.release import Release
from artifacts.settings import Settings
from artifacts.store.store import Store
from jobs.bench.load.proc import cpu_seconds_of
from jobs.build import build
from jobs.progress import QUIET
from jobs.sample.catalog import draw_catalog
from jobs.steps import Progress, no_progress

_TOPIC = "product-events"
_BROKER = """
import sys
from confluent_kafka.admin import AdminClient
client = AdminClient({"test.mock.num.brokers": 1})
(broker,) = client.list_topics(timeout=30).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""
#: Share of the events: other title, deletion, other picture; the rest change the price.
_TITLES, _DELETIONS, _PICTURES = 0.05, 0.02, 0.005
#: Products whose events are timed.
_TIMED = 300
#: Seconds for which the broker hangs.
_HANG_SECONDS = 3.0
#: Seconds after the last event in which everything must be searchable.
_DEADLINE_SECONDS = 180.0


@dataclass(frozen=True)
class StreamReport:
    """All that was measured."""

    products: int
    events: int
    seconds: float  # in which they were sent
    versions: int  # published
    p50_seconds: float  # from an event to the release that holds it, or a later one of the same product
    p99_seconds: float
    slowest_seconds: float
    drained_seconds: float  # from the last event until everything was searchable
    wrong: int  # products that do not end as their last event says
    core_seconds: float  # of the consumer, without what the killed one had used
    latencies: list[float] = field(default_factory=list)


def measure_stream(
    settings: Settings, folder: Path, *, products: int, rate: int, seconds: float, progress: Progress = no_progress
) -> StreamReport:
    """Measure a stream on a sample catalog.

    Args:
        folder: keeps the catalog and its first release for later runs.
        rate: events in a second.
        seconds: for which they are sent.
        progress: called with events sent.

    Raises:
        LookalikeError: the consumer ended, or not everything became searchable in time.
    """
    catalog = folder / f"shop-{products}" / "catalog.csv"
    if not catalog.exists():
        draw_catalog(products, 0, catalog.parent)
    places = {"releases": str(folder / "releases"), "workspace": str(folder / "workspace")}
    settings = Settings.model_validate(
        settings.model_dump() | places | {"encoder": "sample", "shards": 4, "picture_base": str(catalog.parent)}
    )
    build(str(catalog), settings.pipeline, QUIET)
    shop = _Shop(catalog, rate, seconds)
    store = Store(settings.releases, settings.cache)
    with _broker() as (servers, broker), (folder / "stream.log").open("wb") as log:
        environment = _environment(settings, servers)
        consumer = _consume(environment, log)
        watcher = _Watcher(store, shop)
        try:
            producer = Producer({"bootstrap.servers": servers, "log_level": 0})
            killed = hung = False
            for sent in shop.send(producer):
                watcher.look()
                progress(sent, shop.total)
                if not killed and sent > shop.total / 3:
                    killed = True
                    consumer.kill()
                    consumer.wait()
                    consumer = _consume(environment, log)
                if not hung and sent > shop.total * 2 / 3:
                    hung = True
                    os.kill(broker, signal.SIGSTOP)
                    _wait(_HANG_SECONDS, watcher.look)
                    os.kill(broker, signal.SIGCONT)
                if consumer.poll() is not None:
                    raise LookalikeError(f"the consumer ended; see {folder}/stream.log")
            producer.flush(60)
            ended = time.time()
            deadline = ended + _DEADLINE_SECONDS
            while not watcher.is_complete() and time.time() < deadline:
                _wait(0.2, watcher.look)
            drained = time.time() - ended
            cores = cpu_seconds_of(consumer.pid)
            wrong = watcher.wrong()
        finally:
            consumer.terminate()
            consumer.wait(60)
            watcher.close()
    latencies = np.array(watcher.latencies or [0.0])
    return StreamReport(
        products, shop.total, seconds, watcher.versions,
        round(float(np.percentile(latencies, 50)), 2), round(float(np.percentile(latencies, 99)), 2),
        round(float(latencies.max()), 2), round(drained, 2), wrong, round(cores, 1), [round(x, 2) for x in latencies],
    )  # fmt: skip


class _Shop:
    """Sends events, and knows how each product must end."""

    def __init__(self, catalog: Path, rate: int, seconds: float) -> None:
        with catalog.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.pop("is_active", "true") == "true"]
        self.rows = {row["product_id"]: row for row in rows}
        self.total, self._rate = round(rate * seconds), rate
        self.last: dict[str, tuple[float, float | None]] = {}  # product -> time of its last event, price or None
        self.times: dict[str, list[float]] = {product_id: [] for product_id in list(self.rows)[:_TIMED]}

    def send(self, producer: Producer) -> Iterator[int]:
        """Send all events at the rate; yields the number sent, several times a second."""
        random = np.random.default_rng(7)
        ids = list(self.rows)
        began = time.time()
        for number in range(self.total):
            ahead = began + number / self._rate - time.time()
            if ahead > 0.1:
                producer.poll(0)
                yield number
                time.sleep(ahead)
            product_id = ids[int(random.integers(len(ids)))]
            event, price = self._event(product_id, random, ids)
            now = time.time()
            event["event_time"] = datetime.fromtimestamp(now, UTC).isoformat()
            producer.produce(_TOPIC, json.dumps(event).encode(), product_id.encode())
            self.last[product_id] = (now, price)
            if product_id in self.times:
                self.times[product_id].append(now)
        yield self.total

    def _event(
        self, product_id: str, random: np.random.Generator, ids: list[str]
    ) -> tuple[dict[str, Any], float | None]:
        draw = random.random()
        if draw < _DELETIONS:
            return {"event": "product_deleted", "product": {"product_id": product_id}}, None
        row = self.rows[product_id]
        price = round(float(random.lognormal(3.5, 1.0)), 2)
        row["price"] = str(price)
        if draw < _DELETIONS + _TITLES:
            row["title"] = f"{row['title'].split(' · ')[0]} · {random.integers(1000)}"
        elif draw < _DELETIONS + _TITLES + _PICTURES:
            row["image_url"] = self.rows[ids[int(random.integers(len(ids)))]]["image_url"]
        product = {name: value for name, value in row.items() if value and name != "updated_at"}
        return {"event": "product_updated", "product": product}, price


class _Watcher:
    """Opens every version that is published, as a server does, and sees which events it holds."""

    def __init__(self, store: Store, shop: _Shop) -> None:
        self._store, self._shop = store, shop
        self._release: Release | None = None
        self.versions = 0
        self.latencies: list[float] = []
        self._pending = shop.times
        self.look()
        self.versions = 0

    def look(self) -> None:
        """Open the current version if it is new."""
        version = self._store.current()
        if version is None or (self._release is not None and self._release.manifest.version == version):
            return
        now = time.time()
        manifest = self._store.manifest(version)
        old = self._release
        opened = old.segments if old is not None else []
        self._release = Release(manifest, self._store.fetch(manifest), verify=False, opened=opened)
        if old is not None:
            old.close_unshared(self._release.segments)
        self.versions += 1
        for product_id, times in self._pending.items():
            if not times:
                continue
            held = self._held(product_id)
            while times and times[0] <= held + 1e-3:
                self.latencies.append(now - times.pop(0))

    def _held(self, product_id: str) -> float:
        """Time of the last event of a product that the release holds; a deleted product holds its last one."""
        assert self._release is not None  # noqa: S101  (look has opened it)
        rows = self._release.product(product_id)
        if rows is None:
            time_of_last, price = self._shop.last.get(product_id, (0.0, None))
            return time_of_last if price is None else 0.0
        updated = rows[0]["updated_at"]
        return updated.timestamp() if updated else 0.0

    def is_complete(self) -> bool:
        """Whether the release holds the last event of every product."""
        return self.wrong() == 0

    def wrong(self) -> int:
        """Number of products that are not as their last event says."""
        assert self._release is not None  # noqa: S101  (see above)
        count = 0
        for product_id, (_, price) in self._shop.last.items():
            rows = self._release.product(product_id)
            count += (rows is None) != (price is None) or (rows is not None and rows[0]["price"] != price)
        return count

    def close(self) -> None:
        """Close the release."""
        if self._release is not None:
            self._release.close()


def _environment(settings: Settings, servers: str) -> dict[str, str]:
    changed = settings.model_dump(mode="json", exclude_defaults=True) | {"kafka_servers": servers}
    return {**os.environ, **{f"LOOKALIKE_{name.upper()}": str(value) for name, value in changed.items()}}


def _consume(environment: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "lookalike", "stream"], env=environment, stderr=log)


@contextmanager
def _broker() -> Iterator[tuple[str, int]]:
    """Yield the address and the process id of a broker."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BROKER], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None  # noqa: S101  (a pipe, see above)
        servers = process.stdout.readline().strip()
        producer = Producer({"bootstrap.servers": servers, "log_level": 0})
        for topic in (_TOPIC, f"{_TOPIC}-retry", f"{_TOPIC}-dead"):
            producer.list_topics(topic, timeout=30)  # makes the topic
        yield servers, process.pid
    finally:
        process.kill()
        process.communicate()


def _wait(seconds: float, look: Callable[[], None]) -> None:
    """Let time pass, and look at what is published."""
    until = time.time() + seconds
    while time.time() < until:
        look()
        time.sleep(0.1)
