"""A stage is a process of its own: its memory is measured, and it does not outlive the benchmark."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jobs.bench.index.peers.measuring import memory_held
from jobs.bench.index.processes import available_cores, run_stage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and cores are those of Linux")

_WRITER = "import sys, time; data = bytearray(80_000_000); time.sleep(0.6); open(sys.argv[1], 'w').write('{}')"
_WAITER = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"


def test_peak_is_the_memory_of_the_process(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    outcome = run_stage(
        [sys.executable, "-c", _WRITER, str(result)], result, tmp_path / "log",
        threads=1, cores={available_cores()[0]}, seconds=60, path=tmp_path,
    )  # fmt: skip
    assert (outcome.result, outcome.error) == ({}, "")
    assert 70 < outcome.peak_mb < 200


def test_process_that_writes_no_result_has_failed(tmp_path: Path) -> None:
    outcome = run_stage(
        [sys.executable, "-c", "print('nothing to say')"], tmp_path / "result.json", tmp_path / "log",
        threads=1, cores={available_cores()[0]}, seconds=60, path=tmp_path,
    )  # fmt: skip
    assert (outcome.result, outcome.error) == (None, "ended with code 0: nothing to say")


def test_memory_held_is_of_the_process_and_of_what_it_has_started(tmp_path: Path) -> None:
    before = memory_held()
    server = subprocess.Popen(
        [sys.executable, "-c", "data = bytearray(80_000_000); print(flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdout is not None
    assert server.stdout.readline() == b"\n"
    held = memory_held()
    server.communicate(b"\n")
    assert 70 < held.own_mb - before.own_mb < 200


def test_mapped_files_are_apart_from_own_memory(tmp_path: Path) -> None:
    path = tmp_path / "mapped.npy"
    np.save(path, np.ones(10_000_000, np.float32))
    before = memory_held()
    mapped = np.load(path, mmap_mode="r")
    assert mapped.sum() == 10_000_000
    held = memory_held()
    assert 35 < held.mapped_mb - before.mapped_mb < 60
    assert held.own_mb - before.own_mb < 30


def test_stage_ends_with_a_benchmark_that_is_terminated(tmp_path: Path) -> None:
    started = tmp_path / "pid"
    program = (
        "import sys; from pathlib import Path; from jobs.bench.index.processes import run_stage\n"
        f"run_stage([sys.executable, '-c', {_WAITER!r}, {str(started)!r}], Path({str(tmp_path / 'r')!r}),"
        f" Path({str(tmp_path / 'log')!r}), threads=1, cores={{{available_cores()[0]}}}, seconds=600, path=Path('/'))"
    )
    benchmark = subprocess.Popen([sys.executable, "-c", program])
    ends = time.monotonic() + 60
    while not (started.exists() and started.read_text()) and time.monotonic() < ends:
        time.sleep(0.05)
    stage = int(started.read_text())
    benchmark.send_signal(signal.SIGTERM)
    assert benchmark.wait(30) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{stage}").exists()
