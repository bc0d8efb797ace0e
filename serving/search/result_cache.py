"""Whole answers that are asked for again: same release, same query, same options, same ranking, same answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from artifacts.config import RankingConfig
from serving.cache import Cache
from serving.releases.snapshot import Snapshot
from serving.responses import dumps
from serving.search.options import SearchOptions
from serving.search.query import Query


def result_keys(
    snapshot: Snapshot, ranking: RankingConfig, max_offset: int, asked: Sequence[tuple[Query, SearchOptions]]
) -> list[str | None]:
    """For each search the key of its answer; None for one that explains itself, which is never cached.

    A ranker of the shop's own is known by its name alone.
    """
    shared = (snapshot.manifest.version, ranking.ranker, ranking.weights, max_offset)
    return [
        None if options.explain else hashlib.sha256(repr((shared, query.digest, options)).encode()).hexdigest()
        for query, options in asked
    ]


def cached_results(cache: Cache, snapshot: Snapshot, keys: Sequence[str | None]) -> list[dict[str, Any] | None]:
    """For each key its answer, or None."""
    named = [key for key in keys if key is not None]
    values: dict[str | None, bytes | None] = dict(zip(named, cache.get_many(named), strict=True))
    return [None if (value := values.get(key)) is None else _read(value, snapshot) for key in keys]


def cache_results(cache: Cache, answers: Mapping[str | None, dict[str, Any]]) -> None:
    """Keep answers under their keys for the next time."""
    cache.put_many({key: dumps(answer) for key, answer in answers.items() if key is not None})


def _read(value: bytes, snapshot: Snapshot) -> dict[str, Any] | None:
    """An answer of this release; None for anything else that somebody may have put there."""
    try:
        answer = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    whole = isinstance(answer, dict) and answer.get("release") == snapshot.manifest.version
    return answer if whole and isinstance(answer.get("results"), list) else None
