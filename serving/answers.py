"""Whole answers that are asked for again: same release, same query, same options, same ranking, same answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from artifacts.settings import Settings
from serving.cache import Cache
from serving.query import Query
from serving.requests import Options
from serving.snapshot import Snapshot

#: Settings that an answer depends on beside its options. A ranker of a shop's own is known by its name alone.
_RANKING = {
    "ranker", "weight_popularity", "weight_conversion", "weight_rating", "rating_threshold", "weight_fresh",
    "fresh_days", "max_offset",
}  # fmt: skip


def answers_known(
    cache: Cache, snapshot: Snapshot, settings: Settings, asked: Sequence[tuple[Query, Options]]
) -> list[dict[str, Any] | None]:
    """For each search its answer as plain JSON values, or None. What explains itself is always done anew."""
    keys = [_key(snapshot, settings, query, options) for query, options in asked]
    there = [place for place, (_, options) in enumerate(asked) if not options.explain]
    found: list[dict[str, Any] | None] = [None] * len(asked)
    for place, value in zip(there, cache.get_many([keys[place] for place in there]), strict=True):
        found[place] = None if value is None else _read(value, snapshot)
    return found


def keep_answers(
    cache: Cache, snapshot: Snapshot, settings: Settings, answered: Sequence[tuple[Query, Options, dict[str, Any]]]
) -> None:
    """Keep answers for the next time."""
    cache.put_many(
        {
            _key(snapshot, settings, query, options): orjson.dumps(answer)
            for query, options, answer in answered
            if not options.explain
        }
    )


def _key(snapshot: Snapshot, settings: Settings, query: Query, options: Options) -> str:
    parts = (snapshot.manifest.version, query.digest, options, sorted(settings.model_dump(include=_RANKING).items()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _read(value: bytes, snapshot: Snapshot) -> dict[str, Any] | None:
    """An answer of this release; None for anything else that somebody may have put there."""
    try:
        answer = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    whole = isinstance(answer, dict) and answer.get("release") == snapshot.manifest.version
    return answer if whole and isinstance(answer.get("results"), list) else None
