"""One search on its way from the request to the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from artifacts.errors import InputError
from artifacts.index.params import SearchParams
from artifacts.release.hits import Hit
from artifacts.segments.search.candidates import Plan
from serving.releases.snapshot import Snapshot
from serving.schemas import Common
from serving.search.options import SearchOptions
from serving.search.paging import PLAIN_WINDOW, WINDOW, Cursor
from serving.search.query import Query


class RankedHit(NamedTuple):
    """A hit at its position in the ranked list."""

    hit: Hit
    score: float
    parts: dict[str, float] | None = None  # what the score is the sum of; None: similarity alone, or not requested
    duplicates: tuple[str, ...] = ()  # product ids that were collapsed into this one


@dataclass(eq=False)
class SearchTask:
    """A search. `SearchService.run` fills it in stage by stage, and leaves either an answer or a problem.

    Attributes:
        request: the options as the caller sent them.
        parse: makes the query; raises an InputError if the request is invalid.
        cursor: where the search continues, if it is not a first page.
        query, options, digest: set by reading. The digest identifies the search among its pages.
        cache_key: of the whole answer; None if the answer is not cached.
        vector: float32[dim], L2-normalised; set by encoding.
        params: of the index; set by planning.
        hits: the best products of the first tier, by similarity.
        ranked: the list so far, of all tiers.
        plan: how the index was searched, of the last call.
        exhausted: no deeper tier would add to the list.
        answer: a SearchAnswer as a dictionary.
        cached: the answer is from the result cache.
        problem: why there is no answer.
    """

    request: Common
    parse: Callable[[Snapshot], Query]
    cursor: Cursor | None = None

    query: Query = field(init=False)
    options: SearchOptions = field(init=False)
    digest: str = ""
    cache_key: str | None = None
    vector: np.ndarray | None = None
    params: SearchParams = field(init=False)
    hits: list[Hit] = field(default_factory=list)
    ranked: list[RankedHit] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)  # products in `ranked`; filled when a second tier is needed
    plan: Plan = field(init=False)
    exhausted: bool = False
    answer: dict[str, Any] | None = None
    cached: bool = False
    problem: InputError | None = None

    @property
    def done(self) -> bool:
        """Whether there is an answer or a problem."""
        return self.answer is not None or self.problem is not None

    @property
    def end(self) -> int:
        """Length of the list up to the end of the page."""
        return self.options.offset + self.options.limit

    @property
    def complete(self) -> bool:
        """Whether the list reaches the end of the page, or cannot get longer."""
        return self.exhausted or len(self.ranked) >= self.end

    @property
    def first_tier(self) -> int:
        """Depth of the first search of the index."""
        return PLAIN_WINDOW if self.options.plain else WINDOW
