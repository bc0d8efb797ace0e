"""PostgreSQL for those who keep vectors in it: the engine pgvector and the embedding store.

    connection    a connection on which every call ends in time
    pool          connections of a process to one database
    binary        vectors and rows in PostgreSQL's binary formats

Raises errors of psycopg, which callers translate. Imports nothing of artifacts. Start reading at `pool`.
"""
