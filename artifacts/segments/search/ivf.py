"""FAISS files with lists as a way of finding candidates.

A delta is filled into a copy of its base's quantizer, so a search chooses the IVF lists once and probes them in both.
Rows of the base that are deleted are no filter: a search asks for a few candidates more, drops them, and asks again
only if too few are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from artifacts.index import planner
from artifacts.index.faiss_index import IvfIndex
from artifacts.index.lists.probing import AllowedRows
from artifacts.index.params import SearchParams
from artifacts.segments.row_filter import RowFilter
from artifacts.segments.search.candidates import Candidates, Neighbors, Plan, Rows

#: Share of the rescoring depth that has to be left without deleted rows; with fewer candidates recall would fall.
_ENOUGH_SHARE = 0.75


class IvfCandidates(Candidates):
    """Candidates of an IVF, scored exactly.

    Args:
        rows: of a base and its delta.
        ivf: of both.
    """

    def __init__(self, rows: Rows, ivf: IvfIndex) -> None:
        self._rows, self._ivf = rows, ivf
        self.max_nprobe = ivf.lists

    def exact_is_cheaper(self, params: SearchParams, k: int, row_filter: RowFilter) -> bool:
        return planner.exact_is_cheaper(self._ivf.shape, params, k, row_filter.count, row_filter.useful_lists)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        params: SearchParams,
        row_filter: RowFilter | None,
        seconds: float,
    ) -> tuple[list[Neighbors], Plan]:
        total = self._rows.allowed(row_filter)
        depth = planner.candidates_for(k, params.rescore if row_filter is None else params.filtered_rescore)
        drops = row_filter is None and self._rows.deleted_count > 0
        neighbors: dict[int, Neighbors] = {}
        unfinished, max_probed, scored = list(range(len(queries))), 0, 0
        for probes, allowed, asked in self._rounds(k, params, row_filter, depth):
            if not unfinished:
                break
            candidates, probed = self._ivf.probe(queries[unfinished], asked, probes, allowed)
            max_probed = max(max_probed, probed)
            crowded: set[int] = set()  # queries whose candidates were largely deleted, while there are others
            for number, found in zip(unfinished, candidates, strict=True):
                rows = found[found >= 0]
                if drops:
                    rows = rows[~self._rows.is_deleted(rows)]
                    if found[-1] >= 0 and len(rows) < _ENOUGH_SHARE * depth:
                        crowded.add(number)
                scored += len(rows)
                neighbors[number] = Neighbors(*self._rows.vectors.score(queries[number], rows, k))
            unfinished = [number for number in unfinished if len(neighbors[number].rows) < k or number in crowded]
        return [neighbors[number] for number in range(len(queries))], Plan("ivf", total, max_probed, scored)

    def _rounds(
        self, k: int, params: SearchParams, row_filter: RowFilter | None, depth: int
    ) -> Iterator[tuple[int, AllowedRows | None, int]]:
        """Yield the lists to probe, the allowed rows and the candidates to ask for: more each time, and at last all.

        The first lists may hold too few allowed rows, and deleted rows may take the places of others.

        Args:
            depth: candidates to score exactly.
        """
        lists, probes, allowed = self._ivf.lists, params.nprobe, None
        asked = min(self._rows.total, self._rows.with_deleted(depth))
        if row_filter is not None:
            assert row_filter.rows_per_list is not None  # noqa: S101  (an IVF has lists)
            allowed, asked = AllowedRows(row_filter.bitmaps, row_filter.rows_per_list), min(row_filter.count, depth)
            if self._ivf.shape.has_model:
                yield probes, replace(allowed, wanted=k, breadth=params.breadth), asked
            lists = row_filter.useful_lists
            probes = planner.probes_for(self._ivf.shape, params, row_filter.count, lists)
        max_asked = self._rows.total if allowed is None and self._rows.deleted_count else asked
        while probes < lists or asked < max_asked:
            yield min(probes, lists), allowed, asked
            probes, asked = min(lists, probes * 4), min(max_asked, asked * 4)
        yield lists, allowed, asked
