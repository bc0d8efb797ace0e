"""A PostgreSQL server for tests, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psutil
import psycopg

from tests.waiting import wait_until

#: Debian keeps the programs of each version in a folder of its own, which is in no PATH.
DEBIAN = Path("/usr/lib/postgresql")


def postgres_programs() -> Path | None:
    """Return the folder with the newest `postgres` and `initdb`, or None if there is none."""
    versions = [folder for folder in DEBIAN.glob("*/bin") if (folder / "postgres").is_file()]
    if versions:
        return max(versions, key=lambda folder: float(folder.parent.name))
    program = shutil.which("postgres")
    return Path(program).resolve().parent if program else None


class PostgresServer:
    """A server whose data are removed when it is stopped; every password is accepted.

    PostgreSQL refuses to run as root: the user `postgres` of Debian's package, or `nobody`, runs it then.

    Args:
        programs: folder of `postgres` and `initdb`; None for those of this machine.
    """

    def __init__(self, programs: Path | None = None) -> None:
        self._programs = programs or postgres_programs()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="lookalike-postgres-"))
        self._user: str | None = None
        if os.getuid() == 0:
            names = {user.pw_name for user in pwd.getpwall()}
            self._user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(self.folder, self._user)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the server's database, as SQLAlchemy takes it."""
        return f"postgresql+psycopg://shop:s3cret@127.0.0.1:{self.port}/postgres"

    def connect(self) -> psycopg.Connection:
        """Return a connection that commits each statement."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="shop", dbname="postgres", autocommit=True, connect_timeout=5
        )

    def start(self) -> None:
        """Start the server, or start it again after it was killed."""
        assert self._programs is not None
        data = self.folder / "data"
        if not data.exists():
            subprocess.run(
                [self._programs / "initdb", "--pgdata", data, "--username", "shop", "--auth", "trust", "--no-sync",
                 "--encoding", "UTF8", "--no-locale"],
                check=True, stdout=subprocess.DEVNULL, user=self._user, cwd=self.folder,
            )  # fmt: skip
        options = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "timezone=America/New_York")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", data, "-p", str(self.port),
                 *(f"--{option}" for option in options)],
                stdout=log, stderr=log, user=self._user, cwd=self.folder,
            )  # fmt: skip
        wait_until(self._answers)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of the server's processes."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        for process in (postmaster, *postmaster.children()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # ends connections; a SIGTERM would wait for them
            self._process.wait(timeout=60)
            self._process = None
        shutil.rmtree(self.folder)
