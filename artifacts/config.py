"""The settings as small values: each part of the code is given the group that it works by, never the whole table.

Fields have the names of the settings that they come from, so a setting can be followed through the code by its name.
`artifacts.settings.Settings` reads the variables and makes these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

EngineKind = Literal["faiss", "pgvector", "milvus", "qdrant", "pinecone"]
Codec = Literal["pq", "opq", "rabitq", "sq8", "hnsw", "flat", "auto"]


#: Addresses of servers, in which an @ follows credentials. In others it is part of a name: abfs://container@account.
_SERVERS = re.compile(r"(https?|rediss?|unix|postgres(ql)?(\+psycopg)?)://", re.IGNORECASE)

#: A parameter that holds a credential, after ? or &, or as in "host=127.0.0.1 password=…".
_SECRET = re.compile(
    r"(?:^|[?&;#\s])([\w.-]*(?:password|passwd|pwd|secret|token|signature|api[_-]?key)[\w.-]*)\s*=", re.IGNORECASE
)


def check_no_credentials(setting: str, url: str) -> None:
    """Check that an address, which is logged and recorded, holds no credentials.

    Args:
        setting: that the address was given as; its credentials are those of `<setting>_key`, without "_url".

    Raises:
        ValueError: it does; the message says where they belong, and does not repeat them.
    """
    place = f"{setting.removesuffix('_url')}_key"
    userinfo = (url.partition("://")[2] or url).partition("/")[0].rpartition("@")[0]
    # An unescaped slash in a password ends what should be the host.
    if ":" in userinfo or (_SERVERS.match(url) and "@" in url.partition("?")[0]):
        raise ValueError(f"contains credentials; give them as {place}")
    if found := _SECRET.search(unquote(url)):
        raise ValueError(f"contains credentials ({found[1]}); leave that out, and give them as {place}")


# ── the pipeline ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class DownloadLimits:
    """What the downloader keeps to, and the size of the pictures that it keeps."""

    picture_side: int = 512  # px, longest side
    max_pixels: int = 100_000_000
    max_picture_bytes: int = 20_000_000
    download_concurrency: int = 64
    download_per_host: int = 16
    download_rate_per_host: float = 0  # requests a second; 0: no limit
    download_retries: int = 3
    download_timeout: float = 30  # seconds
    recheck_days: float = 0  # 0: never
    recheck_batch: int = 10_000
    allow_private_addresses: bool = False
    user_agent: str = "Lookalike/0.1 (+product image search)"


@dataclass(frozen=True)
class EncoderConfig:
    """Which encoder, on which device, with how many pictures in one call of the model."""

    encoder: str
    device: str = "auto"
    embed_batch: int = 64


@dataclass(frozen=True)
class IndexConfig:
    """How the index of a segment is built."""

    codec: Codec = "pq"
    memory_budget: int = 0  # bytes of the whole segment's resident index; 0: no limit
    nlist: int = 0  # 0: by the number of rows
    flat_max_rows: int = 20_000
    rows_per_index: int = 4_000_000
    train_rows_per_list: int = 64
    index_device: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class EngineConfig:
    """What finds the candidates of a search: FAISS files of the segment, or an engine that is loaded from it."""

    engine: EngineKind = "faiss"
    engine_url: str = ""  # without credentials
    engine_key: str = field(default="", repr=False)
    engine_vectors: Literal["server", "engine"] = "server"
    engine_options: Mapping[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class EmbeddingStoreConfig:
    """Where vectors are that workspaces, catalogs and servers share."""

    embedding_store: str = ""  # without credentials; empty: nowhere
    embedding_store_key: str = field(default="", repr=False)  # user:password
    embedding_store_days: float = 30  # in Redis; 0: for ever


@dataclass(frozen=True)
class GateConfig:
    """What a candidate has to reach to be published."""

    recall_target: float = 0.95
    max_shrink: float = 0.3
    evaluation_queries: int = 300
    seed: int = 0


@dataclass(frozen=True)
class PipelineConfig:
    """Everything that the steps from a catalog to a release work by."""

    releases: str
    workspace: str
    cache: Path
    shards: int
    max_reject_rate: float
    thumbnail_side: int  # px
    keep_releases: int
    retry_minutes: float
    tombstone_days: float
    picture_base: str
    compact_share: float
    compact_hours: float
    max_drift: float
    download: DownloadLimits
    encoder: EncoderConfig
    index: IndexConfig
    gate: GateConfig
    engine: EngineConfig = field(default_factory=EngineConfig)
    features: EmbeddingStoreConfig = field(default_factory=EmbeddingStoreConfig)
    watermark_overlap_seconds: float = 300


# ── the stream ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class StreamConfig:
    """Where events come from, how they are gathered into batches, and what becomes of those that fail."""

    kafka_servers: str
    kafka_topics: tuple[str, ...]
    kafka_group: str = "lookalike"
    kafka_retry_topic: str = "product-events-retry"
    kafka_dead_letter_topic: str = "product-events-dead"
    kafka_options: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold passwords
    stream_batch_seconds: float = 10
    stream_batch_events: int = 20_000
    stream_retries: int = 5
    stream_retry_seconds: float = 30  # before the first retry; doubles with each
    stream_future_seconds: float = 300
    stream_metrics_host: str = "127.0.0.1"
    stream_metrics_port: int = 0  # 0: no metrics


# ── the server ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ServerProcesses:
    """Address, processes and threads of a server, and when it refuses searches."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int = 16
    queue: int = 64
    deadline_seconds: float = 2
    native_threads: int = 1
    encoder_threads: int = 2


@dataclass(frozen=True)
class ReleaseWatching:
    """Where a server finds releases, how often it looks, and how it loads them."""

    releases: str
    cache: Path
    encoder: str | None = None  # spec of the release's encoder on this machine; None: the spec in the manifest
    device: str = "auto"
    quick_texts: bool = True
    embed_batch: int = 64
    search_device: str = "cpu"
    reload_seconds: float = 5
    cursor_seconds: float = 300
    native_threads: int = 1
    workers: int = 1
    engine: EngineKind = "faiss"  # that the address and the credential belong to; faiss: to any
    engine_url: str = ""  # empty: the address in the manifest
    engine_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class QueryLimits:
    """The largest request that is answered."""

    max_image_bytes: int = 10_000_000
    max_images: int = 8
    max_pixels: int = 100_000_000
    max_query_chars: int = 1000
    max_filter_values: int = 200
    max_facets: int = 20
    max_offset: int = 10_000
    max_batch: int = 64
    embed_batch: int = 64  # pictures in one call of the encoder


@dataclass(frozen=True)
class RankingWeights:
    """What a product's signals add to its similarity."""

    weight_popularity: float = 0.1
    weight_conversion: float = 0.1
    weight_rating: float = 0.05
    rating_threshold: float = 4.5
    weight_fresh: float = 0.02
    fresh_days: float = 30


@dataclass(frozen=True)
class RankingConfig:
    """How results are ordered when a request does not say otherwise."""

    ranker: str = "linear"
    max_per_category: int = 5
    weights: RankingWeights = field(default_factory=RankingWeights)


@dataclass(frozen=True)
class CacheConfig:
    """Where query vectors and answers are cached, and for how long."""

    redis_url: str = ""
    embedding_cache_seconds: float = 3600
    result_cache_seconds: float = 300
    cache_bytes: int = 64_000_000


@dataclass(frozen=True)
class AccessConfig:
    """Who may ask, and how often."""

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    rate_limit: str = ""
    trusted_proxies: int = 0
    redis_url: str = ""


@dataclass(frozen=True)
class EventConfig:
    """Where searches and clicks are recorded."""

    events: str = ""
    events_seconds: float = 60


@dataclass(frozen=True)
class ServerConfig:
    """Everything that a server works by."""

    processes: ServerProcesses
    watching: ReleaseWatching
    limits: QueryLimits
    ranking: RankingConfig
    caches: CacheConfig
    access: AccessConfig
    events: EventConfig
    features: EmbeddingStoreConfig = field(default_factory=EmbeddingStoreConfig)
