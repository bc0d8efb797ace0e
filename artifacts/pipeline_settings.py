"""The settings of the pipeline and of the stream: name, default, meaning. `artifacts.settings` reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings

from artifacts.config import Codec, EngineKind, check_no_credentials


def number_of_bytes(value: Any) -> int:
    """Parse a size in bytes: a number, alone or with a unit of 1000 (K, M, G, T) or 1024 (KiB, MiB, GiB, TiB).

    Raises:
        ValueError: it is no such text.
    """
    if isinstance(value, str) and not value.strip():
        return 0
    try:
        return int(TypeAdapter(ByteSize).validate_python(value))
    except ValidationError:
        raise ValueError(f"{value!r} is not a size such as 16G or 800M") from None


class PipelineSettings(BaseSettings):
    """Where everything is, and how a catalog becomes a release."""

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
    picture_base: str = Field(
        default="", description="Folder or URL that relative pictures start from; empty: the folder of the catalog."
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
        default=10_000, ge=1, description="Pictures of one shard that a build or a refresh asks for changes, at most."
    )
    allow_private_addresses: bool = Field(
        default=False,
        description="Let catalog URLs lead to loopback and private networks (a shop's own picture server).",
    )
    user_agent: str = Field(default="Lookalike/0.1 (+product image search)", description="User-Agent of the downloads.")
    embed_batch: int = Field(default=64, ge=1, le=4096, description="Pictures in one call of the model.")

    # ── the index ────────────────────────────────────────────────────────────────────────────────────────────────
    codec: Codec = Field(
        default="pq",
        description="How the index codes vectors: pq, opq, rabitq, sq8; hnsw and flat keep them exact; auto takes the "
        "best that fits memory_budget.",
    )
    memory_budget: Annotated[int, BeforeValidator(number_of_bytes)] = Field(
        default=0,
        ge=0,
        description="Memory that the index of a segment may take, such as 16G or 800M; a codec that takes more is "
        "refused. 0 or empty: no limit.",
    )
    nlist: int = Field(default=0, ge=0, le=4_194_304, description="IVF lists of the index; 0: by the number of rows.")
    flat_max_rows: int = Field(
        default=20_000, ge=0, description="Up to so many rows the index is flat: exact, no training."
    )
    rows_per_index: int = Field(
        default=4_000_000, ge=1, description="Rows in one part of a segment, with a FAISS file of its own."
    )
    train_rows_per_list: int = Field(default=64, ge=1, le=1000, description="Training vectors for each IVF list.")
    index_device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda|cuda:\d+)$",
        description="Where the index is trained and its rows are assigned, with the same result: auto, cpu, cuda, "
        "cuda:1, …",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the training sample and of the evaluation's queries.")

    # ── the engine ───────────────────────────────────────────────────────────────────────────────────────────────
    engine: EngineKind = Field(
        default="faiss",
        description="What finds the candidates of a search: faiss, or an engine that builds load: pgvector, milvus, "
        "qdrant, pinecone.",
    )
    engine_url: str = Field(
        default="",
        description="Address of the engine, without credentials. Manifests record it; a server may use another.",
    )
    engine_key: SecretStr = Field(
        default=SecretStr(""), description="Credential of the engine: a token, or user:password. Recorded nowhere."
    )
    engine_vectors: Literal["server", "engine"] = Field(
        default="server",
        description="Where a server takes vectors and scores from: files of its own, or the engine, so that it needs "
        "no disk for vectors.",
    )
    engine_options: str = Field(
        default="", description="How the engine builds its index, as a JSON object; docs/engines.md lists the names."
    )

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
        default=5,
        ge=1,
        description="Newest versions to keep; CURRENT, the newest one of the base before and those of the last five "
        "minutes stay, too.",
    )

    # ── refreshes ────────────────────────────────────────────────────────────────────────────────────────────────
    retry_minutes: float = Field(
        default=60, ge=0, description="Minutes until a refresh tries pictures again whose failure may have passed."
    )
    tombstone_days: float = Field(
        default=7, ge=0, description="Days for which a deletion is remembered, so that an older event cannot undo it."
    )

    compact_share: float = Field(
        default=0.1,
        gt=0,
        description="Share of the base's rows that a delta may touch before it is due to be merged.",
    )
    compact_hours: float = Field(default=24, gt=0, description="Hours after which a delta is due to be merged.")
    max_drift: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="Drift of the quantizer from which a build is advised; a build trains anew from half of it on.",
    )

    @field_validator("engine_options")
    @classmethod
    def _check_engine_options(cls, value: str) -> str:
        json_values("engine_options", value)
        return value

    @field_validator("engine_url")
    @classmethod
    def _check_engine_url(cls, value: str) -> str:
        check_no_credentials("engine_url", value)
        return value


class StreamSettings(BaseSettings):
    """How product events come from Kafka."""

    # ── the stream ───────────────────────────────────────────────────────────────────────────────────────────────
    kafka_servers: str = Field(default="", description="Kafka brokers of the events: host:port, separated by commas.")
    kafka_topics: str = Field(
        default="product-events", min_length=1, description="Topics of the shop's events, separated by commas."
    )
    kafka_group: str = Field(
        default="lookalike", min_length=1, description="Consumer group that the offsets are committed for."
    )
    kafka_retry_topic: str = Field(
        default="product-events-retry", min_length=1, description="Topic of events whose pictures are tried again."
    )
    kafka_dead_letter_topic: str = Field(
        default="product-events-dead", min_length=1, description="Topic of events that were refused, with the reason."
    )
    kafka_options: SecretStr = Field(
        default=SecretStr(""),
        description="Further options of librdkafka, as a JSON object: TLS, SASL, timeouts.",
    )
    stream_batch_seconds: float = Field(
        default=10, gt=0, le=3600, description="Seconds that events are gathered before they are applied together."
    )
    stream_batch_events: int = Field(
        default=20_000, ge=1, le=1_000_000, description="Events that are applied together, at most."
    )
    stream_retries: int = Field(
        default=5, ge=0, le=20, description="Further tries of an event whose picture failed for a reason that may pass."
    )
    stream_retry_seconds: float = Field(
        default=30, gt=0, le=3600, description="Seconds before the first of these tries; doubled for each further one."
    )
    stream_future_seconds: float = Field(
        default=300, ge=0, description="Seconds that an event's time may be ahead of this machine's clock."
    )
    stream_metrics_host: str = Field(
        default="127.0.0.1", description="Address that the stream's metrics are served on."
    )
    stream_metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Port that the stream's metrics are served on; 0: none."
    )

    @field_validator("kafka_options")
    @classmethod
    def _check_options(cls, value: SecretStr) -> SecretStr:
        json_object(value)
        return value


def json_values(name: str, text: str) -> dict[str, int | float | str]:
    """Parse a setting that is a JSON object of numbers and texts; empty text is an empty object.

    Raises:
        ValueError: it is not.
    """
    try:
        options = json.loads(text) if text.strip() else {}
    except json.JSONDecodeError:
        options = None
    if not isinstance(options, dict) or any(
        isinstance(value, bool) or not isinstance(value, int | float | str) for value in options.values()
    ):
        raise ValueError(f'{name}: {text!r} is not a JSON object of numbers and texts, such as {{"m": 16}}')
    return options


def json_object(secret: SecretStr) -> dict[str, str]:
    """Parse a setting that is a JSON object of plain values; empty text is an empty object.

    Raises:
        ValueError: it is not; the message does not repeat the value.
    """
    text = secret.get_secret_value().strip()
    problem = 'is not a JSON object such as {"security.protocol": "SASL_SSL"}'
    try:
        options = json.loads(text) if text else {}
    except json.JSONDecodeError:
        raise ValueError(problem) from None
    if not isinstance(options, dict) or any(isinstance(value, dict | list) for value in options.values()):
        raise ValueError(problem)
    # librdkafka takes "true", not "True".
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in options.items()}
