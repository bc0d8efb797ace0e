"""A peer that scores every row. Its kinds of index misbehave as their names say; `exact` does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
from protocol import Case, Index, K, RowFilter, Search, Setting
from stages import run


class Fake(Index):
    """Keeps the vectors in a file."""

    def build(self) -> dict[str, Any]:
        if self.task.index == "dies":
            raise RuntimeError("no such luck")
        if self.task.index == "hangs":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            (self.task.folder / "child").write_text(str(child.pid))
            time.sleep(600)
        np.save(self.task.folder / "rows.npy", self.task.vectors.astype(np.float32))
        with (self.task.folder.parent / "builds").open("a") as file:
            file.write("built\n")
        return {"version": "1", "description": "every row", "resident_bytes": 4 * self.task.vectors.size}

    def open(self) -> None:
        if self.task.index == "ends":
            os.abort()
        assert os.environ["OMP_NUM_THREADS"] == os.environ["RAYON_NUM_THREADS"] == str(self.task.threads)
        assert len(os.sched_getaffinity(0)) == self.task.threads
        self.rows = np.load(self.task.folder / "rows.npy")
        if self.task.index == "unfiltered":
            self.unfiltered = "it has no filters"

    def sweeps(self, case: Case) -> list[list[Setting]]:
        return [[{"share": 0.25}, {"share": 0.5}, {"share": 1.0}, {"share": 1.5}, {"share": 2.0}]]

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        allowed = np.ones(len(self.rows), bool) if row_filter is None else row_filter.allowed
        if self.task.index == "careless":
            allowed = np.ones(len(self.rows), bool)  # forgets the filter
        rows = np.flatnonzero(allowed)
        rows = rows[: max(1, int(setting["share"] * len(rows)))]

        def search(query: np.ndarray) -> np.ndarray:
            return rows[np.argsort(-(self.rows[rows] @ query), kind="stable")[:K]]

        return search


if __name__ == "__main__":
    run(Fake)
