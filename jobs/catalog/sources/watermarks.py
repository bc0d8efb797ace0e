"""Watermarks: how far each source of changes has been read, so that the next refresh begins there.

    <workspace>/watermarks/<digest>.json     Watermark; one for each source and query

A watermark is written only when the changes are published: one that is lost costs time, because rows that are read
twice change nothing, and one that is too late would lose rows. Removing the file makes the next refresh read all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from artifacts.storage import Folder
from jobs.catalog.source import is_database, without_password
from jobs.workspace.fingerprints import fingerprint
from jobs.workspace.records import read_record, write_record
from jobs.workspace.workspace import Workspace


@dataclass(frozen=True)
class Watermark:
    """The greatest updated_at that has been read of a source.

    Attributes:
        source: without user, password, and a database's table or query.
        watermark: aware.
    """

    source: str
    watermark: datetime


def read_watermark(workspace: Workspace, source: str) -> datetime | None:
    """Return the watermark of a source; None if nothing of it was published yet.

    Raises:
        CorruptFile: the record cannot be read.
    """
    record = read_record(_folder(workspace), _name(source), Watermark)
    return record.watermark if record else None


def write_watermark(workspace: Workspace, source: str, watermark: datetime) -> None:
    """Record that the rows of a source up to a time, aware, are in the served release."""
    record = Watermark(without_password(source), watermark.astimezone(UTC))
    write_record(_folder(workspace), _name(source), record)


def _folder(workspace: Workspace) -> Folder:
    return workspace.folder / "watermarks"


def _name(source: str) -> str:
    """Return the name of a source's record: another password is the same source, another query is not."""
    query = source.partition("#")[2].strip().rstrip(";") if is_database(source) else ""
    return f"{fingerprint(without_password(source), query)}.json"
