"""Pinecone.

engine        `PineconeEngine` and `PineconeSearch`
conversion    rows, filters and results as Pinecone has them, within its limits
connection    the client, its timeouts and its errors
"""

from artifacts.engines.pinecone.engine import PineconeEngine

__all__ = ["PineconeEngine"]
