"""Caches whole answers: same release, same query, same options, same ranking, same answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from artifacts.config import RankingConfig
from serving.cache import Cache
from serving.releases.snapshot import Snapshot
from serving.responses import dumps
from serving.search.task import SearchTask


def cache_key(snapshot: Snapshot, ranking: RankingConfig, max_offset: int, task: SearchTask) -> str | None:
    """Return the key of a task's answer; None if the search explains itself, since it is then never cached.

    A ranker of the shop's own is identified by its name alone.
    """
    if task.options.explain:
        return None
    parts = (snapshot.manifest.version, ranking.ranker, ranking.weights, max_offset, task.query.digest, task.options)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cached_answers(cache: Cache, snapshot: Snapshot, tasks: Sequence[SearchTask]) -> list[dict[str, Any] | None]:
    """Return for each task its cached answer, or None."""
    keys = [task.cache_key for task in tasks if task.cache_key is not None]
    values: dict[str | None, bytes | None] = dict(zip(keys, cache.get_many(keys), strict=True))
    return [None if (value := values.get(task.cache_key)) is None else _decode(value, snapshot) for task in tasks]


def cache_answers(cache: Cache, tasks: Sequence[SearchTask]) -> None:
    """Keep the answers of these tasks."""
    cache.put_many({task.cache_key: dumps(task.answer) for task in tasks if task.cache_key is not None})


def _decode(value: bytes, snapshot: Snapshot) -> dict[str, Any] | None:
    """Return an answer of this release; None for anything else that may be stored under its key."""
    try:
        answer = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    valid = isinstance(answer, dict) and answer.get("release") == snapshot.manifest.version
    return answer if valid and isinstance(answer.get("results"), list) else None
