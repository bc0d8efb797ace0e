"""PostgreSQL with the extension pgvector: a table for each collection.

    connections    connections of a process, and the errors of PostgreSQL in this project's words
    options        how the index of a collection is built
    table          the table of a collection: columns, rows as COPY takes them, what its comment says
    search         searches, with filters as SQL
    engine         loads, opens and drops collections

The only package that imports psycopg. Start reading at `engine`.
"""

from artifacts.engines.pgvector.engine import PgvectorEngine

__all__ = ["PgvectorEngine"]
