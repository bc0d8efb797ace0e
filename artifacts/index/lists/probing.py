"""Chooses the IVF lists to probe for a query: the nearest ones, or under a filter those that hold its results.

What is chosen for a query does not depend on the queries beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from artifacts.index.devices.assignment import inner_products
from artifacts.index.lists.coarse import RoundedCentroids, centroids_of, has_graph, nearest_by_graph
from artifacts.index.lists.model import ListModel

#: Lists found beside the requested ones, and for each of these. All are scored in float32: rounding swaps lists only
#: where all of these are almost equally near.
_SPARE_LISTS, _SPARE_PER_LIST = 8, 0.125

#: Lists whose centroids are scored for the model; if more hold allowed rows, these are the nearest of them.
_MODELLED_LISTS = 4096

#: Lists that the model chooses at most, as a multiple of those that are probed without a filter.
_MAX_PROBES = 32

#: Finds for float32[n, dim] the given number of nearest lists, int64[n, count] in any order; None if it cannot.
FindLists = Callable[[np.ndarray, int], np.ndarray | None]


@dataclass(frozen=True)
class AllowedRows:
    """The rows that a filter allows.

    Attributes:
        bitmaps: of the base and of the delta, uint8, one bit a row, little-endian.
        rows_per_list: int[lists], number of them in each list. Lists without any are not probed.
        wanted: results for each query.
        breadth: of `ListModel.choose`; 0 to take the nearest lists, without the model.
    """

    bitmaps: Sequence[np.ndarray]
    rows_per_list: np.ndarray
    wanted: int = 0
    breadth: int = 0


class Probing:
    """The lists of an IVF.

    Args:
        ivf: any of its files.
        similarity: how alike the rows of each list are, float32[lists]; None if that is not known.
    """

    def __init__(self, ivf: faiss.IndexIVF, similarity: np.ndarray | None) -> None:
        self._ivf, self._has_graph = ivf, has_graph(ivf)
        self._centroids, self._rounded = centroids_of(ivf), RoundedCentroids(ivf)
        self._model = None if similarity is None else ListModel(similarity, ivf.d)

    @property
    def has_model(self) -> bool:
        """Whether it is known how alike the rows of each list are."""
        return self._model is not None

    def nearest(self, queries: np.ndarray, probes: int, find: FindLists | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of centroids float32[n, probes] and the nearest lists int64[n, probes], best first.

        A few lists more than requested are found roughly, or by a graph, and those are scored one by one.

        Args:
            queries: float32[n, dim], in the IVF's space.
            probes: no more than there are lists.
            find: asked first for the lists.
        """
        count = min(_with_spare(probes), self._ivf.nlist)
        lists = None if find is None else find(queries, count)
        if lists is None:
            by_graph = self._has_graph
            lists = nearest_by_graph(self._ivf, queries, count) if by_graph else self._rounded.nearest(queries, count)
        scores = inner_products(queries, self._centroids, lists)
        order = np.lexsort((lists, -scores))[:, :probes]
        nearest = np.take_along_axis(scores, order, axis=1), np.take_along_axis(lists, order, axis=1)
        return np.ascontiguousarray(nearest[0]), np.ascontiguousarray(nearest[1])

    def filtered(self, queries: np.ndarray, nprobe: int, allowed: AllowedRows) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of centroids float32[n, p] and the lists int64[n, p] to probe under a filter.

        Args:
            queries: float32[n, dim], in the IVF's space.
            nprobe: lists that are probed without a filter; or, without the model, under this one.
            allowed: the rows that the filter allows, at least one.

        Returns:
            As many as the query with the most lists needs; the others have lists of -1 at the end.
        """
        holding = np.flatnonzero(allowed.rows_per_list)
        model = self._model if allowed.breadth else None
        count = _with_spare(nprobe) if model is None else _MODELLED_LISTS
        chosen: list[tuple[np.ndarray, np.ndarray]] = []
        for query in queries[:, None]:
            lists = holding
            if len(holding) > count:
                lists = np.sort(self._rounded.nearest(query, count, only=holding)[0])
            scores = inner_products(query, self._centroids, lists[None])[0]
            if model is None:
                order = np.argsort(-scores, kind="stable")[:nprobe]
            else:
                rows = allowed.rows_per_list[lists]
                order = model.choose(lists, scores, rows, allowed.wanted, allowed.breadth, _MAX_PROBES * nprobe)
            chosen.append((scores[order], lists[order]))
        shape = len(chosen), max(len(lists) for _, lists in chosen)
        all_scores, all_lists = np.zeros(shape, np.float32), np.full(shape, -1, np.int64)
        for number, (scores, lists) in enumerate(chosen):
            all_scores[number, : len(lists)], all_lists[number, : len(lists)] = scores, lists
        return all_scores, all_lists


def _with_spare(probes: int) -> int:
    return probes + _SPARE_LISTS + int(_SPARE_PER_LIST * probes)
