"""Every setting of Lookalike, in one table: name, default, meaning.

A setting is read from the environment as LOOKALIKE_<NAME>, and the command line's options override it. docs/settings.md
documents the same table; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from artifacts.config import (
    AccessConfig,
    CacheConfig,
    DownloadLimits,
    EmbeddingStoreConfig,
    EncoderConfig,
    EngineConfig,
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
    StreamConfig,
)
from artifacts.pipeline_settings import PipelineSettings, StreamSettings, json_object, json_values
from artifacts.server_settings import EmbeddingStoreSettings, ServerSettings

Group = TypeVar("Group")


class Settings(ServerSettings, EmbeddingStoreSettings, StreamSettings, PipelineSettings):
    """See the fields. Unknown LOOKALIKE_ variables are ignored; values out of range are refused by name."""

    model_config = SettingsConfigDict(env_prefix="LOOKALIKE_", frozen=True, extra="forbid", hide_input_in_errors=True)

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
            engine=self._group(
                EngineConfig,
                engine_key=self.engine_key.get_secret_value(),
                engine_options=json_values("engine_options", self.engine_options),
            ),
            features=self._features,
        )

    @property
    def stream(self) -> StreamConfig:
        """What a stream works by."""
        topics = tuple(topic.strip() for topic in self.kafka_topics.split(",") if topic.strip())
        options = json_object(self.kafka_options)
        return self._group(StreamConfig, kafka_topics=topics, kafka_options=options)

    @property
    def server(self) -> ServerConfig:
        """What a server works by."""
        keys = self.api_keys.get_secret_value().split(",")
        return ServerConfig(
            processes=self._group(ServerProcesses),
            # A release names its encoder's spec; a setting given on purpose says where to find that encoder here.
            watching=self._group(
                ReleaseWatching,
                encoder=self.encoder if "encoder" in self.model_fields_set else None,
                engine_key=self.engine_key.get_secret_value(),
            ),
            limits=self._group(QueryLimits),
            ranking=self._group(RankingConfig, weights=self._group(RankingWeights)),
            caches=self._group(CacheConfig),
            access=self._group(AccessConfig, api_keys=tuple(key.strip() for key in keys if key.strip())),
            events=self._group(EventConfig),
            features=self._features,
        )

    @property
    def _features(self) -> EmbeddingStoreConfig:
        return self._group(EmbeddingStoreConfig, embedding_store_key=self.embedding_store_key.get_secret_value())

    def _group(self, group: type[Group], **values: Any) -> Group:
        """Return a group with the settings of its fields' names, and `values` for the other fields."""
        names = {each.name for each in fields(group)} - set(values)  # type: ignore[arg-type]
        return group(**values, **{name: getattr(self, name) for name in names})


#: Names of the settings that are credentials. Their text forms, and their dumps, have stars in place of the value.
SECRETS = frozenset(name for name, field in Settings.model_fields.items() if field.annotation is SecretStr)
