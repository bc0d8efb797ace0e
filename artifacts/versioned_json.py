"""Reads the JSON files that describe a release and its segments, and refuses those of another format.

A description's `format` is checked before its other fields: another format may have other fields, and an error about
those would hide the reason.
"""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import BaseModel

from artifacts.errors import CorruptFile, IncompatibleRelease
from artifacts.schema import FORMAT_VERSION, READABLE_FORMATS

Description = TypeVar("Description", bound=BaseModel)


def parse_description(model: type[Description], content: bytes, path: str, noun: str) -> Description:
    """Parse a manifest.json or segment.json.

    Args:
        model: the description's class, with a field `format`.
        content: of the file.
        path: of the file, for error messages.
        noun: what the file should be, for error messages: "manifest".

    Raises:
        CorruptFile: the content is not such a description.
        IncompatibleRelease: it is in another format.
    """
    try:
        fields = json.loads(content)
        if isinstance(fields, dict) and fields.get("format", FORMAT_VERSION) not in READABLE_FORMATS:
            formats = " and ".join(map(str, sorted(READABLE_FORMATS)))
            raise IncompatibleRelease(
                f"{path} is in format {fields['format']}, and this build of Lookalike reads formats {formats}: "
                "use the build that wrote it, or build the release again"
            )
        return model.model_validate(fields)
    except ValueError as error:
        raise CorruptFile(path, f"is not a {noun}: {error}") from error
