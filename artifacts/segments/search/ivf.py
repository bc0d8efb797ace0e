"""FAISS files with lists as a way of finding candidates.

A delta is filled into a copy of its base's quantizer, so a search chooses the IVF lists once and probes them in both.
Rows of the base that are deleted are no filter: a search asks for a few candidates more, drops them, and asks again
only if too few are left.
"""

from __future__ import annotations

import numpy as np

from artifacts.index import planner
from artifacts.index.faiss_index import IvfIndex
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
        if row_filter is None:
            bitmaps, rows_per_list = None, None
            useful, probes, rescore = self._ivf.lists, min(self._ivf.lists, params.nprobe), params.rescore
        else:
            bitmaps, rows_per_list = row_filter.bitmaps, row_filter.rows_per_list
            useful, rescore = row_filter.useful_lists, params.filtered_rescore
            probes = planner.probes_for(self._ivf.shape, params, row_filter.count, useful)
        depth = planner.candidates_for(k, rescore)
        drops = row_filter is None and self._rows.deleted_count > 0
        asked = self._rows.with_deleted(depth) if drops else min(total, depth)
        neighbors: dict[int, Neighbors] = {}
        unfinished, scored = list(range(len(queries))), 0
        while unfinished:
            candidates = self._ivf.candidates(
                queries[unfinished], asked, probes, bitmaps=bitmaps, rows_per_list=rows_per_list
            )
            crowded: set[int] = set()  # queries whose candidates were largely deleted, while there are others
            for number, found in zip(unfinished, candidates, strict=True):
                rows = found[found >= 0]
                if drops:
                    rows = rows[~self._rows.is_deleted(rows)]
                    if found[-1] >= 0 and len(rows) < _ENOUGH_SHARE * depth:
                        crowded.add(number)
                scored += len(rows)
                neighbors[number] = Neighbors(*self._rows.vectors.score(queries[number], rows, k))
            # The nearest lists may hold too few allowed rows: probe more until there are enough or no list is left.
            unfinished = [number for number in unfinished if len(neighbors[number].rows) < k or number in crowded]
            if not unfinished or (probes >= useful and (not drops or asked >= self._rows.total)):
                break
            probes = min(useful, probes * 4)
            if drops:  # deleted rows may have taken the places of others among the candidates
                asked = min(self._rows.total, asked * 4)
        return [neighbors[number] for number in range(len(queries))], Plan("ivf", total, probes, scored)
