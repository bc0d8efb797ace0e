"""TODO."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

#: PQ learns 256 values for each part from at least as many vectors; below that, a flat index is better anyway.
MIN_TRAIN_ROWS = 256


@dataclass(frozen=True)
class SearchParams:
    """How hard to look: chosen by the gate for each kind of query, written to the manifest.

    Attributes:
        nprobe: IVF lists to probe.
        rescore: candidates to score exactly, as a multiple of the results wanted.
        filtered_probes: under a filter, how many times as many lists to probe, at least; see artifacts.index.planner.
        filtered_rescore: `rescore` under a filter. What passes it may all be far from the query and at much the same
            distance, where the codes' errors count for more.
    """

    nprobe: int = 32
    rescore: int = 4
    filtered_probes: int = 8
    filtered_rescore: int = 16

    def deeper(self, factor: float) -> SearchParams:
        """The same with `factor` times the probes and half as many times the candidates (at least once)."""
        more = max(1.0, factor / 2)
        return replace(
            self,
            nprobe=math.ceil(self.nprobe * factor),
            rescore=math.ceil(self.rescore * more),
            filtered_rescore=math.ceil(self.filtered_rescore * more),
        )


@dataclass(frozen=True)
class IvfShape:
    """What a planner has to know of an IVF index."""

    rows: int
    lists: int
    dim: int
    code_size: int  # bytes of one row's code


def lists_for(rows: int) -> int:
    """Number of IVF lists for so many rows: 4·√rows to the nearest power of two, 16,384 for 10 million.

    Above 10 million rows 16,384·√(rows / 10 million), which goes on from there: 65,536 for 100 million.
    """
    if rows <= 0:
        return 1
    wanted = 4 * math.sqrt(rows) if rows <= 10_000_000 else 16_384 * (rows / 10_000_000) ** 0.5
    return max(1, 2 ** round(math.log2(wanted)))


def factory_string(codec: str, dim: int, lists: int) -> str:
    """The FAISS index factory string for a codec of the settings (flat is not an IVF and has none)."""
    if codec == "pq":
        # 8 dimensions a byte: 64 bytes for 512-d. FAISS needs the number of parts to divide the dimension.
        parts = next(parts for parts in range(max(1, dim // 8), 0, -1) if dim % parts == 0)
        return f"IVF{lists},PQ{parts}"
    if codec == "rabitq":
        return f"RR{dim},IVF{lists},RaBitQ"
    if codec == "sq8":
        return f"IVF{lists},SQ8"
    raise ValueError(f"unknown codec {codec!r}")
