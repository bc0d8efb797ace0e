"""PostgreSQL with the extension pgvector: a table for each collection.

    connections    the errors of PostgreSQL in this project's words
    options        how the index of a collection is built
    table          the table of a collection: columns, rows as COPY takes them, what its comment says
    search         searches, with filters as SQL
    engine         loads, opens and drops collections

Connections are those of `artifacts.postgres`. Start reading at `engine`.
"""

from artifacts.engines.pgvector.engine import PgvectorEngine

__all__ = ["PgvectorEngine"]
