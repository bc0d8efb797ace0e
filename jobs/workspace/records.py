"""Records: dataclasses and pydantic models that are kept as JSON files."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from artifacts.errors import CorruptFile
from artifacts.storage import Folder

Record = TypeVar("Record")


def to_json(record: object) -> str:
    """Return the text of a record's file. Fields that the class excludes are left out."""
    return _adapter(type(record)).dump_json(record, indent=1, by_alias=True).decode() + "\n"


def from_json(record_type: type[Record], text: str | bytes) -> Record:
    """Return the record that a text holds; fields that the class does not know are ignored.

    Raises:
        ValueError: the text is not JSON, or not of such a record.
    """
    return _adapter(record_type).validate_json(text)


def write_record(folder: Folder, name: str, record: object) -> None:
    """Write a record's file whole or not at all."""
    folder.write_text(name, to_json(record))


def read_record(folder: Folder, name: str, record_type: type[Record]) -> Record | None:
    """Return the record in a file, or None if there is no such file.

    Raises:
        CorruptFile: the file does not hold such a record.
    """
    if not folder.exists(name):
        return None
    try:
        return from_json(record_type, folder.read_bytes(name))
    except ValidationError as error:
        first = error.errors()[0]
        raise CorruptFile(
            folder.path(name), f"is not a {record_type.__name__}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None


@cache
def _adapter(record_type: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(record_type)
