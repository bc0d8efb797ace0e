"""How a segment names what an engine holds of it. Imports neither NumPy nor Arrow."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

#: Collections whose names begin with this are Lookalike's; an engine's others are never read and never dropped.
NAME_PREFIX = "lookalike_"

#: Where the vectors of a served segment are: in a file on the server, or only in the engine.
VectorsAt = Literal["server", "engine"]


class EngineRef(BaseModel):
    """The entry of a segment.json for a segment whose candidates an engine finds.

    Attributes:
        kind: of the engine: pgvector, milvus, qdrant or pinecone.
        name: of the collection, table or namespace.
        vectors: "server" if servers have the segment's vectors and score candidates exactly; "engine" if they take
            scores and vectors from the engine.
        options: what the content of the collection depends on, by the engine's own names, defaults included.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    name: str
    vectors: VectorsAt = "server"
    options: dict[str, int | float | str] = Field(default_factory=dict)


def collection_name(segment_id: str, store: str) -> str:
    """Return the name of a segment's collection.

    Args:
        store: identity of the store of releases. Two stores with the same segment have a collection each: pruning one
            must not take the other's.
    """
    return f"{NAME_PREFIX}{segment_id}_{store[:8]}"


def renamed(name: str, segment_id: str) -> str:
    """Return the name of a segment's collection beside that of another segment of the same store."""
    return f"{NAME_PREFIX}{segment_id}_{name.rpartition('_')[2]}"
