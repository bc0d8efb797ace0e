"""Every setting of Lookalike, in one table: name, default, meaning.

A setting is read from the environment as LOOKALIKE_<NAME>, and the command line's options override it. docs/settings.md
documents the same table; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from artifacts.config import (
    AccessConfig,
    CacheConfig,
    Codec,
    DownloadLimits,
    EncoderConfig,
    EventConfig,
    GateConfig,
    IndexConfig,
    PipelineConfig,
    QueryLimits,
    RankingConfig,
    RankingWeights,
    ReleaseWatching,
    ServerConfig,
    ServerProcesses,
)

Group = TypeVar("Group")


class Settings(BaseSettings):
    """See the fields. Unknown LOOKALIKE_ variables are ignored; values out of range are refused by name."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_", frozen=True, extra="forbid")

    # ── where ────────────────────────────────────────────────────────────────────────────────────────────────────
    releases: str = Field(default="artifacts/releases", description="Folder or fsspec URL of the published releases.")
    workspace: str = Field(default="workspace", description="Folder or fsspec URL of what the steps keep between runs.")
    cache: Path = Field(
        default=Path("~/.cache/lookalike"),
        description="Folder on this machine for segments of releases that live on a URL.",
    )

    # ── the pipeline ─────────────────────────────────────────────────────────────────────────────────────────────
    encoder: str = Field(
        default="open_clip:ViT-B-32/laion2b_s34b_b79k", description="Encoder spec; `sample` needs no network."
    )
    device: str = Field(default="auto", description="Where the encoder runs: auto, cpu, cuda, cuda:1, …")
    shards: int = Field(
        default=16, ge=1, le=100_000, description="Parts a step's work is split in; fixed for a workspace."
    )
    max_reject_rate: float = Field(
        default=0.2, ge=0, le=1, description="Share of catalog rows that may be rejected before a build stops."
    )
    watermark_overlap_seconds: float = Field(
        default=300, ge=0, description="Seconds before its watermark from which a database is read again for changes."
    )
    picture_side: int = Field(
        default=512, ge=64, le=4096, description="Longest side in px of the pictures kept and encoded."
    )
    thumbnail_side: int = Field(default=320, ge=32, le=1024, description="Longest side in px of the stored thumbnails.")
    max_pixels: int = Field(
        default=100_000_000,
        ge=2500,
        le=178_956_970,  # Pillow itself refuses more
        description="Width x height above which a picture is not decoded.",
    )
    max_picture_bytes: int = Field(
        default=20_000_000, ge=1000, description="Size in bytes above which a download is dropped."
    )
    download_concurrency: int = Field(
        default=64, ge=1, le=1024, description="Pictures fetched at once by one worker process."
    )
    download_per_host: int = Field(default=16, ge=1, le=1024, description="Of these, at most so many from one host.")
    download_rate_per_host: float = Field(
        default=0, ge=0, description="Requests a second to a host, per worker; 0: no limit."
    )
    download_retries: int = Field(default=3, ge=0, le=20, description="Further tries after a failure that may pass.")
    download_timeout: float = Field(
        default=30, gt=0, description="Seconds one picture may take in all, tries, waits and redirects included."
    )
    recheck_days: float = Field(
        default=0, ge=0, le=36_500, description="Days after which a picture's URL is asked for changes; 0: never."
    )
    recheck_batch: int = Field(
        default=10_000, ge=1, description="Pictures of one shard that a build asks for changes, at most."
    )
    allow_private_addresses: bool = Field(
        default=False,
        description="Let catalog URLs lead to loopback and private networks (a shop's own picture server).",
    )
    user_agent: str = Field(default="Lookalike/0.1 (+product image search)", description="User-Agent of the downloads.")
    embed_batch: int = Field(default=64, ge=1, le=4096, description="Pictures in one call of the model.")

    # ── the index ────────────────────────────────────────────────────────────────────────────────────────────────
    codec: Codec = Field(
        default="pq", description="How the index codes vectors: pq, rabitq, sq8; flat keeps them exact."
    )
    flat_max_rows: int = Field(
        default=20_000, ge=0, description="Up to so many rows the index is flat: exact, no training."
    )
    rows_per_index: int = Field(default=10_000_000, ge=1, description="Rows in one FAISS file of a segment.")
    train_rows_per_list: int = Field(default=64, ge=1, le=1000, description="Training vectors for each IVF list.")
    seed: int = Field(default=0, ge=0, description="Seed of the training sample and of the evaluation's queries.")

    # ── the gate ─────────────────────────────────────────────────────────────────────────────────────────────────
    recall_target: float = Field(
        default=0.95, gt=0, le=1, description="recall@100 a release must reach to be published."
    )
    max_shrink: float = Field(
        default=0.3, ge=0, le=1, description="Share of products a new release may lose against the last."
    )
    evaluation_queries: int = Field(
        default=300, ge=10, le=100_000, description="Queries of each modality that the gate measures."
    )
    keep_releases: int = Field(
        default=5, ge=1, description="Newest versions that `releases prune` leaves; CURRENT stays too."
    )

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

    # ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def pipeline(self) -> PipelineConfig:
        """What the steps from a catalog to a release work by."""
        return self._group(
            PipelineConfig,
            download=self._group(DownloadLimits),
            encoder=self._group(EncoderConfig),
            index=self._group(IndexConfig),
            gate=self._group(GateConfig),
        )

    @property
    def server(self) -> ServerConfig:
        """What a server works by."""
        keys = self.api_keys.get_secret_value().split(",")
        return ServerConfig(
            processes=self._group(ServerProcesses),
            # A release names its encoder's spec; a setting given on purpose says where to find that encoder here.
            watching=self._group(ReleaseWatching, encoder=self.encoder if "encoder" in self.model_fields_set else None),
            limits=self._group(QueryLimits),
            ranking=self._group(RankingConfig, weights=self._group(RankingWeights)),
            caches=self._group(CacheConfig),
            access=self._group(AccessConfig, api_keys=tuple(key.strip() for key in keys if key.strip())),
            events=self._group(EventConfig),
        )

    def _group(self, group: type[Group], **values: Any) -> Group:
        """Return a group with the settings of its fields' names, and `values` for the other fields."""
        names = {each.name for each in fields(group)} - set(values)  # type: ignore[arg-type]
        return group(**values, **{name: getattr(self, name) for name in names})
