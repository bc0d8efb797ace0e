"""Mistakes about the engine that are noticed before anything is downloaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.errors import EngineError, EngineUnavailable, InputError
from jobs.embed.step import run_encoder
from jobs.steps import StepContext
from tests.pipeline import small_settings
from tests.qdrant_server import QdrantServer

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used:UserWarning")


def begin(folder: Path, **settings: object) -> None:
    run_encoder(StepContext.open(small_settings(folder, **settings).pipeline))


@pytest.fixture(scope="module")
def qdrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    server = QdrantServer(tmp_path_factory.mktemp("qdrant"), "s3cret")
    server.start()
    yield server
    server.kill()


def test_engine_without_an_address_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="engine_url: say where milvus is"):
        begin(tmp_path, engine="milvus")


@pytest.mark.parametrize(
    ("kind", "url", "key"),
    [
        ("milvus", "http://127.0.0.1:9", ""),
        ("qdrant", "http://127.0.0.1:9", ""),
        ("pgvector", "postgresql://127.0.0.1:9/shop", ""),
        ("pinecone", "http://127.0.0.1:9", "key"),
    ],
)
def test_unknown_option_is_noticed_without_asking_the_engine(tmp_path: Path, kind: str, url: str, key: str) -> None:
    with pytest.raises(EngineError, match=r"option.*colour") as raised:
        begin(tmp_path, engine=kind, engine_url=url, engine_key=key, engine_options='{"colour": 1}')
    assert not isinstance(raised.value, EngineUnavailable)


def test_client_that_is_not_installed_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith(("qdrant_client", "artifacts.engines.qdrant")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(EngineError, match=r"lookalike\[qdrant\]"):
        begin(tmp_path, engine="qdrant", engine_url="http://127.0.0.1:9")


def test_engine_that_does_not_answer_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"qdrant at http://127\.0\.0\.1:9"):
        begin(tmp_path, engine="qdrant", engine_url="http://127.0.0.1:9")


def test_wrong_credential_is_noticed_and_the_right_one_taken(tmp_path: Path, qdrant: QdrantServer) -> None:
    with pytest.raises(EngineError, match="engine_key") as raised:
        begin(tmp_path, engine="qdrant", engine_url=qdrant.url, engine_key="wr0ng")
    assert "wr0ng" not in str(raised.value)
    begin(tmp_path, engine="qdrant", engine_url=qdrant.url, engine_key="s3cret", engine_options='{"m": 8}')
