"""The settings of the server, and of the embedding store that it shares with the pipeline: name, default, meaning.

`artifacts.settings` reads them.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from artifacts.config import check_no_credentials


class EmbeddingStoreSettings(BaseSettings):
    """Where workspaces, catalogs and servers share vectors."""

    # ── the embedding store ──────────────────────────────────────────────────────────────────────────────────────
    embedding_store: str = Field(
        default="",
        description="Where workspaces, catalogs and servers share vectors: a folder or fsspec URL (Parquet), "
        "postgresql://… or redis://…, without credentials; empty: nowhere.",
    )
    embedding_store_key: SecretStr = Field(
        default=SecretStr(""), description="user:password of the PostgreSQL or Redis of embedding_store."
    )
    embedding_store_days: float = Field(
        default=30, ge=0, le=36_500, description="Days that a Redis keeps vectors; 0: until it evicts them."
    )

    @field_validator("embedding_store")
    @classmethod
    def _check_embedding_store(cls, value: str) -> str:
        check_no_credentials("embedding_store", value)
        # Tasks of Spark run in another working directory: a relative path would lead elsewhere there.
        return value if not value or "://" in value else str(Path(value).expanduser().absolute())

    @field_validator("embedding_store_key")
    @classmethod
    def _check_embedding_store_key(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and ":" not in value.get_secret_value():
            raise ValueError("is not like user:password; for a Redis without users, :password")
        return value


class ServerSettings(BaseSettings):
    """How releases are served, and results ranked."""

    # ── the server ───────────────────────────────────────────────────────────────────────────────────────────────
    host: str = Field(default="127.0.0.1", description="Address the server listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port the server listens on; 0 takes a free one.")
    workers: int = Field(default=1, ge=1, le=256, description="Server processes; all map the same index.")
    threads: int = Field(default=16, ge=1, le=256, description="Searches one server process works on at once.")
    queue: int = Field(
        default=64, ge=0, le=10_000, description="Searches that may wait in a server process; more of them get 503."
    )
    deadline_seconds: float = Field(
        default=2, gt=0, description="Seconds a search may take, waiting included; one that would not make it gets 503."
    )
    native_threads: int = Field(
        default=1, ge=1, le=256, description="Threads inside one FAISS or DuckDB call of the server."
    )
    encoder_threads: int = Field(
        default=2, ge=1, le=256, description="Threads inside one call of the encoder on a CPU."
    )
    quick_texts: bool = Field(
        default=True, description="Texts of queries in bfloat16 on CPUs that compute in it: twice as fast."
    )
    search_device: str = Field(
        default="cpu",
        pattern=r"^(cpu|cuda|cuda:shards|cuda:\d+)$",
        description="Where searches without a filter run: cpu; cuda, on GPUs with a copy of the index each; "
        "cuda:shards, with a piece each; cuda:1, on that GPU.",
    )
    reload_seconds: float = Field(default=5, gt=0, description="Seconds between two looks at CURRENT.")
    max_image_bytes: int = Field(default=10_000_000, ge=1000, description="Size in bytes of one query picture.")
    max_images: int = Field(default=8, ge=1, le=64, description="Pictures in one query.")
    max_query_chars: int = Field(default=1000, ge=1, description="Characters of a text query.")
    max_filter_values: int = Field(default=200, ge=1, description="Values in all the filters of one request.")
    max_facets: int = Field(default=20, ge=1, description="Attributes counted in one request.")
    max_offset: int = Field(default=10_000, ge=0, description="How deep a caller may page.")
    max_batch: int = Field(default=64, ge=1, description="Searches in one batch.")
    cursor_seconds: float = Field(
        default=300, ge=0, description="Seconds a replaced release is kept for searches that page through it."
    )
    api_keys: SecretStr = Field(
        default=SecretStr(""), description="Keys that callers must send one of, separated by commas; none: open to all."
    )
    rate_limit: str = Field(
        default="", description="Requests a key, or an address, may make: 50/second;2000/minute; empty: any number."
    )
    trusted_proxies: int = Field(
        default=0, ge=0, le=10, description="Proxies before the server whose X-Forwarded-For is believed."
    )
    events: str = Field(
        default="", description="Folder or fsspec URL for searches and clicks, as Parquet; empty: not kept."
    )
    events_seconds: float = Field(default=60, gt=0, description="Seconds between two writings of events, at most.")
    redis_url: str = Field(
        default="", description="Redis that workers and replicas share caches and rate limits in; in process if empty."
    )
    embedding_cache_seconds: float = Field(
        default=3600, ge=0, description="Seconds that vectors of texts and pictures are kept; 0: not at all."
    )
    result_cache_seconds: float = Field(default=300, ge=0, description="Seconds that answers are kept; 0: not at all.")
    cache_bytes: int = Field(
        default=64_000_000, ge=0, description="Memory in bytes of each of the two caches, in process."
    )

    # ── ranking ──────────────────────────────────────────────────────────────────────────────────────────────────
    ranker: str = Field(
        default="linear", description="linear: the weights below; python:package.module:Class: a model of yours."
    )
    weight_popularity: float = Field(default=0.1, description="Added to a score per unit of popularity_score (0-1).")
    weight_conversion: float = Field(default=0.1, description="Added to a score per unit of conversion_rate (0-1).")
    weight_rating: float = Field(
        default=0.05, description="Added to a score where avg_rating reaches rating_threshold."
    )
    rating_threshold: float = Field(
        default=4.5, ge=0, le=5, description="avg_rating from which a product is well rated."
    )
    weight_fresh: float = Field(
        default=0.02, description="Added to a score where a product is younger than fresh_days."
    )
    fresh_days: float = Field(default=30, ge=0, description="Age in days up to which a product counts as new.")
    max_per_category: int = Field(
        default=5, ge=0, description="Products of one category before others go first; 0: no cap."
    )
