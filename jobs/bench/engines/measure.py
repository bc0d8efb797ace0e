"""`lookalike bench engines`: loads the same rows into each engine, and searches them beside FAISS files.

Engines are servers that run already. Each gets a segment of the same rows by the code of the load step, and is
searched through the same `Searcher` as FAISS files, with exact scores of its candidates on this machine. All are
calibrated as in the gate. Then they are measured in turns, so that a busy moment decides nothing, and the best turn of
each counts.

A server scores the rows that pass a filter by itself where they are few, at most 20,000 with an engine: that is how it
would search a small catalog, and says nothing about the engine. So filters are measured twice: with the engine or the
index finding the rows (`index`), and as the planner chooses (`planned`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from artifacts.config import IndexConfig
from artifacts.errors import EngineError
from artifacts.index.params import SearchParams
from artifacts.segments.search.searcher import Searcher
from jobs.bench.engines.cases import Case, read_cases
from jobs.bench.engines.contenders import Contender, FaissFiles, LoadedEngine
from jobs.bench.engines.named import NamedEngine
from jobs.bench.engines.report import CaseReport, ContenderReport, EnginesReport, LoadReport
from jobs.bench.engines.searches import Timed, TimedSearch, calibrated
from jobs.bench.index.data import IndexData
from jobs.bench.load.proc import StealTime
from jobs.progress import Reporter


@dataclass(frozen=True)
class EnginesOptions:
    """How a run measures.

    Attributes:
        target: recall@100 to calibrate for.
        turns: measurements of each contender.
        seconds: of one measurement of one case; all queries are searched for, however long it takes.
        threads: of the measurement with several.
    """

    target: float = 0.95
    turns: int = 3
    seconds: float = 2.0
    threads: int = 4


class _Searches:
    """The searches of one contender, and what was measured of them."""

    def __init__(self, searcher: Searcher, cases: Sequence[Case], params: dict[str, SearchParams]) -> None:
        self._searches: list[tuple[Case, str, TimedSearch]] = []
        for case in cases:
            chosen = params[case.files.modality]
            self._searches.append((case, "index", TimedSearch(searcher, case, chosen, "ivf")))
            if case.rows is not None:
                self._searches.append((case, "planned", TimedSearch(searcher, case, chosen, None)))
        self._turns: list[list[tuple[Timed, float]]] = [[] for _ in self._searches]

    def measure(self, options: EnginesOptions) -> None:
        """Measure all of them once."""
        for turns, (_, way, search) in zip(self._turns, self._searches, strict=True):
            timed = search.by_one_thread(options.seconds)
            turns.append((timed, search.by_threads(options.threads, options.seconds) if way == "index" else 0.0))

    def reports(self) -> list[CaseReport]:
        """Return the best turn of each."""
        return [
            _case_report(case, way, turns) for turns, (case, way, _) in zip(self._turns, self._searches, strict=True)
        ]


def _case_report(case: Case, way: str, turns: Sequence[tuple[Timed, float]]) -> CaseReport:
    best = max((timed for timed, _ in turns), key=lambda timed: timed.qps)
    files = case.files
    return CaseReport(
        files.modality, files.kind, files.share, files.allowed, way, best.path, len(case.queries),
        recall_at_100=round(best.recall, 4),
        qps=round(best.qps, 1),
        turns=[round(timed.qps, 1) for timed, _ in turns],
        p50_ms=round(float(np.percentile(best.milliseconds, 50)), 2),
        p99_ms=round(float(np.percentile(best.milliseconds, 99)), 2),
        qps_threads=round(max(qps for _, qps in turns), 1),
        scored=round(best.scored, 3),
    )  # fmt: skip


class _Run:
    """The contenders of a run: those that fail are left out from then on, with the reason."""

    def __init__(self, contenders: Sequence[Contender], reporter: Reporter) -> None:
        self._contenders, self._reporter = contenders, reporter
        self.errors: dict[str, str] = {}
        self.loaded: dict[str, LoadReport] = {}
        self.params: dict[str, dict[str, SearchParams]] = {}
        self.searches: dict[str, _Searches] = {}
        self.load: list[float] = []

    @property
    def working(self) -> list[Contender]:
        return [contender for contender in self._contenders if contender.name not in self.errors]

    def load_all(self) -> None:
        for contender in self._contenders:
            with self._reporter.step(contender.name, "rows") as step:
                try:
                    self.loaded[contender.name] = found = contender.load(step.at)
                    step.note(f"rows in {found.load_seconds:.1f} s, index in {found.index_seconds:.1f} s")
                except EngineError as error:
                    self._fail(contender, "load", error)
                    step.note(f"failed: {error}")

    def calibrate(self, cases: Sequence[Case], target: float) -> None:
        with self._reporter.step("calibrate", "engines") as step:
            for number, contender in enumerate(working := self.working, 1):
                searcher = Searcher(contender.segment)
                try:
                    self.params[contender.name] = params = calibrated(searcher, cases, target)
                    self.searches[contender.name] = _Searches(searcher, cases, params)
                except EngineError as error:
                    self._fail(contender, "calibrate", error)
                step.at(number, len(working))
            step.note(f"{len(self.searches)} of {len(self._contenders)}")

    def measure(self, options: EnginesOptions) -> None:
        with self._reporter.step("measure", "turns") as step:
            for turn in range(options.turns):
                self.load.append(round(os.getloadavg()[0], 2))
                for contender in self.working:
                    try:
                        self.searches[contender.name].measure(options)
                    except EngineError as error:
                        self._fail(contender, "measure", error)
                step.at(turn + 1, options.turns)
            step.note(f"load {min(self.load)} to {max(self.load)}")

    def reports(self) -> list[ContenderReport]:
        return [self._report(contender) for contender in self._contenders]

    def _report(self, contender: Contender) -> ContenderReport:
        name = contender.name
        if name in self.errors:
            return ContenderReport(name, contender.kind, error=self.errors[name], load=self.loaded.get(name))
        return replace(
            contender.sizes(), load=self.loaded[name], params=self.params[name], cases=self.searches[name].reports()
        )

    def _fail(self, contender: Contender, verb: str, error: EngineError) -> None:
        self.errors[contender.name] = f"{verb}: {error}"

    def close(self) -> None:
        """Close all, and remove what they have loaded; an engine that does not answer keeps its rows."""
        for contender in self._contenders:
            try:
                contender.close()
            except EngineError as error:
                self._reporter.console.print(f"[red]{contender.name}[/] keeps what was loaded: {error}")


def measure_engines(
    data: IndexData,
    engines: Sequence[NamedEngine],
    config: IndexConfig,
    options: EnginesOptions,
    reporter: Reporter,
) -> EnginesReport:
    """Measure FAISS files, and beside them each engine; one that fails costs its own figures only.

    Args:
        config: of the FAISS index.
    """
    folder = data.folder / "engines"
    shutil.rmtree(folder, ignore_errors=True)
    faiss = FaissFiles(data, config, folder / "faiss")
    others = [LoadedEngine(data, config, folder / str(number), engine) for number, engine in enumerate(engines)]
    run, stealing = _Run([faiss, *others], reporter), StealTime()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(run.close)
        run.load_all()
        run.calibrate(read_cases(data, faiss.segment), options.target)
        run.measure(options)
        reports = run.reports()
    return EnginesReport(
        data.name, data.rows, data.dim, options.target, options.threads, run.load, stealing.share(), reports
    )
