"""A shop whose products and pictures are edited at random, as its catalog and as events."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.jobs.refresh.shop_model import Pictures, Row
from tests.pipeline import COLOURS, SHAPES, draw
from tests.shop import Shop

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

#: Products that are edited: some of the shop's, and some that it does not have at first.
IDS = st.sampled_from([*(f"p{number:03}" for number in range(6)), "n0", "n1", "n2"])
#: Pictures that they have: some of the shop's, and some that are missing at first.
PICTURES = st.sampled_from([*(f"images/{number:03}.jpg" for number in range(4)), "images/a.jpg", "images/b.jpg"])
PICTURE_LISTS = st.lists(PICTURES, min_size=1, max_size=3, unique=True)
ATTRIBUTES = st.fixed_dictionaries(
    {
        "title": st.sampled_from([None, "a title", "größer, schöner"]),
        "category": st.sampled_from([None, *SHAPES]),
        "price": st.sampled_from([None, 0.0, 7.5, 99.0]),
        "size": st.sampled_from([None, 0, 1, 2, 2.5]),
        "colour": st.sampled_from([None, "red", "lilac"]),
        "fabric": st.sampled_from([None, "wool"]),
        "added_at": st.sampled_from([None, NOON]),
    }
)
#: The name of a method, and its arguments.
Call = tuple[str, dict[str, Any]]


def named(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    """Draw calls of a method."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


EDITS: st.SearchStrategy[list[Call]] = st.lists(
    st.one_of(
        named("put", key=IDS, pictures=PICTURE_LISTS, attributes=ATTRIBUTES),
        named("update", key=IDS, attributes=ATTRIBUTES, stale=st.booleans()),
        # A negative price is rejected by the rules.
        named("update", key=IDS, attributes=st.fixed_dictionaries({"price": st.sampled_from([1.0, 19.0, -1.0])})),
        named("update", key=IDS, attributes=st.fixed_dictionaries({"image_url": PICTURE_LISTS})),
        named("update", key=IDS, attributes=st.fixed_dictionaries({"is_active": st.booleans()})),
        named("delete", key=IDS),
        named("draw", url=PICTURES, colour=st.sampled_from(list(COLOURS)), seed=st.integers(0, 2)),
        named("draw", url=PICTURES, colour=st.sampled_from(list(COLOURS)), seed=st.integers(0, 2)),
        named("break_picture", url=PICTURES),
        named("remove_picture", url=PICTURES),
    ),
    max_size=5,
)
#: Products, each with what happens to it.
EVENTS = st.lists(
    st.tuples(IDS, st.sampled_from(["sent", "changed", "deleted", "deleted late"])),
    min_size=1,
    max_size=3,
    unique_by=lambda event: event[0],
)


class EditedShop:
    """A shop, with the rows of its catalog as they are now.

    Args:
        shop: published from its catalog.
        timed: whether every change has an updated_at.
    """

    def __init__(self, shop: Shop, *, timed: bool) -> None:
        self.shop, self._timed = shop, timed
        self.pictures = Pictures(shop.catalog.parent, shop.settings.picture_side, shop.settings.thumbnail_side)
        self._rows: dict[str, Row] = {row["product_id"]: row for row in _read_catalog(shop.catalog)}
        self._clock, self._stamps = itertools.count(1), itertools.count(1)

    @property
    def rows(self) -> list[Row]:
        return list(self._rows.values())

    def write_catalog(self) -> None:
        _write_catalog(self.shop.catalog, self.rows)

    def edit(self, edits: Sequence[Call]) -> None:
        for name, arguments in edits:
            getattr(self, name)(**arguments)

    def events(self, happenings: Sequence[tuple[str, str]]) -> list[Row]:
        """Return the events of what happens to products; the catalog learns of it, too, unless it comes too late."""
        events: list[Row] = []
        for key, happens in happenings:
            if happens == "deleted":
                events.append({"product_id": key, "deleted": True, "updated_at": self._now()})
                self._rows.pop(key, None)
            elif happens == "deleted late":
                events.append({"product_id": key, "deleted": True, "updated_at": self._now(stale=True)})
            elif key in self._rows:
                if happens == "changed":
                    self.update(key, {"price": 55.0})
                events.append(self._rows[key])
        return events

    # ── edits ────────────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, key: str, pictures: list[str], attributes: dict[str, Any]) -> None:
        self._rows[key] = {"product_id": key, "image_url": pictures, **attributes, "updated_at": self._now()}

    def update(self, key: str, attributes: dict[str, Any], stale: bool = False) -> None:
        if key in self._rows:
            self._rows[key] = {**self._rows[key], **attributes, "updated_at": self._now(stale=stale)}

    def delete(self, key: str) -> None:
        self._rows.pop(key, None)

    def draw(self, url: str, colour: str, seed: int) -> None:
        """Edit a picture in place, or make one that was missing."""
        draw(self._path(url), colour, "square", seed)
        self._stamp(url)

    def break_picture(self, url: str) -> None:
        self._path(url).write_text("this is no picture")
        self._stamp(url)

    def remove_picture(self, url: str) -> None:
        self._path(url).unlink(missing_ok=True)

    def _path(self, url: str) -> Path:
        return self.shop.catalog.parent / url

    def _stamp(self, url: str) -> None:
        """Give a file a time of its own: the clock of a file system ticks more slowly than a test edits."""
        os.utime(self._path(url), ns=(0, next(self._stamps)))

    def _now(self, *, stale: bool = False) -> datetime | None:
        """Return the event time of a change; None in a shop without such times."""
        if not self._timed:
            return None
        number = next(self._clock)
        return NOON + timedelta(minutes=number // 2 if stale else number)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def as_json(event: Row) -> dict[str, Any]:
    """An event as a line of a change file; without the columns that have no value."""
    return {name: _plain(value) for name, value in event.items() if value is not None}


def _read_catalog(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return [{name: _typed(name, text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def _typed(name: str, text: str) -> Any:
    if name == "image_url":
        return [text]
    if name in ("price", "avg_rating", "popularity_score"):
        return float(text)
    if name == "added_at":
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(text) if name == "size" else text


def _write_catalog(path: Path, rows: Sequence[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if value is not None))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return json.dumps(value) if len(value) > 1 else value[0]
    return "" if value is None else str(_plain(value))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
