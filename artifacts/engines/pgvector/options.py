"""How the index of a collection is built: the options of a build, checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from artifacts.errors import EngineError

#: Bounds of the options that are numbers, as pgvector and PostgreSQL have them.
_BOUNDS = {"m": (2, 100), "ef_construction": (4, 1000), "lists": (1, 32_768), "parallel_workers": (0, 1024)}

_SIZE = re.compile(r"\d+(kB|MB|GB|TB)")


@dataclass(frozen=True)
class IndexOptions:
    """Options of an index.

    Attributes:
        index: "hnsw" or "ivfflat".
        m: links of a row in HNSW.
        ef_construction: candidates for the links of a row.
        lists: of IVFFlat; the default is rows / 1,000, from a million rows on their square root.
        maintenance_work_mem: memory for building it, such as "8GB"; the default is the server's.
        parallel_workers: further processes that build it; the default is the server's.
    """

    index: str = "hnsw"
    m: int = 16
    ef_construction: int = 64
    lists: int | None = None
    maintenance_work_mem: str | None = None
    parallel_workers: int | None = None

    @property
    def built(self) -> dict[str, int]:
        """The options that the index itself depends on, as CREATE INDEX takes them."""
        if self.index == "ivfflat":
            return {"lists": self.lists or 1}
        return {"m": self.m, "ef_construction": self.ef_construction}


def index_options(options: Mapping[str, int | float | str], rows: int) -> IndexOptions:
    """Check the options of a collection, and return them with defaults.

    Args:
        rows: of the collection.

    Raises:
        EngineError: an option that there is not, or a value that it does not take.
    """
    known = list(IndexOptions.__dataclass_fields__)
    for name, value in options.items():
        if name not in known:
            raise EngineError(f"engine_options: pgvector has no option {name!r}; it has {', '.join(known)}")
        if name in _BOUNDS:
            low, high = _BOUNDS[name]
            if not isinstance(value, int) or not low <= value <= high:
                raise EngineError(f"engine_options: {name}: {value!r} is not an integer from {low} to {high}")
    checked = IndexOptions(**options)  # type: ignore[arg-type]
    if checked.index not in ("hnsw", "ivfflat"):
        raise EngineError(f"engine_options: index: {checked.index!r} is neither hnsw nor ivfflat")
    if checked.ef_construction < 2 * checked.m:
        raise EngineError(f"engine_options: ef_construction: {checked.ef_construction} is less than 2 × m")
    size = checked.maintenance_work_mem
    if size is not None and not (isinstance(size, str) and _SIZE.fullmatch(size)):
        raise EngineError(f'engine_options: maintenance_work_mem: {size!r} is not a size such as "8GB"')
    lists = max(1, round(rows / 1000 if rows <= 1_000_000 else math.sqrt(rows)))
    return checked if checked.lists else IndexOptions(**{**checked.__dict__, "lists": min(lists, 32_768)})
