"""The manifest of a version: everything a query needs, and the record of how the release was built."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from artifacts.index.params import SearchParams
from artifacts.schema import FORMAT_VERSION

#: Packages whose version can change what a release is or how it is read.
_RECORDED = (
    "lookalike", "faiss-cpu", "faiss-gpu", "torch", "open_clip_torch", "timm", "pillow", "pyarrow", "duckdb", "numpy",
)  # fmt: skip

_SECOND = "%Y%m%dT%H%M%SZ"


class SegmentRef(BaseModel):
    """One segment of a release; the digest of its segment.json covers the digests of all its files."""

    model_config = ConfigDict(frozen=True)

    id: str
    rows: int
    products: int
    bytes: int
    info_sha256: str


class Counts(BaseModel):
    """How the rows of the catalog ended: input_rows = indexed + the sum of rejected."""

    model_config = ConfigDict(frozen=True)

    input_rows: int
    indexed: int  # products
    pictures: int  # rows of the index
    rejected: dict[str, int] = Field(default_factory=dict)  # Reason -> rows
    rejected_pictures: dict[str, int] = Field(default_factory=dict)  # of these, products without a usable picture
    failed_pictures: dict[str, int] = Field(default_factory=dict)  # of products with other pictures that are indexed


class Position(BaseModel):
    """How far a source of changes has been read into a release.

    Attributes:
        read_at: when the source was read last, aware; positions that are not read for some days are dropped.
        watermark: of a database: the greatest updated_at that has been read, aware.
        partition: of a source with a partition for each date: the last one that was applied.
        parts: of a source of files: those that were applied and are still there, or of the partition those; name within
            the source -> the first 16 hexadecimal digits of the sha256.
    """

    model_config = ConfigDict(frozen=True)

    read_at: datetime | None = None
    watermark: datetime | None = None
    partition: date | None = None
    parts: dict[str, str] | None = None


class Manifest(BaseModel):
    """A release: an ordered list of segments, oldest first, and how to search them."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT_VERSION
    version: str
    created_at: datetime
    previous: str | None = None  # the version that was served when this one was published
    encoder: dict[str, Any]  # Encoder.describe()
    metric: str = "inner_product"
    segments: list[SegmentRef]
    search: dict[str, SearchParams]  # by modality, "image" and "text": chosen by the gate
    recall: dict[str, float] = Field(default_factory=dict)  # "image@100" and so on, as the gate measured it
    counts: Counts
    source: str = ""  # the catalog, as the build was given it
    engine_url: str = ""  # where the engine of the segments is, without credentials; a server may know another address
    # How the engine loads and searches the segments; what the content of a collection depends on is in segment.json.
    engine_options: dict[str, int | float | str] = Field(default_factory=dict)
    # Of the sources of changes, by name. Like the other records, they are no part of the content.
    sources: dict[str, Position] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)  # those that shaped this release
    packages: dict[str, str] = Field(default_factory=dict)

    @property
    def content_id(self) -> str:
        """Digest of the segments, the encoder, the search parameters, and of an engine's address and options.

        The same id means the same answers, from the same place.
        """
        digest = hashlib.sha256(str(self.encoder["id"]).encode())
        for segment in self.segments:
            digest.update(f"{segment.id} {segment.info_sha256}".encode())
        for modality, params in sorted(self.search.items()):
            digest.update(f"{modality} {_text_of(params)}".encode())
        if self.engine_url:  # releases without an engine have kept their ids
            digest.update(f"engine {self.engine_url}".encode())
        for name, value in sorted(self.engine_options.items()):
            digest.update(f"engine option {name} {value}".encode())
        return digest.hexdigest()[:12]

    def named(self, after: Iterable[str] = ()) -> Manifest:
        """Return a copy under its version name, such as 20261122T134501Z-3f2a91b07c55.

        Names contain the time and the content, and sort in the order of publishing.

        Args:
            after: versions that sort before this one, even if they are of the same second or were named by a machine
                whose clock is ahead.
        """
        second = self.created_at.astimezone(UTC)
        last = max((time for time in map(named_at, after) if time), default=None)
        if last is not None and last >= second.replace(microsecond=0):
            second = last + timedelta(seconds=1)
        return self.model_copy(update={"version": f"{second:{_SECOND}}-{self.content_id}"})

    def to_json(self) -> str:
        """Return the content of manifest.json."""
        return self.model_dump_json(indent=1) + "\n"


def _text_of(params: SearchParams) -> str:
    """Return search parameters as content ids have always had them; the default breadth, which came later, left out."""
    names = [name for name in asdict(params) if name != "breadth" or params.breadth != SearchParams.breadth]
    return f"SearchParams({', '.join(f'{name}={getattr(params, name)}' for name in names)})"


def manifest_name(version: str) -> str:
    """Return the name of a version's manifest within the store."""
    return f"versions/{version}/manifest.json"


def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that can change what a release is or how it is read."""
    versions: dict[str, str] = {}
    for name in _RECORDED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def named_at(version: str) -> datetime | None:
    """Return when a version was named, to the second; None if that is no version's name."""
    try:
        return datetime.strptime(version.split("-")[0], _SECOND).replace(tzinfo=UTC)
    except ValueError:
        return None  # not the name of a version
