"""Sizes of an index, its FAISS factory string, and the parameters of a search. Does not import FAISS."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

#: PQ learns 256 values for each part, from at least as many vectors; below that, a flat index is better anyway.
MIN_TRAIN_ROWS = 256


@dataclass(frozen=True)
class SearchParams:
    """Depth of a search: chosen by the gate for each modality of query, and written to the manifest.

    A manifest's `content_id` contains the repr, so the names of class and fields belong to the format.

    Attributes:
        nprobe: IVF lists to probe.
        rescore: candidates to score exactly, as a multiple of the number of results.
        filtered_probes: under a filter, the minimum factor on `nprobe`; see artifacts.index.planner.
        filtered_rescore: `rescore` under a filter. The rows that pass may all be far from the query and at much the
            same distance, where the codes' errors matter more.
    """

    nprobe: int = 32
    rescore: int = 4
    filtered_probes: int = 8
    filtered_rescore: int = 16

    def deeper(self, factor: float) -> SearchParams:
        """Multiply the probes by `factor` and the candidates by half of it (at least by 1)."""
        more = max(1.0, factor / 2)
        return replace(
            self,
            nprobe=math.ceil(self.nprobe * factor),
            rescore=math.ceil(self.rescore * more),
            filtered_rescore=math.ceil(self.filtered_rescore * more),
        )


@dataclass(frozen=True)
class IvfShape:
    """The sizes of an IVF index that a planner estimates costs from."""

    rows: int
    lists: int
    dim: int
    code_size: int  # bytes of one row's code


def lists_for(rows: int) -> int:
    """Return the number of IVF lists for a number of rows: 4·√rows to the nearest power of two, 16,384 for 10 million.

    Above 10 million rows 16,384·√(rows / 10 million), which continues from there: 65,536 for 100 million.
    """
    if rows <= 0:
        return 1
    ideal = 4 * math.sqrt(rows) if rows <= 10_000_000 else 16_384 * (rows / 10_000_000) ** 0.5
    return max(1, 2 ** round(math.log2(ideal)))


def factory_string(codec: str, dim: int, lists: int) -> str:
    """Return the FAISS index factory string of an IVF codec.

    Args:
        codec: pq, rabitq or sq8; flat is not an IVF and has no factory string here.

    Raises:
        ValueError: for any other codec.
    """
    if codec == "pq":
        # 8 dimensions a byte: 64 bytes for 512-d. FAISS needs the number of parts to divide the dimension.
        parts = next(parts for parts in range(max(1, dim // 8), 0, -1) if dim % parts == 0)
        return f"IVF{lists},PQ{parts}"
    if codec == "rabitq":
        return f"RR{dim},IVF{lists},RaBitQ"
    if codec == "sq8":
        return f"IVF{lists},SQ8"
    raise ValueError(f"codec {codec!r} is not one of pq, rabitq, sq8")
