"""Embedding stores: vectors by encoder and picture, shared by workspaces, catalogs and servers.

`base` says what a store does; `parquet_store`, `postgres_store` and `redis_store` are the three kinds, and `opening`
opens the one that the settings name. A store is asked before the encoder and given what the encoder computes; it never
decides a result. Imports `storage`, `lease`, `config` and `postgres` only; a client is imported when its store is
opened. Start reading at `base`.
"""
