"""Tunes an index: for a case, the cheapest of its settings that reaches the target recall on all queries.

Imports only the standard library, NumPy and the modules beside it, since it runs in the environments of the peers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

if __package__:
    from .measuring import recall, search_once, time_each
    from .protocol import Case, Index, K, Point, Setting
else:  # in a peer's environment, as a script beside others
    from measuring import recall, search_once, time_each
    from protocol import Case, Index, K, Point, Setting

_WARM_UP = 10
#: A sweep ends where they are this many times slower than one that reaches the target. Steps of a sweep at most double
#: the work, so a sweep that is slower by as much does not win by finer steps either.
_HOPELESS = 2.0
#: A sweep ends where a step up adds less recall than this, twice in a row; not below this share of the target, since
#: the nearest IVF lists may hold no row that a filter allows.
_PLATEAU, _PLATEAU_FROM = 0.002, 0.5
#: Limits as multiples of the seconds of a measurement: of a case once a setting reaches the target, of trying a setting
#: on some of the queries, and of searching for all of them, here and when it is measured.
_CASE_LIMIT, _SOME_LIMIT, ALL_LIMIT = 30, 2, 20
#: Settings that are tried between the first that reaches the target and the last that missed it. Lookalike's
#: calibration tries one between two values of nprobe.
_BISECTIONS = 2


def tune(index: Index, case: Case) -> dict[str, Any]:
    """Return the settings that were tried, with recall and queries a second, and the chosen one.

    The settings of each sweep are tried up to the first that reaches the target, and one more; slow ones with as many
    queries as time allows. Then, the fastest sweep first, all queries are searched for: a setting that misses the
    target on these makes room for the next of its sweep, and cheaper ones are tried between it and the last that
    missed. The fastest that reaches the target is chosen; if none does, the one of the highest recall.
    """
    tuning, sweeps = _Tuning(index, case), index.sweeps(case)
    reached = [(sweep, tuning.explore(sweep)) for sweep in sweeps]
    chosen = tuning.first if index.calibrates else tuning.choose(reached)
    return {"points": [asdict(point) for point in tuning.points.values()], "chosen": asdict(chosen)}


class _Tuning:
    """The settings of one case that were tried, in this order."""

    def __init__(self, index: Index, case: Case) -> None:
        self.points: dict[str, Point] = {}
        self._index, self._case = index, case
        self._target, self._seconds = index.task.target, index.task.seconds
        self._ends = time.perf_counter() + _CASE_LIMIT * self._seconds

    @property
    def first(self) -> Point:
        return next(iter(self.points.values()))

    def explore(self, sweep: Sequence[Setting]) -> int | None:
        """Try the settings of a sweep; return the position of the first that reaches the target, None if none does."""
        first, flat, before = None, 0, -1.0
        for position, setting in enumerate(sweep):
            point = self._try(setting)
            if first is not None:
                break  # the one more
            if self._reaches(point):
                first = position
            grows = point.recall_at_100 >= before + _PLATEAU or point.recall_at_100 < _PLATEAU_FROM * self._target
            flat = 0 if grows else flat + 1
            before = point.recall_at_100
            fastest = max((point.qps for point in self.points.values() if self._reaches(point)), default=0.0)
            too_long = fastest > 0 and time.perf_counter() > self._ends
            if flat == 2 or point.qps * _HOPELESS < fastest or too_long:
                break
        return first

    def choose(self, reached: Sequence[tuple[Sequence[Setting], int | None]]) -> Point:
        """Return the setting to measure, of sweeps and where they reach the target by the queries that were tried."""
        starts = [(self._try(sweep[first]), sweep, first) for sweep, first in reached if first is not None]
        best: Point | None = None
        for point, sweep, first in sorted(starts, key=lambda start: -start[0].qps):
            if best is not None and (point.qps * _HOPELESS < best.qps or time.perf_counter() > self._ends):
                break
            found = self._cheapest(sweep[first - 1] if first else None, sweep[first:])
            best = max((one for one in (best, found) if one is not None), key=lambda one: one.qps, default=None)
        if best is not None:
            return best
        # Exploring the deepest sweep may have ended early, where recall hardly grew.
        sweep = reached[-1][0]
        tried = [setting for setting in sweep if _key(setting) in self.points]
        found = self._cheapest(tried[-1], sweep[-1:])
        if found is not None:
            return found
        return self._try(max(self.points.values(), key=lambda point: point.recall_at_100).setting, on_all=True)

    def _cheapest(self, missed: Setting | None, settings: Sequence[Setting]) -> Point | None:
        """Return the cheapest setting that reaches the target on all queries, between `missed` and the last of some."""
        for setting in settings:
            best = self._try(setting, on_all=True)
            if self._reaches(best):
                break
            missed = setting
        else:
            return None
        for _ in range(_BISECTIONS):
            middle = None if missed is None else between(missed, best.setting)
            if middle is None:
                break
            point = self._try(middle, on_all=True)
            if self._reaches(point):
                best = point
            else:
                missed = middle
        return best

    def _reaches(self, point: Point) -> bool:
        return point.recall_at_100 >= self._target

    def _try(self, setting: Setting, *, on_all: bool = False) -> Point:
        """Try a setting on as many queries as time allows, or on all; one that was tried so already stays."""
        queries, key = self._case.queries, _key(setting)
        known = self.points.get(key)
        if known is not None and (known.queries == len(queries) or not on_all):
            return known
        task, limit = self._index.task, self._seconds * (ALL_LIMIT if on_all else _SOME_LIMIT)
        search = self._index.search(setting, self._case.row_filter)
        search_once(search, queries[:_WARM_UP], self._seconds)
        found, times, _ = time_each(self._index, search, queries, self._seconds / 4, limit)
        at_10, at_100 = (recall(task, self._case, found, depth) for depth in (10, K))
        self.points[key] = Point(setting, at_10, at_100, round(len(times) / sum(times), 1), len(found))
        return self.points[key]


def between(low: Setting, high: Setting) -> Setting | None:
    """Return the setting in the middle of two by all numbers that differ; None where there is no whole number between.

    Whatever else differs is as in `high`.
    """
    middle = dict(high)
    for name, value in high.items():
        other = low.get(name)
        if isinstance(value, int) and isinstance(other, int):
            middle[name] = (value + other) // 2
        elif isinstance(value, float) and isinstance(other, float):
            middle[name] = (value + other) / 2
    return None if middle in (low, high) else middle


def _key(setting: Setting) -> str:
    return json.dumps(setting, sort_keys=True)
