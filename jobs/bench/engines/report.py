"""What `lookalike bench engines` measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from artifacts.index.params import SearchParams

#: The name of the contender that has its index in files.
FAISS = "faiss"


@dataclass(frozen=True)
class LoadReport:
    """How long it took until the rows could be searched.

    Attributes:
        load_seconds, rows_per_second: of writing the rows to the engine; 0 for FAISS, whose rows are in files anyway.
        index_seconds: what follows until searches are possible: for engines the index and opening it, for FAISS the
            index and sealing the segment.
    """

    load_seconds: float
    rows_per_second: float
    index_seconds: float


@dataclass(frozen=True)
class CaseReport:
    """One modality under one filter.

    Attributes:
        kind: none, or unrelated: the rows that pass are about something else than the queries.
        share, allowed: of the rows, and their number.
        way: "index" if the index or the engine had to find the rows; "planned" if the planner chose, as in a server.
        path: what was chosen; see `Plan`.
        queries: that recall is of.
        qps, p50_ms, p99_ms: of one thread, one query at a time, in the best of the turns, which are in `turns`.
        qps_threads: of several threads, in the best turn; 0 where it was not measured.
        scored: share of the queries for which all rows that pass were scored on this machine, because of the plan or
            because the engine did not return enough of them.
    """

    modality: str
    kind: str
    share: float
    allowed: int
    way: str
    path: str
    queries: int
    recall_at_100: float
    qps: float
    turns: list[float]
    p50_ms: float
    p99_ms: float
    qps_threads: float
    scored: float


@dataclass(frozen=True)
class ContenderReport:
    """FAISS files, or one engine.

    Attributes:
        name: "faiss", or as the engine was named.
        description: of the index, or the engine's options.
        error: why it was not measured; empty if it was.
        params: search parameters of each modality, as calibrated.
        disk_mb: what its data grew by; of FAISS the index files. None where that is unknown.
        memory_mb: of its processes at the end, not of files; of FAISS the index. None where that is unknown.
        mapped_mb: pages of mapped files that its processes have touched, libraries among them.
        memory_before_mb: as `memory_mb`, before the rows were loaded.
    """

    name: str
    kind: str
    description: str = ""
    error: str = ""
    load: LoadReport | None = None
    params: dict[str, SearchParams] = field(default_factory=dict)
    disk_mb: float | None = None
    memory_mb: float | None = None
    mapped_mb: float | None = None
    memory_before_mb: float | None = None
    cases: list[CaseReport] = field(default_factory=list)

    def case(self, modality: str, share: float | None, way: str = "index") -> CaseReport | None:
        """Return a case by its nominal share, None for no filter; None if it was not measured."""
        for case in self.cases:
            nominal = None if case.kind == "none" else round(case.share, 2)
            if (case.modality, nominal, case.way) == (modality, share, way):
                return case
        return None


@dataclass(frozen=True)
class EnginesReport:
    """All that was measured.

    Attributes:
        target: recall@100 that everything is calibrated for.
        threads: of the measurement with several.
        load: the machine's load at the beginning of each turn; what else runs makes all figures smaller.
        stolen: share of the CPU time that the machine's host gave to others.
    """

    name: str
    rows: int
    dim: int
    target: float
    threads: int
    load: list[float]
    stolen: float
    contenders: list[ContenderReport]

    @property
    def measured(self) -> list[ContenderReport]:
        """Contenders with figures."""
        return [contender for contender in self.contenders if not contender.error]

    @property
    def modalities(self) -> list[str]:
        """Modalities of the queries, in the order in which they were measured."""
        return list(dict.fromkeys(case.modality for contender in self.measured for case in contender.cases))

    @property
    def shares(self) -> list[float]:
        """Nominal shares of the filters, in the order in which they were measured."""
        cases = [case for contender in self.measured for case in contender.cases if case.kind != "none"]
        return list(dict.fromkeys(round(case.share, 2) for case in cases))
