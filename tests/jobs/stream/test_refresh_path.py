"""The stream with the refresh path itself: a batch that is delivered twice fails twice in the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.stream.outbox import Outbox
from jobs.stream.process import run_stream
from jobs.stream.refreshing import refresh_by
from jobs.stream.report import StreamReport
from tests.jobs.stream.conftest import Stream
from tests.kafka import product_event
from tests.pipeline import draw
from tests.servers import PictureServer
from tests.shop import Shop

pytestmark = pytest.mark.kafka


class Killed(BaseException):
    pass


def run(stream: Stream, shop: Shop) -> StreamReport:
    context = shop.context(picture_base=str(shop.catalog.parent), allow_private_addresses=True, download_retries=0)
    return run_stream(replace(stream.config, stream_retry_seconds=3600), refresh_by(context), until_caught_up=True)


def failures(stream: Stream) -> dict[str, list[tuple[bytes | None, bytes | None, bytes]]]:
    """Key, value and reason of the records of the dead-letter topic and of the retry topic."""

    def described(message: Any) -> tuple[bytes | None, bytes | None, bytes]:
        return message.key(), message.value(), dict(message.headers())["lookalike-reason"]

    topics = {"dead": stream.config.kafka_dead_letter_topic, "retry": stream.config.kafka_retry_topic}
    return {name: sorted(map(described, stream.broker.records(topic)), key=str) for name, topic in topics.items()}


def events_of(shop: Shop, server: PictureServer) -> list[tuple[str, bytes]]:
    """A product is new, one is bad, three have pictures of which one or all fail; one record is no event."""
    columns = {name: value for name, value in shop.rows["p001"].items() if value and name != "product_id"}
    changed: dict[str, dict[str, Any]] = {
        "new": {"image_url": "images/new.jpg"},
        "p002": {"price": -1},
        "p003": {"image_url": ["images/new.jpg", "images/missing.jpg"]},
        "p004": {"image_url": "images/missing.jpg"},
        "p005": {"image_url": server.url("/status/503")},
    }
    now = datetime.now(UTC)
    events = [product_event("product_updated", key, now, **columns | values) for key, values in changed.items()]
    return [*events, ("broken", b"{")]


def test_stream_killed_before_it_sends_failures_sends_the_same_ones_when_it_runs_again(
    new_stream: Callable[[], Stream], tmp_path: Path, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "killed", 12)
    draw(shop.images / "new.jpg", "green", "triangle", 600)
    other = Shop(tmp_path / "other", copy_of=shop)
    events = events_of(shop, server)
    killed, unharmed = new_stream(), new_stream()
    for stream in (killed, unharmed):
        stream.broker.produce(stream.topic, events)

    def die(*_: object) -> None:
        raise Killed

    before = shop.store.current()
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "send", die)
        with pytest.raises(Killed):
            run(killed, shop)
    published = shop.store.current()
    assert published != before
    assert failures(killed) == {"dead": [], "retry": []}

    again, once = run(killed, shop), run(unharmed, other)
    assert shop.store.current() == published  # the second time there is nothing to publish
    assert (again.records, again.dead_letters, again.retried) == (once.records, once.dead_letters, once.retried)
    assert killed.lag == unharmed.lag == 1  # the retry, which is not due
    sent = failures(killed)
    assert [(key, reason) for key, _, reason in sent["dead"]] == [
        (b"broken", b"unreadable_event"),
        (b"p002", b"bad_value"),
        (b"p003", b"file_not_found"),
        (b"p004", b"file_not_found"),
    ]
    assert [(key, reason) for key, _, reason in sent["retry"]] == [(b"p005", b"http_server_error")]
    assert sent == failures(unharmed)
