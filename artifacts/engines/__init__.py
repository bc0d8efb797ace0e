"""Engines: vector databases that find candidate rows in place of a segment's index files.

    base          what an engine has to do: `Engine`, and `CollectionSearch` for the server
    reference     how a segment names what an engine holds of it
    collection    what an engine holds of one segment, and the batches that it is loaded from
    checking      compares a collection that has been loaded with its segment
    loading       writes batches with a limit of those in flight, and finds where an interrupted load goes on
    payloads      the columns of rows as JSON
    pushdown      which conditions of a filter an engine can apply
    registry      opens an engine by its kind
    pool          the engines of a process
    pgvector, milvus, qdrant, pinecone    one engine each; the only modules that import their clients

An engine holds row numbers, vectors and the columns that can be filtered on. Everything else of a segment stays with
it: product rows, facets, exact scores, deletions. A collection is named after its segment, so it never changes once it
is complete, versions share it, and `CURRENT` remains the only switch.
"""
