"""`lookalike bench index`: builds, tunes and measures each contender, in turns so that a busy moment decides nothing.

Each stage of a contender is a process of its own: the build on all cores, tuning on one, and measuring on one and then
on all. One thread means one thread, on one core, for everything that the process starts. Contenders are measured in
turns, and of each the best turn counts. What was built and tuned is kept: an interrupted run goes on where it was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from artifacts.errors import LookalikeError
from jobs.bench.index.contenders import Contender, contenders_of, own_contender
from jobs.bench.index.data import COLUMNS, CaseFiles, IndexData
from jobs.bench.index.environments import Peer
from jobs.bench.index.processes import Outcome, available_cores, run_stage
from jobs.bench.index.report import CaseReport, ContenderReport, IndexReport
from jobs.bench.load.proc import StealTime
from jobs.progress import Reporter
from jobs.workspace.fingerprints import fingerprint


@dataclass(frozen=True)
class RunOptions:
    """How a run measures.

    Attributes:
        target: recall@100 to tune everything to.
        turns: measurements of each contender, in turns.
        seconds: of one measurement of one case.
        timeout: seconds that one stage of one contender may take.
        filters: whether to measure under filters too.
    """

    target: float = 0.95
    turns: int = 3
    seconds: float = 3.0
    timeout: float = 3600.0
    filters: bool = True


class _Stages:
    """The stages of one contender in its folder."""

    def __init__(self, contender: Contender, data: IndexData, options: RunOptions) -> None:
        self.contender, self._data, self._options = contender, data, options
        self.folder = data.folder / "contenders" / contender.name.replace(" ", "-")
        self._cases = [case for case in data.cases if options.filters or case.kind == "none"]

    def build(self) -> dict[str, Any]:
        """Build the index, or return the figures of the one that is kept."""
        digest = fingerprint(self.contender.inputs, self.contender.index, self.contender.command)
        kept = self._kept("build", digest)
        if kept is not None:
            return kept
        shutil.rmtree(self.folder, ignore_errors=True)
        outcome = self._run("build", threads=len(available_cores()))
        built = self._result(outcome) | {"peak_mb": outcome.peak_mb, "disk_bytes": _bytes_of(self.folder / "index")}
        return self._keep("build", digest, built)

    def tune(self) -> dict[str, Any]:
        """Choose the setting of each case, or return those that were chosen with the same index."""
        built = (self.folder / "build.json").read_text()
        digest = fingerprint(built, self._options.target, [asdict(case) for case in self._cases])
        kept = self._kept("tune", digest)
        return kept or self._keep("tune", digest, self._result(self._run("tune", threads=1)))

    def measure(self, turn: int, settings: Mapping[str, Any]) -> Outcome:
        """Measure all cases on one thread, on one core."""
        return self._run("measure", threads=1, settings=settings, turn=turn)

    def measure_all(self, settings: Mapping[str, Any]) -> Outcome:
        """Measure the cases without a filter on all cores."""
        cases = [case for case in self._cases if case.kind == "none"]
        return self._run("measure", threads=len(available_cores()), settings=settings, cases=cases)

    def _run(
        self,
        stage: str,
        *,
        threads: int,
        settings: Mapping[str, Any] | None = None,
        turn: int = 0,
        cases: Sequence[CaseFiles] | None = None,
    ) -> Outcome:
        self.folder.mkdir(parents=True, exist_ok=True)
        task, result = (self.folder / f"{stage}.{name}.json" for name in ("task", "result"))
        described = {
            "data": str(self._data.folder.absolute()), "folder": str((self.folder / "index").absolute()),
            "columns": COLUMNS, "index": self.contender.index, "threads": threads, "target": self._options.target,
            "seconds": self._options.seconds, "settings": settings or {},
            "cases": [asdict(case) for case in (self._cases if cases is None else cases)],
        }  # fmt: skip
        task.write_text(json.dumps(described) + "\n")
        cores = available_cores()
        return run_stage(
            [*self.contender.command, stage, str(task.absolute()), str(result.absolute())],
            result,
            self.folder / f"{stage}.log",
            threads=threads,
            # The turns take different cores: another program may keep one of them busy.
            cores=set(cores) if threads > 1 else {cores[turn % len(cores)]},
            seconds=self._options.timeout,
            path=self.contender.path,
        )

    def _result(self, outcome: Outcome) -> dict[str, Any]:
        if outcome.result is None:
            raise LookalikeError(outcome.error)
        return outcome.result

    def _kept(self, stage: str, digest: str) -> dict[str, Any] | None:
        path = self.folder / f"{stage}.json"
        stored = json.loads(path.read_text()) if path.exists() else {}
        return stored.get("result") if stored.get("inputs") == digest else None

    def _keep(self, stage: str, digest: str, result: dict[str, Any]) -> dict[str, Any]:
        (self.folder / f"{stage}.json").write_text(json.dumps({"inputs": digest, "result": result}) + "\n")
        return result


def measure_indexes(
    data: IndexData,
    codecs: Sequence[str],
    peers: Mapping[str, Peer],
    peers_folder: Path,
    options: RunOptions,
    reporter: Reporter,
) -> IndexReport:
    """Measure Lookalike with each codec, and each kind of index of each peer.

    Args:
        peers_folder: of the environments; those that are missing are installed.
    """
    errors: dict[str, str] = {}
    contenders = [own_contender(codec) for codec in codecs]
    if peers:
        with reporter.step("install", "peers") as step:
            for done, (name, peer) in enumerate(peers.items(), 1):
                contenders += contenders_of(name, peer, peers_folder, errors)
                step.at(done, len(peers))
            step.note(f"in {peers_folder}")
    stages = {contender.name: _Stages(contender, data, options) for contender in contenders}
    built: dict[str, dict[str, Any]] = {}
    tuned: dict[str, dict[str, Any]] = {}
    for verb, results in (("build", built), ("tune", tuned)):
        with reporter.step(verb, "indexes") as step:
            for done, (name, stage) in enumerate(stages.items(), 1):
                if name in errors:
                    continue
                step.at(done - 1, len(stages))
                try:
                    results[name] = stage.build() if verb == "build" else stage.tune()
                except LookalikeError as error:
                    errors[name] = f"{verb}: {error}"
            step.note(f"{len(results)} of {len(stages)}")
    load, stealing = [], StealTime()
    measured: dict[str, list[Outcome]] = {name: [] for name in tuned}
    with reporter.step("measure", "measurements") as step:
        total = len(tuned) * (options.turns + 1)
        for turn in range(options.turns + 1):
            load.append(round(os.getloadavg()[0], 2))
            for number, name in enumerate(tuned):
                if name in errors:
                    continue
                settings = {case: result["chosen"]["setting"] for case, result in _chosen(tuned[name]).items()}
                last = turn == options.turns
                outcome = stages[name].measure_all(settings) if last else stages[name].measure(turn, settings)
                if outcome.error:
                    errors[name] = f"measure: {outcome.error}"
                measured[name].append(outcome)
                step.at(turn * len(tuned) + number + 1, total)
        step.note(f"load {min(load)} to {max(load)}")
    reports = [
        _report(contender, data, options, built, tuned, measured, errors.get(contender.name, ""))
        for contender in contenders
    ]
    cores = len(available_cores())
    return IndexReport(data.name, data.rows, data.dim, options.target, cores, load, stealing.share(), reports)


def _chosen(tuned: dict[str, Any]) -> dict[str, Any]:
    return {name: case for name, case in tuned["cases"].items() if "chosen" in case}


def _report(
    contender: Contender,
    data: IndexData,
    options: RunOptions,
    built: Mapping[str, dict[str, Any]],
    tuned: Mapping[str, dict[str, Any]],
    measured: Mapping[str, list[Outcome]],
    error: str,
) -> ContenderReport:
    name = contender.name
    if error:
        return ContenderReport(name, contender.peer, contender.index, contender.note, error=error)
    figures = built[name]
    *turns, whole = (outcome.result["cases"] for outcome in measured[name] if outcome.result is not None)
    searched = [case for turn in turns for case in turn.values() if "unmeasured" not in case]
    cases = [
        _case_report(case, tuned[name]["cases"][case.name], [turn[case.name] for turn in turns], whole.get(case.name))
        for case in data.cases
        if options.filters or case.kind == "none"
    ]
    return ContenderReport(
        name, contender.peer, contender.index, contender.note,
        version=figures["version"],
        description=figures["description"],
        build_seconds=figures["seconds"],
        build_peak_mb=figures["peak_mb"],
        search_peak_mb=measured[name][0].peak_mb,
        search_own_mb=max(case["own_mb"] for case in searched),
        search_mapped_mb=max(case["mapped_mb"] for case in searched),
        resident_bytes=round(figures["resident_bytes"] / data.rows, 1),
        disk_bytes=round(figures["disk_bytes"] / data.rows, 1),
        cases=cases,
    )  # fmt: skip


def _case_report(
    case: CaseFiles, tuned: dict[str, Any], turns: list[dict[str, Any]], whole: dict[str, Any] | None
) -> CaseReport:
    named = (case.modality, case.kind, case.share, case.allowed)
    if "unmeasured" in tuned:
        return CaseReport(*named, unmeasured=tuned["unmeasured"])
    best = max(turns, key=lambda turn: turn["qps"])
    return CaseReport(
        *named,
        setting=tuned["chosen"]["setting"],
        turns=[turn["qps"] for turn in turns],
        qps_all=whole["qps"] if whole else 0.0,
        curve=tuned["points"],
        core_ms=min(turn["core_ms"] for turn in turns),
        first_ms=min(turn["first_ms"] for turn in turns),
        **{key: best[key] for key in ("recall_at_10", "recall_at_100", "qps", "p50_ms", "p99_ms", "queries")},
    )


def _bytes_of(folder: Path) -> int:
    """Return the bytes that a folder's files take on disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
