"""What a delta costs: a base alone, with one delta, and with the last of a day's deltas, searched in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from artifacts.config import GateConfig, IndexConfig
from artifacts.index.devices.threads import one_thread
from artifacts.index.params import SearchParams
from artifacts.products.filters import Condition, Filter
from artifacts.release.release import Release
from artifacts.segments.info import read_info, sha256_of_info, totals
from artifacts.segments.segment import Segment
from artifacts.store.manifest import Counts, Manifest, SegmentRef
from jobs.bench.catalog import BenchCatalog, drawn_catalog
from jobs.bench.refresh.changes import draw_changes, write_delta, write_deltas
from jobs.bench.search import calibrate_searcher, exact_scores, row_scores
from jobs.evaluate.calibration import DEPTH, recall
from jobs.progress import Reporter

_QUERIES = 300
#: Turns of a filter, of a facet and of opening, as shares of the turns of a search.
_STATEMENTS, _OPENINGS = 0.25, 0.03
_FACET_VALUES = 101

#: What is searched: the base alone, with a delta that was written at once, and with the last of many.
BASE, DELTA, LAST = RELEASES = ("base", "delta", "last of many")


@dataclass(frozen=True)
class Cost:
    """One operation on the releases.

    Attributes:
        name: of the operation.
        limit: highest ratio that is aimed at.
        p50_ms, p95_ms: by name of the release.
        ratio: by name of the release with a delta, the median of each turn's time over that of the base alone.
    """

    name: str
    limit: float
    p50_ms: dict[str, float]
    p95_ms: dict[str, float]
    ratio: dict[str, float]


@dataclass(frozen=True)
class DeltaReport:
    """All that was measured."""

    name: str
    changes: int  # products
    delta_rows: int
    refreshes: int
    params: SearchParams
    recall_at_100: dict[str, float]  # by release
    costs: list[Cost]
    write_seconds: float  # of the delta that was written at once
    refresh_seconds: list[float]  # of writing each of the many


@dataclass(frozen=True)
class _Operation:
    """What is timed on each release.

    Attributes:
        turns: of those of a search, 0 to 1.
        run: does it once, given the name of a release and the number of the turn; returns its milliseconds.
    """

    name: str
    limit: float
    turns: float
    run: Callable[[str, int], float]


def measure_delta(
    rows: int,
    dim: int,
    share: float,
    refreshes: int,
    index: IndexConfig,
    gate: GateConfig,
    folder: Path,
    reporter: Reporter,
    *,
    turns: int = 900,
) -> DeltaReport:
    """Measure searches, filters, facets and opening, without a delta and with one.

    Args:
        rows: of the base.
        dim: of its vectors.
        share: of its products that change, a quarter of each kind.
        refreshes: deltas that the same changes are written in once more, one after the other.
        index: how the base is built.
        gate: the recall target, which searches are calibrated for on the base alone.
        folder: keeps the base for later runs.
        reporter: shows every step.
        turns: of a search; other operations have fewer.
    """
    with reporter.step("index", "vectors") as display:
        catalog = drawn_catalog(rows, dim, _QUERIES, index, folder, progress=display.at)
        display.note(catalog.name)
    base = catalog.segment
    with tempfile.TemporaryDirectory(prefix="deltas-", dir=folder) as scratch:
        changes = draw_changes(base, share, index.seed)
        with reporter.step("deltas", "refreshes") as display:
            began = time.perf_counter()
            delta = Path(scratch) / "delta"
            write_delta(delta, base, changes)
            write_seconds = round(time.perf_counter() - began, 4)
            last, seconds = write_deltas(Path(scratch), base, list(changes.split(refreshes)), display.at)
            display.note(f"the last of {refreshes} in {seconds[-1]:.2f} s")
        base.close()
        folders = {BASE: [base.folder], DELTA: [base.folder, delta], LAST: [base.folder, last]}
        with reporter.step("opening", "turns") as display:
            costs = _measure(_openings(folders), turns, display.at)
        releases = {name: _open(paths) for name, paths in folders.items()}
        try:
            with reporter.step("measure", "turns") as display:
                vectors, searcher = catalog.queries[0].vectors, releases[BASE].searcher
                params = calibrate_searcher(searcher, vectors, exact_scores(searcher, vectors), gate.recall_target)
                recalls = {name: _recall(release, vectors, params) for name, release in releases.items()}
                costs = _measure(_searches(releases, catalog, params), turns, display.at) + costs
        finally:
            for release in releases.values():
                release.close()
        return DeltaReport(
            catalog.name, changes.products, read_info(delta).rows, refreshes, params, recalls, costs, write_seconds,
            seconds,
        )  # fmt: skip


def _open(folders: Sequence[Path], opened: Sequence[Segment] = ()) -> Release:
    """Open segments as a release, as a server does: their files have been verified before."""
    infos = [read_info(folder) for folder in folders]
    references = [
        SegmentRef(id=info.id, rows=info.rows, products=info.products, bytes=0, info_sha256=sha256_of_info(folder))
        for info, folder in zip(infos, folders, strict=True)
    ]
    products, pictures = totals(infos)
    manifest = Manifest(
        version="bench",
        created_at=datetime.now(UTC),
        encoder={"id": infos[0].encoder_id},
        segments=references,
        search={},
        counts=Counts(input_rows=products, indexed=products, pictures=pictures),
    )
    return Release(manifest, folders, verify=False, opened=opened)


def _recall(release: Release, vectors: np.ndarray, params: SearchParams) -> float:
    found, truth = row_scores(release.searcher, vectors, params), exact_scores(release.searcher, vectors)
    return round(recall(found, truth, DEPTH), 4)


def _openings(folders: dict[str, list[Path]]) -> list[_Operation]:
    """Opening each release, while no other one is open, and while the base alone is.

    DuckDB shares a file that is open already, so nothing else may be open while the base is opened.
    """

    def cold(name: str, turn: int) -> float:
        began = time.perf_counter()
        release = _open(folders[name])
        milliseconds = (time.perf_counter() - began) * 1000
        release.close()
        return milliseconds

    def after_refresh(name: str, turn: int) -> float:
        if name == BASE:
            return cold(name, turn)
        served = _open(folders[BASE])
        began = time.perf_counter()
        release = _open(folders[name], served.segments)
        milliseconds = (time.perf_counter() - began) * 1000
        release.close()
        return milliseconds

    return [
        _Operation("opening after a refresh", 1.25, _OPENINGS, after_refresh),
        _Operation("opening from nothing", 2.0, _OPENINGS, cold),
    ]


def _searches(releases: dict[str, Release], catalog: BenchCatalog, params: SearchParams) -> list[_Operation]:
    """Searches without a filter, filters that no cache has, and facets."""
    vectors, filters = catalog.queries[0].vectors, _Filters(catalog)

    def timed(run: Callable[[Release, int], object]) -> Callable[[str, int], float]:
        def run_timed(name: str, turn: int) -> float:
            began = time.perf_counter()
            run(releases[name], turn)
            return (time.perf_counter() - began) * 1000

        return run_timed

    def search(release: Release, turn: int) -> object:
        return release.search(vectors[turn % len(vectors)][None], DEPTH, params)

    def facet(release: Release, turn: int) -> object:
        return release.facet(("category", "brand")[turn % 2], (), limit=_FACET_VALUES)

    def filtered_facet(release: Release, turn: int) -> object:
        return release.facet("brand", (filters.narrow, filters.wide)[turn % 2](turn), limit=_FACET_VALUES)

    return [
        _Operation("search without a filter", 1.15, 1, timed(search)),
        _Operation("new filter, narrow", 1.25, _STATEMENTS, timed(lambda r, turn: r.row_filter(filters.narrow(turn)))),
        _Operation("new filter, wide", 1.25, _STATEMENTS, timed(lambda r, turn: r.row_filter(filters.wide(turn)))),
        _Operation("facet of all products", 1.3, _STATEMENTS, timed(facet)),
        _Operation("facet under a new filter", 1.3, _STATEMENTS, timed(filtered_facet)),
    ]


class _Filters:
    """Filters of which no two are equal, so that no cache has them."""

    def __init__(self, catalog: BenchCatalog) -> None:
        self._categories = sorted(set(catalog.categories.tolist()) - {None})

    def narrow(self, turn: int) -> Filter:
        """One category of products up to a price: at most 17 % of the products, and 0.1 % for most categories."""
        category = self._categories[turn % len(self._categories)]
        return (Condition("category", any_of=(category,)), Condition("price", maximum=40 + turn * 1e-6))

    def wide(self, turn: int) -> Filter:
        """Products up to a price, in turn without a brand and with a rating: a third to two thirds of them."""
        price = Condition("price", maximum=50 + turn * 1e-6)
        further = ((), (Condition("brand", none_of=("brand 7",)),), (Condition("avg_rating", minimum=3.0),))[turn % 3]
        return (price, *further)


def _measure(operations: Sequence[_Operation], turns: int, progress: Callable[[int, int], None]) -> list[Cost]:
    """Measure each operation on one thread, in turns of all releases that each begin with another one."""
    counts = [max(3, round(operation.turns * turns)) for operation in operations]
    costs: list[Cost] = []
    done = 0
    with one_thread():
        for operation, count in zip(operations, counts, strict=True):
            for name in RELEASES:
                operation.run(name, count)  # to warm up
            times = np.empty((count, len(RELEASES)))
            for turn in range(count):
                for position in np.roll(np.arange(len(RELEASES)), turn).tolist():
                    times[turn, position] = operation.run(RELEASES[position], turn)
                progress(done := done + 1, sum(counts))
            costs.append(_cost(operation, times))
    return costs


def _cost(operation: _Operation, times: np.ndarray) -> Cost:
    """Summarize milliseconds float64[turns, releases]."""
    ratios = times / times[:, :1]

    def by_name(values: np.ndarray) -> dict[str, float]:
        return dict(zip(RELEASES, values.round(4).tolist(), strict=True))

    ratio = by_name(np.median(ratios, axis=0))
    ratio.pop(BASE)
    return Cost(
        operation.name,
        operation.limit,
        by_name(np.percentile(times, 50, axis=0)),
        by_name(np.percentile(times, 95, axis=0)),
        ratio,
    )
