"""From a ranked list to the JSON of an answer: the page, the product rows, facets, the cursor, the explanation."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from artifacts.schema import is_http
from serving.releases.snapshot import Snapshot
from serving.search.facets import FacetCounter
from serving.search.options import SearchOptions
from serving.search.paging import Cursor
from serving.search.task import RankedHit, SearchTask


def render(task: SearchTask, snapshot: Snapshot, facets: FacetCounter, max_offset: int) -> dict[str, Any]:
    """Return a SearchAnswer without `search_id` and `query_time_ms`, which belong to one call.

    Args:
        max_offset: deepest page that gets a cursor.
    """
    options, release, version = task.options, snapshot.release, snapshot.manifest.version
    page = task.ranked[options.offset : task.end]
    rows = release.to_results([ranked.hit for ranked in page])
    excluded = release.matching(task.query.product_ids, options.conditions)
    total = release.count(options.conditions) - len(excluded)
    answer: dict[str, Any] = {
        "results": [_result(ranked, row, options) for ranked, row in zip(page, rows, strict=True)],
        "total_found": total,
        "release": version,
        "next_cursor": None,
        "facets": _facets(task, snapshot, facets) if options.facets else None,
        "explain": None,
    }
    more = len(task.ranked) > task.end or (not task.exhausted and task.end < total)
    if more and task.end <= max_offset:
        answer["next_cursor"] = Cursor(version, task.end, task.digest, options.today).encoded()
    if options.explain:
        answer["explain"] = {"params": vars(task.params), "segments": [vars(task.plan)]}
    return answer


def render_product(snapshot: Snapshot, product_id: str) -> dict[str, Any] | None:
    """Return a ProductAnswer as a dictionary, or None if the product is not in the release."""
    rows = snapshot.release.product(product_id)
    if rows is None:
        return None
    first, *others = (_with_picture_url(row) for row in rows)
    del first["picture"]
    return {**first, "pictures": [row["image_url"] for row in (first, *others)]}


def _result(ranked: RankedHit, row: dict[str, Any], options: SearchOptions) -> dict[str, Any]:
    result = {
        **_with_picture_url(row),
        "similarity_score": round(ranked.hit.score, 6),
        "score": round(ranked.score, 6),
        "duplicates": None if options.collapse is None else ranked.duplicates,
        "score_parts": None,
    }
    if options.explain:
        parts = {"similarity": ranked.hit.score} if ranked.parts is None else ranked.parts
        result["score_parts"] = {name: round(value, 6) for name, value in parts.items()}
    return result


def _facets(task: SearchTask, snapshot: Snapshot, counter: FacetCounter) -> dict[str, Any]:
    options, release = task.options, snapshot.release
    nearby = release.values(task.hits, options.facets)
    facets: dict[str, Any] = {}
    for name in options.facets:
        conditions = options.conditions
        if options.multi_select:  # the facet's other values can be ticked as well
            conditions = tuple(condition for condition in conditions if condition.column != name)
        excluded = release.values(release.matching(task.query.product_ids, conditions), [name])
        facets[name] = counter.count(
            snapshot, name, conditions, [row[name] for row in nearby], [row[name] for row in excluded]
        )
    return facets


def _with_picture_url(row: dict[str, Any]) -> dict[str, Any]:
    """Return a product row whose `image_url` a browser can fetch."""
    if is_http(row["image_url"]):
        return row
    path = f"/v1/products/{quote(row['product_id'], safe='')}/image?picture={row['picture']}"
    return {**row, "image_url": path}
