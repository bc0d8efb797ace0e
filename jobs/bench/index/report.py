"""What `lookalike bench index` measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: The peer's name of Lookalike's own contenders.
OWN = "lookalike"


@dataclass(frozen=True)
class CaseReport:
    """One contender in one case.

    Attributes:
        kind: none | unrelated | random: the filter.
        share, allowed: of the rows, and their number.
        setting: of the search, as tuned.
        qps: queries a second, one by one on one thread on one core: the best of the turns, which are in `turns`.
        core_ms: CPU time of a query, the least of all turns: it hardly grows with what else runs.
        first_ms: the first search, with all that is prepared for it, such as the rows of a filter: the least of the
            turns, each a process of its own. Outside of the other times, before which all queries were searched for.
        qps_all: of as many threads as there are cores; 0 where it was not measured.
        queries: that recall is of; all, unless they take too long.
        curve: the settings that were tried, with recall and queries a second.
        unmeasured: why there are no figures; empty if there are.
    """

    modality: str
    kind: str
    share: float
    allowed: int
    setting: dict[str, Any] = field(default_factory=dict)
    recall_at_10: float = 0.0
    recall_at_100: float = 0.0
    qps: float = 0.0
    turns: list[float] = field(default_factory=list)
    core_ms: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    first_ms: float = 0.0
    qps_all: float = 0.0
    queries: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    unmeasured: str = ""


@dataclass(frozen=True)
class ContenderReport:
    """One kind of index of Lookalike or of a peer.

    Attributes:
        name: as in `lancedb ivf_pq`.
        note: what has to be said beside its figures.
        error: why it could not be measured; empty if it was.
        build_seconds, build_peak_mb: of a process that builds it on all cores; memory that is not of mapped files.
        search_peak_mb: of the process that searches it, and of its server, with Python and libraries.
        search_own_mb, search_mapped_mb: of the same at the end of measuring a case, the most of all cases: memory that
            is not of files, and pages of mapped files that searches have touched. Files that are read instead of
            mapped are in neither.
        resident_bytes, disk_bytes: a vector.
    """

    name: str
    peer: str
    index: str
    note: str = ""
    version: str = ""
    description: str = ""
    error: str = ""
    build_seconds: float = 0.0
    build_peak_mb: float = 0.0
    search_peak_mb: float = 0.0
    search_own_mb: float = 0.0
    search_mapped_mb: float = 0.0
    resident_bytes: float = 0.0
    disk_bytes: float = 0.0
    cases: list[CaseReport] = field(default_factory=list)

    def case(self, modality: str, kind: str = "none", share: float | None = None) -> CaseReport | None:
        """Return one case; None if it was not measured."""
        for case in self.cases:
            if (case.modality, case.kind) == (modality, kind) and share in (None, case.share) and not case.unmeasured:
                return case
        return None


@dataclass(frozen=True)
class IndexReport:
    """All that was measured.

    Attributes:
        target: recall@100 that everything is tuned to.
        cores: of the machine, and threads of the measurement on all of them.
        load: the machine's load at the beginning of each turn; what else runs makes all figures smaller.
        stolen: share of the CPU time that the machine's host gave to others.
    """

    name: str
    rows: int
    dim: int
    target: float
    cores: int
    load: list[float]
    stolen: float
    contenders: list[ContenderReport]

    @property
    def modalities(self) -> list[str]:
        """Modalities of the queries, in the order in which they were measured."""
        return list(dict.fromkeys(case.modality for contender in self.contenders for case in contender.cases))

    @property
    def measured(self) -> list[ContenderReport]:
        """Contenders with figures."""
        return [contender for contender in self.contenders if not contender.error]
