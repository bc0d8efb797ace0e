"""Sources with one partition for each date: the placeholder `{date}` in a path or URL is replaced by 2026-11-27.

    s3://bucket/catalog/date={date}/            a folder for each date
    /exports/{date}/part-*.csv.gz               the same, with a glob
    /exports/changes-{date}.jsonl               a file for each date

A folder is complete when it holds a file `_SUCCESS`, as Spark writes at the end; where none of the newest partitions
has one, every partition counts as complete.
"""

from __future__ import annotations

import fnmatch
import glob
import itertools
import posixpath
import re
from collections.abc import Sequence
from datetime import date, timedelta

from artifacts.errors import CatalogError
from jobs.catalog.source import is_database, open_filesystem, without_password
from jobs.catalog.sources.parts import MARKER, form_of

PLACEHOLDER = "{date}"
#: The newest partitions, in which a marker is looked for: each costs a request to the store.
MARKED = 30
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def resolve_date(source: str, day: date | None = None) -> str:
    """Return a source with `{date}` replaced.

    Args:
        source: a path or URL; without the placeholder it is returned as it is.
        day: the partition's date; None for the newest that is complete.

    Raises:
        CatalogError: there is no such partition, or it is not complete; the message names the nearest that exist. Or a
            date is given, and the source has no place for it.
    """
    if not has_date(source):
        if day is not None:
            raise CatalogError(f"{without_password(source)} has no {PLACEHOLDER} that the date {day} could replace")
        return source
    partitions = _Partitions(source)
    if day is None:
        return partitions.source(partitions.newest())
    partitions.require([day])
    return partitions.source(day)


def resolve_dates(source: str, first: date, last: date) -> list[str]:
    """Return the sources of all dates from `first` to `last`, both included, in their order.

    Raises:
        CatalogError: as of resolve_date; every date must have its partition. Or `last` is before `first`.
    """
    if not has_date(source):
        raise CatalogError(f"{without_password(source)} has no {PLACEHOLDER} that dates could replace")
    if last < first:
        raise CatalogError(f"the range of dates ends on {last}, before it begins on {first}")
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    partitions = _Partitions(source)
    partitions.require(days)
    return [partitions.source(day) for day in days]


def newest_date(source: str) -> date:
    """Return the date of the newest partition that is complete.

    Raises:
        CatalogError: there is none, or the source is on the web, where files cannot be listed.
    """
    return _Partitions(source).newest()


def dates_from(source: str, day: date) -> list[date]:
    """Return a date, if it has a partition, and those of the partitions after it, up to the first that is not complete.

    Raises:
        CatalogError: the first one is not complete, and a later one is: it cannot be applied in its turn. Or the source
            is on the web.
    """
    partitions = _Partitions(source)
    return [day] * partitions.any_between(day, day) + partitions.later(day)


def has_partition(source: str, first: date, last: date) -> bool:
    """Return whether a source has any partition from `first` to `last`, both included; on the web, it is not known."""
    return _Partitions(source).any_between(first, last)


def has_date(source: str) -> bool:
    """Return whether a source has the placeholder; a database has none."""
    return PLACEHOLDER in source and not is_database(source)


class _Partitions:
    """The partitions of a source; they are listed when they are first needed.

    Raises:
        CatalogError: the URL is invalid.
    """

    def __init__(self, source: str) -> None:
        self._source, self._name = source, without_password(source)
        self._on_web = source.lower().startswith("http")
        before, _, after = source.partition(PLACEHOLDER)
        if glob.has_magic(before) or "?" in before:
            raise CatalogError(f"{self._name}: there must be no wildcard before {PLACEHOLDER}")
        parent, slash, self._prefix = before.rpartition("/")
        if not slash:
            parent = "."
        elif not parent or parent.endswith(":/"):  # the root of the machine or of a store
            parent += "/"
        self._suffix, _, self._rest = after.partition("/")
        self._parent = without_password(parent)
        self._fs, self._folder = open_filesystem(parent)
        self._days: list[date] | None = None

    def source(self, day: date) -> str:
        return self._source.replace(PLACEHOLDER, day.isoformat())

    def newest(self) -> date:
        """Return the date of the newest partition that is complete.

        Raises:
            CatalogError: there is none.
        """
        days = self._list()[::-1]
        complete = itertools.chain(filter(self._is_marked, days[:MARKED]), days)
        newest = next(filter(self._has_files, complete), None)
        if newest is None:
            raise CatalogError(f"{self._name} has no partition: {self._parent} holds nothing of that name with a date")
        return newest

    def later(self, day: date) -> list[date]:
        """Return the dates after a date; see `dates_from`."""
        days = [each for each in self._list() if each > day]
        if not self._are_marked():
            return list(filter(self._has_files, days))
        complete = list(itertools.takewhile(self._is_marked, days))
        others = days[len(complete) :]
        if not complete and any(map(self._is_marked, others)):
            raise CatalogError(
                f"{self._name}: the partition for {others[0]} is not complete: it has no {MARKER}, and a later one has "
                f"one. Partitions of changes are applied in order: complete it, or remove it"
            )
        return complete

    def any_between(self, first: date, last: date) -> bool:
        """See `has_partition`."""
        days = [] if self._on_web else [day for day in self._list() if first <= day <= last]
        return any(map(self._has_files, days))

    def require(self, days: Sequence[date]) -> None:
        """Raise CatalogError unless all these partitions exist and are complete."""
        missing = [day for day in days if not self._has_files(day)]
        if missing:
            dates = ", ".join(map(str, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise CatalogError(f"{self._name} has no partition for {dates}{self._nearest(missing[0])}")
        if self._on_web:
            return
        unmarked = [day for day in days if not self._is_marked(day)]
        if unmarked and self._are_marked():
            raise CatalogError(
                f"{self._name}: the partition for {unmarked[0]} is not complete: it has no {MARKER}, and others have "
                f"one. Wait for it, or name its folder without {PLACEHOLDER}"
            )

    def _nearest(self, day: date) -> str:
        """Return the end of a message about a missing partition: the last one before and the first one after it."""
        if self._on_web:
            return ""
        before = next(filter(self._has_files, (each for each in reversed(self._list()) if each < day)), None)
        after = next(filter(self._has_files, (each for each in self._list() if each > day)), None)
        nearest = [str(each) for each in (before, after) if each is not None]
        return f"; the nearest that exist: {', '.join(nearest)}" if nearest else "; there is none at all"

    def _list(self) -> list[date]:
        """Return the dates in the names of the parent's entries, sorted.

        Raises:
            CatalogError: the parent does not exist, or is on the web.
        """
        if self._on_web:
            raise CatalogError(f"{self._name}: a web server does not list its files; give the date")
        if self._days is None:
            try:
                entries = self._fs.ls(self._folder, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                raise CatalogError(f"{self._name}: there is no folder {self._parent}") from None
            names = (str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)
            self._days = sorted({day for name in names if (day := self._date_in(name))})
        return self._days

    def _date_in(self, name: str) -> date | None:
        match = _DATE.match(name, len(self._prefix))
        if match is None:
            return None
        pattern = glob.escape(self._prefix) + match[0] + self._suffix.replace(PLACEHOLDER, match[0])
        try:
            return date.fromisoformat(match[0]) if fnmatch.fnmatchcase(name, pattern) else None
        except ValueError:  # such as 2026-02-30
            return None

    def _has_files(self, day: date) -> bool:
        """Return whether the partition holds any file, or is complete without any."""
        path = self._path(day, self._rest)
        if glob.has_magic(path):
            return bool(self._fs.glob(path))
        if form_of(path) or not self._fs.isdir(path):  # on the web, isdir would fetch the file
            return self._fs.exists(path)
        files = (posixpath.basename(str(file)) for file in self._fs.find(path))
        return any(file == MARKER or file[0] not in "_." for file in files)

    def _is_marked(self, day: date) -> bool:
        return self._fs.exists(self._path(day, MARKER))

    def _are_marked(self) -> bool:
        """Return whether any of the newest partitions has a marker: without one, the others are not complete."""
        return any(map(self._is_marked, self._list()[-MARKED:]))

    def _path(self, day: date, below: str) -> str:
        """Return the path of something in a partition."""
        name = f"{self._prefix}{PLACEHOLDER}{self._suffix}/{below}".replace(PLACEHOLDER, day.isoformat())
        return f"{self._folder.rstrip('/')}/{name}".rstrip("/")
