"""The queries that are searched for, with the rows that pass each filter, and the exact results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from artifacts.products.filters import Condition
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment
from jobs.bench.catalog import category_name
from jobs.bench.index.data import CaseFiles, IndexData
from jobs.bench.search import exact_scores


@dataclass(frozen=True)
class Case:
    """Queries of one modality under one filter.

    Attributes:
        files: as drawn.
        queries: float32[n, dim], L2-normalised.
        conditions: of the filter; empty for all rows.
        rows: int64, those that pass; None for all rows.
        truth: exact scores of the best rows of each query, descending.
    """

    files: CaseFiles
    queries: np.ndarray
    conditions: tuple[Condition, ...]
    rows: np.ndarray | None
    truth: list[np.ndarray]

    def row_filter(self, searcher: Searcher) -> RowFilter | None:
        """Prepare the filter, as a server does when it meets it for the first time."""
        return None if self.rows is None else searcher.row_filter(self.rows, self.conditions)


def read_cases(data: IndexData, segment: Segment) -> list[Case]:
    """Return the cases without a filter and under unrelated categories.

    Args:
        segment: of the data, for what passes and for the exact results.
    """
    searcher, database = Searcher(segment), segment.database
    assert database is not None  # noqa: S101  (a base has one)
    found: list[Case] = []
    for files in data.cases:
        if files.kind not in ("none", "unrelated"):
            continue
        conditions, rows = (), None
        if files.filter is not None:
            names = tuple(category_name(number) for number in files.filter["any_of"])
            conditions = (Condition("category", any_of=names),)
            rows = database.matching_rows(conditions)
        queries = np.load(data.folder / files.queries)
        row_filter = None if rows is None else searcher.row_filter(rows, conditions)
        found.append(Case(files, queries, conditions, rows, exact_scores(searcher, queries, row_filter)))
    return found
