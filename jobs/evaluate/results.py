"""What the gate measured, as data: written to evaluation.json, drawn in report.html."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from artifacts.index.params import SearchParams


@dataclass(frozen=True)
class Trial:
    """One setting of the search, measured."""

    nprobe: int
    rescore: int
    recall_at_100: float
    milliseconds: float  # mean of one query


@dataclass(frozen=True)
class KindResult:
    """What was measured for one kind of query at the chosen setting."""

    kind: str
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

    kind: str
    name: str
    share: float  # of the products that pass
    path: str
    recall_at_100: float
    p50_ms: float


@dataclass(frozen=True)
class Evaluation:
    """Everything the gate measured, and what it decided."""

    kinds: list[KindResult]
    filters: list[FilterResult]
    target: float
    products_before: int | None
    products_now: int
    problems: list[str]  # why the candidate does not pass; empty if it does
    seconds: float

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"
