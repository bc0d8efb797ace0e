"""Positions: how far a source of changes has been read into a release, so that nothing is applied twice or left out.

    a database                      the watermark: the greatest updated_at that has been read
    a source with {date}            the last partition that was applied, and its parts
    a file, a folder or a glob      its parts: the files that were applied

A release's manifest holds the position of each source by its name: a rollback restores those of its version.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import fsspec

from artifacts.store.manifest import Position
from jobs.catalog.source import is_database, is_url, without_password
from jobs.catalog.sources.dates import dates_from, has_date, has_partition, newest_date

_DAY = timedelta(days=1)


def source_name(source: str) -> str:
    """Return the name under which a source's position is kept.

    Another way to write a file's path is the same source, and so is another password; another query is not.
    """
    if not is_url(source) or source.lower().startswith(("file://", "local://")):
        return os.path.abspath(fsspec.core.strip_protocol(source))  # noqa: PTH100, a Path keeps ..
    query = source.partition("#")[2].strip().rstrip(";") if is_database(source) else ""
    return f"{without_password(source)}#{query}" if query else without_password(source)


def partitions_from(source: str, position: Position | None) -> Sequence[date | None]:
    """Return the partitions that may say what the position does not, in the order in which they are applied.

    The first one may be the last that was applied: its files may have grown. Without a position, the newest is the
    first that is read.

    Args:
        source: of changes.

    Returns:
        (None,) for a source without `{date}`.

    Raises:
        CatalogError: there is no partition at all, or one is not complete and a later one is.
    """
    if not has_date(source):
        return (None,)
    last = position.partition if position is not None else None
    if last is None:
        return (newest_date(source),)
    return dates_from(source, last)


def moved(
    source: str,
    before: Position | None,
    read_at: datetime,
    *,
    watermark: datetime | None,
    day: date | None,
    parts: Mapping[str, str],
) -> Position | None:
    """Return the position of a source after it was read.

    Args:
        before: the position that the release has; None if there is none.
        read_at: when it was read, aware.
        watermark: of a database: the greatest updated_at that is known; None if there is none.
        day: the partition that was read; None if there was none to read. One that was named moves the position only
            where no other is left out.
        parts: name -> short digest of the files that are applied now.
    """
    if is_database(source):
        known = before.watermark if before is not None else None
        times = [time for time in (known, watermark) if time is not None]
        return Position(read_at=read_at, watermark=max(times)) if times else None
    if not has_date(source):
        return Position(read_at=read_at, parts=dict(parts))
    last = before.partition if before is not None else None
    if day is None or (last is not None and (day < last or has_partition(source, last + _DAY, day - _DAY))):
        return before.model_copy(update={"read_at": read_at}) if before is not None else None
    return Position(read_at=read_at, partition=day, parts=dict(parts))
