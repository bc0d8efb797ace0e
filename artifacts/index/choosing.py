"""Chooses the index of a segment, and says why: codec, IVF lists, and the memory that they take. Does not import FAISS.

Resident memory is what a search may touch anywhere in the index, so that it should stay in memory: the codes, the row
numbers and lists of the rows, the centroids, and what the codec has trained. The float16 vectors are not part of it,
except where they are the index: of these, only the rows that are scored exactly are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from artifacts.config import IndexConfig
from artifacts.errors import InputError
from artifacts.index import params

#: Rows from which no HNSW graph is built. It is made in memory by one thread, of all rows: 1.3 KB for each of 512
#: numbers, where a code takes 64 bytes.
HNSW_ROWS = 1_000_000

#: The codecs of an IVF, the most exact codes first. opq and pq have codes of the same size; the rotation that opq
#: learns makes them more exact. hnsw is not among these: it takes the most memory, and is built by request only.
BEST_FIRST = ("sq8", "opq", "pq", "rabitq")

#: Longest vector for which `auto` takes opq: learning the rotation takes the cube of the length, in 10 rounds 35 s of a
#: core with 512 numbers and 200 s with 1,024.
_AUTO_OPQ_DIM = 1024

#: Bytes of a row beside its code: in an IVF, its number (8) and its list (4); in an HNSW graph, its links in the lowest
#: layer, on average those in upper layers, their place (8) and the number of its layers (4).
_IVF_ROW = 12.0
_GRAPH_ROW = 4 * 2 * params.GRAPH_LINKS + 4.2 + 12

#: PQ learns so many values for each sub-vector.
_PQ_VALUES = 256


@dataclass(frozen=True)
class IndexChoice:
    """An index that can be built for a number of rows.

    Attributes:
        codec: flat, hnsw, pq, opq, rabitq or sq8.
        factory: FAISS's factory string. Of a graph it is a description, as `build.write_graph` makes it.
        lists: IVF lists; 0 where there are none.
        train_rows: rows drawn to train on; 0 if nothing is trained.
        code_size: bytes of one row's code.
        row_bytes: resident bytes of a row: its code, number, list or links.
        resident_bytes: of all rows, with the centroids and what is trained.
        reasons: sentences for people.
    """

    codec: str
    factory: str
    lists: int
    train_rows: int
    code_size: int
    row_bytes: float
    resident_bytes: int
    reasons: tuple[str, ...]


def choose(rows: int, dim: int, config: IndexConfig) -> IndexChoice:
    """Choose the index of a segment.

    A memory budget never replaces a codec that was asked for; with the codec auto it decides the codec.

    Args:
        rows: of the whole segment.
        dim: length of a vector.

    Raises:
        InputError: the index does not fit the memory budget, there are too many rows for hnsw, or fewer than `nlist`.
    """
    budget = config.memory_budget
    if config.codec == "flat":
        return _within(budget, _flat(rows, dim, ("The codec is flat: every search is exact.",)), rows, dim, config)
    few = max(config.flat_max_rows, params.MIN_TRAIN_ROWS)
    if rows <= few:
        limit = "flat_max_rows" if few == config.flat_max_rows else "what a codec needs to learn from"
        flat = _flat(rows, dim, (f"{rows:,} rows are no more than {few:,}, {limit}: flat, so every search is exact.",))
        if not budget or flat.resident_bytes <= budget or rows <= params.MIN_TRAIN_ROWS:
            return _within(budget, flat, rows, dim, config)
    if config.codec == "hnsw":
        return _within(budget, _hnsw(rows, dim), rows, dim, config)
    if config.codec == "auto":
        return _best_that_fits(rows, dim, config)
    reason = f"The codec is {config.codec}, as set." if config.codec != "pq" else "The codec is pq, the default."
    return _within(budget, _ivf(config.codec, rows, dim, config, (reason,)), rows, dim, config)


def _best_that_fits(rows: int, dim: int, config: IndexConfig) -> IndexChoice:
    """Return the best codec within the budget; pq, the default, if there is none."""
    budget = config.memory_budget
    if not budget:
        return _ivf("pq", rows, dim, config, ("The codec is auto, and no memory_budget is set: pq, the default.",))
    rejected: list[str] = []
    for codec in _automatic(dim):
        choice = _ivf(codec, rows, dim, config, ())
        if choice.resident_bytes <= budget:
            better = f" {_listed(rejected, 'and')}, with more exact codes, would not fit." if rejected else ""
            reason = (
                f"{codec} has the most exact codes within the memory_budget of {size_text(budget)}: "
                f"{size_text(choice.resident_bytes)}.{better}"
            )
            return replace(choice, reasons=(reason, *choice.reasons))
        rejected.append(f"{codec} ({size_text(choice.resident_bytes)})")
    raise InputError(
        f"memory_budget: {rows:,} rows of {dim} numbers do not fit {size_text(budget)} with any codec: "
        f"{_listed(rejected, 'and')}. Set a larger one"
    )


def _automatic(dim: int) -> Iterator[str]:
    """Yield the codecs that `auto` tries, the most exact first, for vectors of a length.

    rabitq's codes are larger than PQ's and less exact, except where the length has no good divisor.
    """
    yield "sq8"
    if _long_subvectors(dim):
        yield "rabitq"
    else:
        if dim <= _AUTO_OPQ_DIM:
            yield "opq"
        yield "pq"


def _long_subvectors(dim: int) -> bool:
    """Return whether PQ can cut vectors only into sub-vectors of more than 16 numbers, whose codes say little."""
    return params.subquantizers(dim) * 16 < dim


def _within(budget: int, choice: IndexChoice, rows: int, dim: int, config: IndexConfig) -> IndexChoice:
    """Return a choice if it fits the budget, else raise InputError."""
    if not budget:
        return choice
    if choice.resident_bytes <= budget:
        reason = f"It fits the memory_budget of {size_text(budget)}."
        return replace(choice, reasons=(*choice.reasons, reason))
    fitting: list[str] = []
    if rows > params.MIN_TRAIN_ROWS:
        others = (_ivf(codec, rows, dim, config, ()) for codec in BEST_FIRST if codec != choice.codec)
        fitting = [
            f"{each.codec} ({size_text(each.resident_bytes)})" for each in others if each.resident_bytes <= budget
        ]
    advice = (
        f"{_listed(fitting, 'or')} would fit: set codec to one of these, or to auto for the first"
        if fitting
        else "no codec fits; set a larger one"
    )
    raise InputError(
        f"memory_budget: the index of {rows:,} rows of {dim} numbers takes {size_text(choice.resident_bytes)} "
        f"({choice.resident_bytes:,} bytes) with codec {choice.codec}, more than {size_text(budget)}; {advice}"
    )


def resident(codec: str, rows: int, dim: int, lists: int) -> tuple[float, int]:
    """Return the resident bytes of one row of an index, and of the whole index.

    Args:
        codec: flat, hnsw, pq, opq, rabitq or sq8.
        lists: IVF lists; 0 where there are none.
    """
    row_bytes = float(params.code_size(codec, dim))
    if codec == "hnsw":
        row_bytes += _GRAPH_ROW
    if not lists:
        return row_bytes, round(rows * row_bytes)
    row_bytes += _IVF_ROW
    fixed = lists * 4 * dim + _trained_bytes(codec, dim)
    if lists >= params.GRAPH_LISTS:
        fixed += round(lists * _GRAPH_ROW)
    return row_bytes, round(rows * row_bytes) + fixed


def _flat(rows: int, dim: int, reasons: tuple[str, ...]) -> IndexChoice:
    return IndexChoice("flat", "SQfp16", 0, 0, params.code_size("flat", dim), *resident("flat", rows, dim, 0), reasons)


def _hnsw(rows: int, dim: int) -> IndexChoice:
    if rows >= HNSW_ROWS:
        raise InputError(
            f"codec: hnsw is for fewer than {HNSW_ROWS:,} rows, and there are {rows:,}; set codec to sq8, which takes "
            "less than half the memory and is nearly as exact, or to pq"
        )
    reasons = (
        "The codec is hnsw, as set: the fastest search, in the most memory.",
        f"The graph has {params.GRAPH_LINKS} links a node; it is built on one thread, so that the same rows give the "
        "same bytes.",
    )
    factory, size = f"HNSW{params.GRAPH_LINKS},SQfp16", params.code_size("hnsw", dim)
    return IndexChoice("hnsw", factory, 0, 0, size, *resident("hnsw", rows, dim, 0), reasons)


def _ivf(codec: str, rows: int, dim: int, config: IndexConfig, reasons: tuple[str, ...]) -> IndexChoice:
    lists = config.nlist or params.lists_for(rows)
    if lists > rows:
        raise InputError(f"nlist: {lists:,} lists are more than the {rows:,} rows; set a smaller one, or 0 for by size")
    formula = "4·√rows"
    if rows > params.MIDDLE_ROWS:
        formula = f"{params.MIDDLE_LISTS:,}·√(rows ÷ {params.MIDDLE_ROWS:,})"
    by = "as nlist says" if config.nlist else f"the power of two nearest to {formula}"
    reasons = (*reasons, f"{lists:,} IVF lists, {by}.")
    if codec in ("pq", "opq") and _long_subvectors(dim):
        count = params.subquantizers(dim)
        few = f"{count} sub-vector{'s' if count > 1 else ''}"
        poor = f"{codec} cuts {dim} numbers into only {few}, for want of a divisor: sq8 or rabitq find more."
        reasons = (*reasons, poor)
    if lists >= params.GRAPH_LISTS:
        graph = f"From {params.GRAPH_LISTS:,} lists on, an HNSW graph over the centroids finds the nearest ones."
        reasons = (*reasons, graph)
    factory, size = params.factory_string(codec, dim, lists), params.code_size(codec, dim)
    train_rows = min(rows, max(lists * config.train_rows_per_list, params.MIN_TRAIN_ROWS))
    return IndexChoice(codec, factory, lists, train_rows, size, *resident(codec, rows, dim, lists), reasons)


def _trained_bytes(codec: str, dim: int) -> int:
    """Return the bytes of what a codec has trained: values of PQ, ranges of SQ8, rotations."""
    rotation = 4 * dim * dim
    sizes = {"pq": 4 * _PQ_VALUES * dim, "opq": 4 * _PQ_VALUES * dim + rotation, "rabitq": rotation, "sq8": 8 * dim}
    return sizes[codec]


def size_text(number: int) -> str:
    """Return bytes as text, such as 7.75 GB: in units of 1000, like `memory_budget`."""
    if number < 1000:
        return f"{number} bytes"
    value, units = number / 1000, ["KB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"


def _listed(names: list[str], last: str) -> str:
    """Return names as a list in English."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
