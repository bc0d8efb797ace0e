"""A Kafka record, and the headers that it gets on its way through the retry and dead-letter topics.

Key and value of the shop's record are never changed, so a dead letter can be produced again as it is.

    lookalike-topic, -partition, -offset, -timestamp   where the record was first read; timestamp in ms
    lookalike-attempt                                  how often the event has been applied, without success
    lookalike-not-before                               ms since 1970 before which it is not tried again
    lookalike-reason, -detail                          why it failed the last time
"""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

#: Longest detail in a header, in characters: brokers limit the size of a record.
MAX_DETAIL = 1000
_PREFIX = "lookalike-"

#: As librdkafka takes them.
Headers = list[tuple[str, str | bytes | None]]


@dataclass(frozen=True)
class Origin:
    """Where a record was first read."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # ms since 1970, UTC; -1 if the broker gave none


@dataclass(frozen=True)
class Record:
    """A record as the broker returns it.

    Attributes:
        timestamp: ms since 1970, UTC; -1 if the broker gave none.
        headers: names and values; those without `lookalike-` are the shop's own.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, message: Message) -> Record:
        """Return the record of a message that carries no error."""
        kind, timestamp = message.timestamp()
        headers = message.headers() or []
        pairs = headers.items() if isinstance(headers, dict) else headers
        return cls(
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            timestamp=-1 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
            key=message.key(),
            value=message.value(),
            headers=tuple((name, value.encode() if isinstance(value, str) else value or b"") for name, value in pairs),
        )

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")

    @property
    def attempt(self) -> int:
        """How often the event has been applied before, without success; 0 for a record that the shop sent."""
        return self._number("attempt", 0)

    @property
    def not_before(self) -> float:
        """Seconds since 1970 before which the event is not tried again; 0 if it does not wait."""
        return self._number("not-before", 0) / 1000

    @property
    def origin(self) -> Origin:
        """Where the record was first read: here, unless its headers name another place."""
        topic = self._text("topic")
        if topic is None:
            return Origin(self.topic, self.partition, self.offset, self.timestamp)
        return Origin(topic, self._number("partition", -1), self._number("offset", -1), self._number("timestamp", -1))

    def _text(self, name: str) -> str | None:
        value = dict(self.headers).get(_PREFIX + name)
        return None if value is None else value.decode(errors="replace")

    def _number(self, name: str, default: int) -> int:
        """Return a header that is a number; the default if it is missing or was written by someone else."""
        text = self._text(name) or ""
        return int(text) if text.lstrip("-").isdecimal() else default


def failure_headers(
    record: Record, reason: str, detail: str, *, attempt: int, not_before: float | None = None
) -> Headers:
    """Return the headers of a record that failed: the shop's own, and why it failed and where it was first read.

    Args:
        attempt: how often the event has been applied, without success.
        not_before: seconds since 1970; None for a dead letter.
    """
    origin = record.origin
    ours = {
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "timestamp": origin.timestamp,
        "attempt": attempt,
        "reason": reason,
        "detail": detail[:MAX_DETAIL],
    }
    if not_before is not None:
        ours["not-before"] = round(not_before * 1000)
    headers: Headers = [(name, value) for name, value in record.headers if not name.startswith(_PREFIX)]
    return headers + [(_PREFIX + name, str(value).encode()) for name, value in ours.items()]
