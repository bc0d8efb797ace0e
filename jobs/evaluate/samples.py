"""Sample searches for the report: a few of the queries, with their first results as a shopper would see them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from artifacts.index.params import SearchParams
from artifacts.pictures import thumbnail
from artifacts.release.release import Release
from artifacts.schema import is_http
from jobs.evaluate.queries import QuerySet

#: Results of a sample search.
_RESULTS = 8
#: Longest side of the pictures in px: with about 4 KB each, all of them take a few hundred KB in the report.
_SIDE = 128


@dataclass(frozen=True)
class SampleResult:
    """A result of a sample search; `picture` is the source of an HTML image, None if there is no picture to show."""

    product_id: str
    title: str
    score: float
    picture: str | None


@dataclass(frozen=True)
class SampleSearch:
    """A query, as a text or as the source of an HTML image, and its first results, best first."""

    text: str | None
    picture: str | None
    product_id: str  # that the query was made from
    results: list[SampleResult]


def sample_searches(
    release: Release, query_sets: Sequence[QuerySet], search: Mapping[str, SearchParams]
) -> list[SampleSearch]:
    """Search for the queries that are to be shown.

    Args:
        search: parameters by modality.
    """
    return [
        _sample(release, queries, number, search.get(queries.modality, SearchParams()))
        for queries in query_sets
        for number in sorted(queries.shown)
    ]


def _sample(release: Release, queries: QuerySet, number: int, params: SearchParams) -> SampleSearch:
    [hits], _ = release.search(queries.vectors[number : number + 1], _RESULTS, params)
    rows = release.values(hits, ["product_id", "title", "image_url"])
    results = [
        SampleResult(
            row["product_id"], row["title"] or "", hit.score, _source(release.thumbnail(hit.row), row["image_url"])
        )
        for hit, row in zip(hits, rows, strict=True)
    ]
    shown = queries.shown[number]
    text, picture = (shown, None) if isinstance(shown, str) else (None, _data_uri(shown))
    return SampleSearch(text, picture, queries.product_ids[number], results)


def _source(jpeg: bytes | None, url: str) -> str | None:
    """Return the source of an image: the stored thumbnail, or the picture's public URL."""
    if jpeg is not None:
        return _data_uri(jpeg)
    return url if is_http(url) else None


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(thumbnail(jpeg, _SIDE)).decode()}"
