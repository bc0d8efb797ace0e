"""Qdrant.

engine        `QdrantEngine` and `QdrantSearch`
conversion    options, rows, filters and results as Qdrant has them
connection    the client, its timeouts and its errors
"""

from artifacts.engines.qdrant.engine import QdrantEngine

__all__ = ["QdrantEngine"]
