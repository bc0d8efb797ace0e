"""Which store a URL names, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.config import EmbeddingStoreConfig
from artifacts.errors import InputError
from artifacts.features.opening import open_embedding_store


def opened(url: str, key: str = "") -> str:
    store = open_embedding_store(EmbeddingStoreConfig(url, key), seconds=1)
    return type(store).__name__


def test_a_url_names_the_kind_of_the_store(tmp_path: Path) -> None:
    assert opened("") == "NoneType"
    assert opened(str(tmp_path)) == opened("memory://features") == "ParquetStore"
    assert opened("redis://127.0.0.1:1/0", "shop:s3cret") == opened("rediss://127.0.0.1:1") == "RedisStore"
    assert opened("postgresql://127.0.0.1:1/shop", "shop:s3cret") == opened("postgres://127.0.0.1") == "PostgresStore"
    assert opened("postgresql+psycopg://127.0.0.1:1/shop") == "PostgresStore"


@pytest.mark.parametrize(
    "url", ["nonsense://x", "redis://127.0.0.1/zero?socket_timeout=soon", "postgresql://127.0.0.1/shop?colour=red"]
)
def test_urls_without_a_store_are_refused_and_named(url: str) -> None:
    with pytest.raises(InputError, match="embedding_store '"):
        opened(url)


def test_a_key_for_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="embedding_store_key"):
        opened(str(tmp_path), "shop:s3cret")


def test_clients_are_imported_only_for_their_stores(tmp_path: Path) -> None:
    program = (
        "import sys; from artifacts.settings import Settings; from artifacts.features.opening import *;"
        f"open_embedding_store(Settings(embedding_store={str(tmp_path)!r}).pipeline.features, seconds=1);"
        "print([name for name in ('redis', 'psycopg') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("client", "url", "extra"), [("redis", "redis://h", "redis"), ("psycopg", "postgresql://h/d", "pgvector")]
)
def test_a_missing_client_is_named_with_its_extra(
    client: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith((client, "artifacts.features.")) and name != "artifacts.features.opening":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, client, None)
    with pytest.raises(InputError, match=rf"lookalike\[{extra}\]"):
        opened(url)
