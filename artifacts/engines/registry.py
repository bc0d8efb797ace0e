"""Opens an engine by its kind. Its module, and with it its client, is imported only then."""

from __future__ import annotations

import importlib

from artifacts.engines.base import Engine, EngineAddress
from artifacts.errors import EngineError

#: Kinds of engines, with the module and the class of each.
ENGINES: dict[str, tuple[str, str]] = {
    "pgvector": ("artifacts.engines.pgvector", "PgvectorEngine"),
    "milvus": ("artifacts.engines.milvus.engine", "MilvusEngine"),
    "qdrant": ("artifacts.engines.qdrant", "QdrantEngine"),
    "pinecone": ("artifacts.engines.pinecone", "PineconeEngine"),
}


def engine_class(kind: str) -> type[Engine]:
    """Return the class of an engine.

    Raises:
        EngineError: there is no such kind, or its package is not installed.
    """
    if kind not in ENGINES:
        raise EngineError(f"engine: {kind!r} is not one of {', '.join(ENGINES)}")
    module, name = ENGINES[kind]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("artifacts"):
            raise
        raise EngineError(f'engine {kind}: install its client with `pip install "lookalike[{kind}]"`') from error


def open_engine(kind: str, address: EngineAddress) -> Engine:
    """Return an engine; connections are made when they are needed.

    Raises:
        EngineError: see `engine_class`; also if the address is not one of its own.
    """
    return engine_class(kind)(address)
