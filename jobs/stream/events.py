"""The events that a shop sends, and how a Kafka record becomes one.

    {"event": "product_updated", "event_time": "2026-11-28T09:30:00.250Z", "product": {"product_id": "A1", …}}

`product` is a whole row of the catalog, which replaces the product's row; of a deletion only `product_id` is read.
A record without a value (a tombstone) deletes the product that its key names, at the record's timestamp.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from artifacts.errors import CatalogError, EventError
from artifacts.schema import CATALOG_COLUMNS, Reason
from jobs.catalog.readers.text_file import truncate
from jobs.catalog.rules import MAX_ID_CHARS
from jobs.catalog.staging import REQUIRED, match_columns
from jobs.stream.kafka.records import Record

#: Whitespace that the catalog step trims, too.
_WHITESPACE = " \t\r\n\f\v\u00a0\u3000\ufeff"
#: Columns of a change file that the stream writes itself.
_UPDATED_AT, _DELETED = "updated_at", "deleted"


class EventKind(StrEnum):
    """What happened to the product. Created and updated are the same to Lookalike: the row becomes the product's."""

    CREATED = "product_created"
    UPDATED = "product_updated"
    DELETED = "product_deleted"


class Problem(StrEnum):
    """Why a record is not an event; the reasons of the catalog (`Reason`) are used where they fit."""

    UNREADABLE_EVENT = "unreadable_event"
    INVALID_EVENT = "invalid_event"
    FUTURE_EVENT_TIME = "future_event_time"


@dataclass(frozen=True)
class Event:
    """A valid event.

    Attributes:
        time: when it happened, in UTC.
        columns: the product's row, known columns by their own names; without `updated_at`. Empty for a deletion.
        record: the record that it was read from.
    """

    kind: EventKind
    product_id: str
    time: datetime
    columns: dict[str, Any]
    record: Record

    def supersedes(self, other: Event) -> bool:
        """Return whether this event, which was read later than `other`, replaces it.

        The last event time wins. Of equal ones, the later offset wins; where offsets cannot be compared, an event that
        was not tried before, then the one that was read later.
        """
        if self.time != other.time:
            return self.time > other.time
        mine, theirs = self.record.origin, other.record.origin
        if (mine.topic, mine.partition) == (theirs.topic, theirs.partition):
            return mine.offset >= theirs.offset
        return not self.record.attempt or bool(other.record.attempt)

    def change(self) -> dict[str, Any]:
        """Return the event as a row of a change file."""
        values = {"product_id": self.product_id, "image_url": None, **self.columns}
        return {**values, _UPDATED_AT: self.time.isoformat(), _DELETED: self.kind is EventKind.DELETED}


class _Envelope(BaseModel):
    """The JSON object of a record's value."""

    model_config = ConfigDict(extra="forbid", strict=True)

    event: str
    event_time: str
    product: dict[str, Any]

    @field_validator("event")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in list(EventKind):
            raise ValueError(f"{truncate(value)!r} is not one of {', '.join(EventKind)}{_nearest(value, EventKind)}")
        return value


def parse_event(record: Record, now: datetime, future: timedelta) -> Event:
    """Return the event of a record.

    Args:
        now: the time on this machine, aware.
        future: how far the event's time may be ahead of it.

    Raises:
        EventError: the record is not an event; carries a Problem or a Reason.
    """
    event = _tombstone(record) if record.value is None else _parse_value(record, record.value)
    if event.time > now + future:
        ahead = (event.time - now).total_seconds()
        raise EventError(
            Problem.FUTURE_EVENT_TIME,
            f"event_time: {event.time.isoformat()} is {ahead:,.0f} s ahead of this machine's clock; it would hide "
            "every event of the product until then",
        )
    return event


def _tombstone(record: Record) -> Event:
    if record.key is None:
        raise EventError(Reason.MISSING_PRODUCT_ID, "the record has neither a value nor a key that names a product")
    try:
        product_id = _product_id(record.key.decode())
    except UnicodeDecodeError:
        raise EventError(Problem.UNREADABLE_EVENT, "the record has no value, and its key is not UTF-8") from None
    timestamp = record.origin.timestamp
    if timestamp < 0:
        raise EventError(Problem.INVALID_EVENT, "the record has neither a value nor a timestamp")
    return Event(EventKind.DELETED, product_id, datetime.fromtimestamp(timestamp / 1000, UTC), {}, record)


def _parse_value(record: Record, value: bytes) -> Event:
    fields = _read_object(value)
    try:
        envelope = _Envelope.model_validate(fields)
    except ValidationError as error:
        raise EventError(Problem.INVALID_EVENT, _explain(error)) from None
    kind, product = EventKind(envelope.event), envelope.product
    names = _column_names(tuple(product))
    columns = dict(zip(names, product.values(), strict=True))
    product_id = _product_id(columns.get("product_id"))
    if kind is EventKind.DELETED:
        columns = {}
    for name in ("product_id", _UPDATED_AT):  # the event says both
        columns.pop(name, None)
    return Event(kind, product_id, _parse_time(envelope.event_time), columns, record)


def _read_object(value: bytes) -> dict[str, Any]:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise EventError(Problem.UNREADABLE_EVENT, f"not UTF-8: byte 0x{value[error.start]:02x}") from None
    try:
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        json.dumps(fields, ensure_ascii=False).encode()  # half a surrogate pair is JSON and not UTF-8
    except (ValueError, RecursionError) as error:
        raise EventError(Problem.UNREADABLE_EVENT, f"not JSON: {error}: {truncate(text)}") from None
    if not isinstance(fields, dict):
        raise EventError(Problem.UNREADABLE_EVENT, f"not a JSON object: {truncate(text)}")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} occurs twice in one object")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


@lru_cache(maxsize=1024)
def _column_names(names: tuple[str, ...]) -> list[str]:
    """Return the columns' names, known ones as the catalog step writes them.

    Raises:
        EventError: a name could not be a column of a catalog.
    """
    stripped = [name.strip().lstrip("\ufeff") for name in names]
    lower = [name.lower() for name in stripped]
    if _DELETED in lower:
        raise EventError(Problem.INVALID_EVENT, f"product.{_DELETED}: send product_deleted instead of this column")
    try:
        match_columns([*names, *(each for each in REQUIRED if each not in lower)])
    except CatalogError as error:
        raise EventError(Problem.INVALID_EVENT, f"product: {error}") from None
    return [key if key in CATALOG_COLUMNS else name for key, name in zip(lower, stripped, strict=True)]


def _product_id(value: object) -> str:
    """Return a product's id by the rules of the catalog step."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or (isinstance(value, str) and not value.strip(_WHITESPACE)):
        raise EventError(Reason.MISSING_PRODUCT_ID, "product_id is empty")
    if not isinstance(value, str):
        raise EventError(Reason.BAD_VALUE, f"product_id: {truncate(json.dumps(value))} is not a text")
    product_id = value.strip(_WHITESPACE)
    if len(product_id) > MAX_ID_CHARS:
        raise EventError(
            Reason.BAD_VALUE, f"product_id: {truncate(product_id)} is longer than {MAX_ID_CHARS} characters"
        )
    if any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in product_id):
        raise EventError(Reason.BAD_VALUE, f"product_id: {truncate(product_id)} has control characters")
    return product_id


def _parse_time(text: str) -> datetime:
    """Parse an ISO 8601 time; without a time zone it is UTC."""
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        problem = "is not an ISO 8601 time, such as 2026-11-28T09:30:00Z"
        raise EventError(Problem.INVALID_EVENT, f"event_time: {truncate(text)} {problem}") from None


def _explain(error: ValidationError) -> str:
    """Describe what is wrong with an envelope, in one line."""
    problems = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"is not a key of an event{_nearest(name, _Envelope.model_fields)}"
        problems.append(f"{truncate(name)}: {message}")
    return "; ".join(problems)


def _nearest(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {str(nearest[0])!r}?" if nearest else ""
