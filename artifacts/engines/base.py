"""What an engine has to do. Each engine is a package beside this module, and the only one that imports its client.

Errors of a client become EngineUnavailable where another try may succeed (no connection, time over, overloaded), and
EngineError where it would fail again; messages name the engine and the address, never a credential.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NoReturn

import numpy as np

from artifacts.config import check_no_credentials
from artifacts.engines.collection import BATCH_ROWS, Batches, Collection, RowBatch
from artifacts.engines.loading import first_missing_row, write_batches
from artifacts.engines.reference import NAME_PREFIX, collection_name
from artifacts.errors import EngineError
from artifacts.products.filters import Filter

#: Parts of a Condition. Ranges of numbers, integers and times are `range`, those of texts `text_range`.
ConditionKind = Literal["any_of", "none_of", "range", "text_range", "missing"]

ALL_CONDITIONS: frozenset[ConditionKind] = frozenset(("any_of", "none_of", "range", "text_range", "missing"))

#: Called with rows done and all rows.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do.

    Attributes:
        max_results: rows that one search returns at most; None for no limit.
        conditions: those that it applies itself. Others cost recall, since every row is checked afterwards.
        efforts: values of `SearchParams.nprobe` that the gate tries, ascending, by what the engine calls it (ef_search,
            nprobe); empty if there is nothing to choose.
        repeatable: the same search always returns the same rows.
    """

    max_results: int | None
    conditions: frozenset[ConditionKind]
    efforts: tuple[int, ...]
    repeatable: bool


@dataclass(frozen=True)
class EngineAddress:
    """Where an engine is, and how a process identifies itself there.

    Attributes:
        url: without credentials; recorded in manifests, and part of messages.
        key: a token, or `user:password`; never recorded and never logged.

    Raises:
        EngineError: the URL holds credentials.
    """

    url: str
    key: str = ""

    def __post_init__(self) -> None:
        try:
            check_no_credentials("engine_url", self.url)
        except ValueError as error:
            raise EngineError(f"engine_url {error}") from error

    def __repr__(self) -> str:
        return f"EngineAddress({self.url!r})"


@dataclass(frozen=True)
class Found:
    """Rows that an engine has found for one query, int64[j], and their scores float32[j], descending."""

    rows: np.ndarray
    scores: np.ndarray


class CollectionSearch(ABC):
    """An open collection. Safe to use from several threads at once; its connections are the engine's."""

    @abstractmethod
    def search(self, queries: np.ndarray, k: int, effort: int, conditions: Filter, seconds: float) -> list[Found]:
        """Find the nearest rows of each query; the rows of one query do not depend on the other queries.

        Args:
            queries: float32[n, dim], L2-normalised, finite.
            k: rows for each query, at most `max_results`; fewer are returned where fewer pass the conditions.
            effort: from `Capabilities.efforts`, or between or above them.
            conditions: only such as `Capabilities.conditions` names, on the collection's columns.
            seconds: after which the call is given up.

        Raises:
            EngineUnavailable: no answer in time, or no connection.
            EngineError: the engine refuses the search.
        """

    @abstractmethod
    def vectors(self, rows: np.ndarray, seconds: float) -> np.ndarray:
        """Return the stored vectors of int64[m] row numbers in their order, float32[m, dim].

        Raises:
            EngineUnavailable: no answer in time, or no connection.
            EngineError: a row is missing.
        """


class Engine(ABC):
    """Loads, opens and drops collections. A collection that is complete never changes.

    Args:
        address: of the engine.

    Attributes:
        kind: as segment.json names it.
        capabilities: of this engine.
        writers: batches that are written at the same time.

    Raises:
        EngineError: the package of its client is not installed, or the address is not one of this engine's.
    """

    kind: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    writers: ClassVar[int] = 4

    def __init__(self, address: EngineAddress) -> None:
        self.address = address

    @classmethod
    @abstractmethod
    def stored_options(cls, options: Mapping[str, int | float | str]) -> dict[str, int | float | str]:
        """Check the options of a collection, and return those that what it holds depends on, with their defaults.

        segment.json records them, so a default that changes later changes no collection that there is. The others say
        how a collection is loaded or searched. A default that depends on the rows is left out. The engine is not asked.

        Raises:
            EngineError: one is unknown, or its value is not one that it takes.
        """

    # ── loading ──────────────────────────────────────────────────────────────────────────────────────────────────

    def build(self, collection: Collection, batches: Batches, progress: Progress) -> None:
        """Load a collection, and return once it can be searched. What an interrupted call has loaded is kept.

        Raises:
            EngineUnavailable, EngineError: see the module; the next call goes on where this one ended.
        """
        if self.is_complete(collection):
            progress(collection.rows, collection.rows)
            return
        self.create(collection)
        first = self.first_missing_row(collection)
        progress(first, collection.rows)

        def write(batch: RowBatch) -> int:
            self.write(collection, batch)
            return batch.first_row + len(batch.vectors)

        for done in write_batches(write, batches(first), self.writers):
            progress(done, collection.rows)
        self.complete(collection)

    def first_missing_row(self, collection: Collection) -> int:
        """Return the row that loading goes on with, a multiple of BATCH_ROWS; rows after it may be there too."""
        return first_missing_row(lambda rows: self.has(collection, rows), collection.rows, BATCH_ROWS, self.writers)

    def check_count(self, collection: Collection, found: int) -> None:
        """Check the number of rows that an engine has found.

        Raises:
            EngineError: it is not that of the collection, and what to do about it.
        """
        if found != collection.rows:
            again = self.how_to_load_again(collection)
            raise EngineError(f"{collection.name} has {found:,} rows, its segment {collection.rows:,}; {again}")

    def refuse_to_replace(self, collection: Collection) -> NoReturn:
        """Say that there is a complete collection of this name with another shape.

        Raises:
            EngineError: always.
        """
        raise EngineError(
            f"{collection.name} in {self.kind} at {self.address.url} is complete and has other rows or columns than "
            "its segment; if no server searches it, drop it and run the load step again"
        )

    def how_to_load_again(self, collection: Collection) -> str:
        """Return what to do about a collection that is not as it should be."""
        return f"drop {collection.name} in {self.kind} at {self.address.url} and run the load step again"

    @abstractmethod
    def create(self, collection: Collection) -> None:
        """Make an empty collection, unless it is there; an incomplete one of another shape is replaced.

        Raises:
            EngineError: there is a complete one of another shape, which servers may be searching.
        """

    @abstractmethod
    def write(self, collection: Collection, batch: RowBatch) -> None:
        """Write a batch; called from several threads. Writing the same batch twice is the same as once."""

    @abstractmethod
    def has(self, collection: Collection, rows: np.ndarray) -> np.ndarray:
        """Return which of int64[m] row numbers are stored for certain, bool[m]."""

    @abstractmethod
    def complete(self, collection: Collection) -> None:
        """Count the rows, build the index over them, and return once the collection can be searched.

        Raises:
            EngineError: rows are missing; the collection is not complete then.
        """

    @abstractmethod
    def is_complete(self, collection: Collection) -> bool:
        """Return whether `complete` has been done for a collection of this shape: rows, length of a vector, columns.

        Options are not compared: a collection is named after its segment, which was made with its options.
        """

    @abstractmethod
    def count(self, collection: Collection) -> int:
        """Return the number of rows that searches can find."""

    # ── serving ──────────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def open(self, collection: Collection) -> CollectionSearch:
        """Open a complete collection; connections are made when they are needed.

        Raises:
            EngineError: there is no such collection, or it is not complete.
            EngineUnavailable: the engine does not answer.
        """

    def require_complete(self, collection: Collection) -> None:
        """Check that a collection is complete.

        Raises:
            EngineError: it is not, or there is none.
            EngineUnavailable: the engine does not answer.
        """
        if not self.is_complete(collection):
            raise EngineError(
                f"{self.kind} at {self.address.url} has no complete collection {collection.name} of this shape; run "
                "the load step again"
            )

    @abstractmethod
    def ping(self, seconds: float) -> None:
        """Return if the engine answers.

        Raises:
            EngineUnavailable: it does not.
        """

    def ping_collection(self, collection: Collection, seconds: float) -> None:
        """Return if the engine answers, and can search a complete collection: most can as soon as they answer.

        Raises:
            EngineUnavailable: it does not, or cannot yet.
            EngineError: it has no such collection, or cannot before somebody mends it.
        """
        self.ping(seconds)

    # ── housekeeping ─────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all collections that begin with NAME_PREFIX, complete or not."""

    def orphans(self, segment_ids: Iterable[str], store: str) -> list[str]:
        """Return the names of the collections that belong to none of the segments of a store.

        Args:
            segment_ids: of all segments of the store.
            store: its identity.
        """
        own = {collection_name(segment_id, store) for segment_id in segment_ids}
        suffix = collection_name("", store).removeprefix(NAME_PREFIX)
        return [name for name in self.names() if name not in own and name.endswith(suffix)]

    @abstractmethod
    def drop(self, name: str) -> None:
        """Remove a collection; nothing happens if there is none."""

    def close(self) -> None:  # noqa: B027  (some have nothing to close)
        """Close connections."""
