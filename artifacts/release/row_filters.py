"""The rows of a release that pass a filter: what the base keeps of it, with the delta applied."""

from __future__ import annotations

from artifacts.products.database import ProductDatabase
from artifacts.products.filters import Filter
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment


class ReleaseFilters:
    """Prepares filters for searching, and keeps the most recent ones. Safe to use from several threads at once.

    What a filter lets pass of the base is kept by the base, for all releases that share it: a new delta costs no more
    than the delta. All of them share one memory limit.

    Args:
        base: open.
        delta: of this base, open; None if there is none.
        searcher: of both.
        database: of both.
    """

    def __init__(self, base: Segment, delta: Segment | None, searcher: Searcher, database: ProductDatabase) -> None:
        self._base, self._delta = base, delta
        self._searcher, self._database = searcher, database

    def get(self, conditions: Filter) -> RowFilter | None:
        """Return the rows that pass a filter and are not deleted; None for the empty filter: a search needs no filter
        to leave out deleted rows."""
        if not conditions:
            return None
        if self._delta is None:
            return self._base.row_filters.get(
                conditions, lambda: self._searcher.row_filter(self._database.matching_rows(conditions), conditions)
            )
        return self._delta.row_filters.get(conditions, lambda: self._with_delta(conditions))

    def _with_delta(self, conditions: Filter) -> RowFilter:
        base = self._base.row_filters.find(conditions)
        if base is not None:
            return self._searcher.changed(base, self._database.matching_changes(conditions))
        rows, changes = self._database.matching(conditions)
        base = self._base.row_filters.get(conditions, lambda: self._searcher.row_filter(rows, conditions))
        return self._searcher.changed(base, changes)
