"""The measurements and verdicts of the gate, as data: written to evaluation.json, drawn in report.html.

The aliases are the keys of evaluation.json, which is a file format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from artifacts.index.params import SearchParams

_Modality = Annotated[str, Field(serialization_alias="kind")]  # image or text


@dataclass(frozen=True)
class Trial:
    """One setting of the search, measured."""

    nprobe: int
    rescore: int
    recall_at_100: float
    milliseconds: float  # mean of one query
    recall_at_10: float = 0.0


@dataclass(frozen=True)
class ModalityResult:
    """The measurements of one modality's queries at the chosen setting."""

    modality: _Modality
    queries: int
    params: SearchParams
    recall_at_10: float
    recall_at_100: float
    found_itself: float  # share of queries whose own product is among the first ten
    p50_ms: float  # of the search alone, one query at a time; no encoder, no HTTP
    p99_ms: float
    trials: list[Trial] = field(default_factory=list)


@dataclass(frozen=True)
class FilterResult:
    """Recall under one filter."""

    modality: _Modality
    name: str
    share: float  # of the products that pass the filter
    path: str  # plan of the search
    recall_at_100: float
    p50_ms: float


@dataclass(frozen=True)
class IndexFacts:
    """The index of the release's base, its size, and why it was chosen."""

    codec: str
    factory: str
    rows: int
    dim: int
    lists: int
    train_rows: int
    row_bytes: float  # resident, of one row
    resident_bytes: int
    part_rows: list[int]
    part_bytes: list[int]  # on disk, of all files of a part
    delta_rows: int  # of the release's delta; 0 without one
    drift: float | None
    reasons: list[str]  # empty if the settings have changed since it was chosen
    largest_list: int | None = None  # rows; None if the lists were not counted
    empty_lists: int | None = None
    imbalance: float | None = None  # 1 if all lists are of one size; see index_facts.imbalance


@dataclass(frozen=True)
class Evaluation:
    """Everything that the gate measured, and its verdict."""

    modalities: Annotated[list[ModalityResult], Field(serialization_alias="kinds")]
    filters: list[FilterResult]
    target: float
    products_before: int | None  # of the release being served
    products_now: int
    problems: list[str]  # why the candidate does not pass; empty if it does
    seconds: float
    index: IndexFacts | None = None

    @property
    def misses_target(self) -> bool:
        """Whether recall is below the target, of a modality or under a filter."""
        results = [*self.modalities, *self.filters]
        return any(result.recall_at_100 < self.target for result in results)


def shrink_problem(products: int, products_before: int | None, max_shrink: float) -> str | None:
    """Return what is wrong if a catalog has lost too many products; None if it has not.

    Args:
        products_before: of the release being served; None if there is none.
        max_shrink: share of its products that may be missing, 0 to 1.
    """
    if not products_before or (products_before - products) / products_before <= max_shrink:
        return None
    share = (products_before - products) / products_before
    return (
        f"{products} products, {products_before} in the release being served: {share:.0%} would be gone, "
        f"more than max_shrink {max_shrink:.0%} allows"
    )
