"""Sizes of an index, its FAISS factory string, and the parameters of a search. Does not import FAISS."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

#: PQ learns 256 values for each part, from at least as many vectors; below that, a flat index is better anyway.
MIN_TRAIN_ROWS = 256

#: Vectors that are decoded or converted at once: 33 MB of float32 at 512-d.
BLOCK_ROWS = 16_384

#: The number of lists grows with the square root of the rows, and from here on from a higher value.
MIDDLE_ROWS, MIDDLE_LISTS = 10_000_000, 16_384

#: From so many lists, a search finds the nearest ones in an HNSW graph over the centroids: scoring all of them would
#: take longer than the lists that it probes.
GRAPH_LISTS = 65_536

#: Links of a node in an HNSW graph; twice as many in its lowest layer. With 16, the graph takes 128 bytes a row less,
#: and finds less under filters: 0.93 of the best hundred instead of 0.96 (20,000 x 256-d, a tenth of the rows).
GRAPH_LINKS = 32


@dataclass(frozen=True)
class SearchParams:
    """Depth of a search: chosen by the gate for each modality of query, and written to the manifest.

    Attributes:
        nprobe: IVF lists to probe. In an HNSW graph, efSearch for 100 results; see artifacts.index.planner.depth_for.
        rescore: candidates to score exactly, as a multiple of the number of results. Not used in an HNSW graph.
        filtered_probes: under a filter, the minimum factor on `nprobe`; see artifacts.index.planner. Not used where a
            model chooses the lists.
        filtered_rescore: `rescore` under a filter. The rows that pass may all be far from the query and at much the
            same distance, where the codes' errors matter more.
        breadth: under a filter, how widely a model looks for the lists to probe; see artifacts.index.lists.model.
    """

    nprobe: int = 32
    rescore: int = 4
    filtered_probes: int = 8
    filtered_rescore: int = 16
    breadth: int = 16

    def deeper(self, factor: float) -> SearchParams:
        """Multiply the probes by `factor` and the candidates by half of it (at least by 1).

        The breadth is multiplied by its root: twice as wide, about four times as many lists are probed.
        """
        more = max(1.0, factor / 2)
        return replace(
            self,
            nprobe=math.ceil(self.nprobe * factor),
            rescore=math.ceil(self.rescore * more),
            filtered_rescore=math.ceil(self.filtered_rescore * more),
            breadth=math.ceil(self.breadth * math.sqrt(factor)),
        )


@dataclass(frozen=True)
class IvfShape:
    """The sizes of an IVF index that a planner estimates costs from."""

    codec: str  # pq, opq, rabitq or sq8
    rows: int
    lists: int
    dim: int
    code_size: int  # bytes of one row's code
    has_model: bool = False  # a model chooses the lists under a filter, see artifacts.index.lists.model


def lists_for(rows: int) -> int:
    """Return the number of IVF lists for a number of rows: 4·√rows to the nearest power of two, 16,384 for 10 million.

    Above 10 million rows 16,384·√(rows / 10 million), which continues from there: 65,536 for 100 million.
    """
    if rows <= 0:
        return 1
    ideal = 4 * math.sqrt(rows) if rows <= MIDDLE_ROWS else MIDDLE_LISTS * math.sqrt(rows / MIDDLE_ROWS)
    return max(1, 2 ** round(math.log2(ideal)))


def factory_string(codec: str, dim: int, lists: int) -> str:
    """Return the FAISS index factory string of an IVF codec.

    Args:
        codec: pq, opq, rabitq or sq8; flat and hnsw are not IVFs and have no factory string here.

    Raises:
        ValueError: for any other codec.
    """
    ivf = f"IVF{lists}_HNSW{GRAPH_LINKS}" if lists >= GRAPH_LISTS else f"IVF{lists}"
    if codec == "pq":
        return f"{ivf},PQ{subquantizers(dim)}"
    if codec == "opq":
        return f"OPQ{subquantizers(dim)},{ivf},PQ{subquantizers(dim)}"
    if codec == "rabitq":
        return f"RR{dim},{ivf},RaBitQ"
    if codec == "sq8":
        return f"{ivf},SQ8"
    raise ValueError(f"codec {codec!r} is not one of pq, opq, rabitq, sq8")


def subquantizers(dim: int) -> int:
    """Return the number of sub-vectors that PQ cuts a vector into; each has a quantizer, whose code is a byte.

    8 dimensions a byte: 64 bytes for 512-d. FAISS needs the number of sub-vectors to divide the dimension.
    """
    return next(count for count in range(max(1, dim // 8), 0, -1) if dim % count == 0)


def code_size(codec: str, dim: int) -> int:
    """Return the bytes of one row's code in the index.

    Args:
        codec: flat, hnsw, sq8, opq, pq or rabitq.
    """
    sizes = {
        "flat": 2 * dim,
        "hnsw": 2 * dim,
        "sq8": dim,
        "opq": subquantizers(dim),
        "pq": subquantizers(dim),
        "rabitq": (dim + 7) // 8 + 8,  # a bit for each number, and two numbers that correct the score
    }
    return sizes[codec]
