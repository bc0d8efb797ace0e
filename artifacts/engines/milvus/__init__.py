"""Milvus: a collection of Milvus for each segment.

    engine        loads, opens and drops collections, and searches them
    connection    a process's connection; every call ends in time
    indexes       which index is built, with which parameters
    rows          the fields of a collection, and its rows
    expressions   filters in Milvus' own language

Start with `engine`. `connection` and `rows` import the client, pymilvus; nothing else does.
"""
