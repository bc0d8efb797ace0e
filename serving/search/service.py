"""Searches from their query vectors to the pages that are shown. One search is a batch of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from artifacts.index.params import SearchParams
from artifacts.release.release import Hit
from artifacts.schema import is_http
from artifacts.segments.segment import Plan
from serving.releases.snapshot import IndexQuery, Snapshot, search_index
from serving.search.diversity import collapse_duplicates, mmr_order
from serving.search.facets import facet
from serving.search.options import SearchOptions
from serving.search.paging import PLAIN_WINDOW, WINDOW, Cursor, tiers
from serving.search.query_vector import QueryVector
from serving.search.rankers import Ranker, score_parts
from serving.search.ranking import cap_categories, order_by_value
from serving.timing import RequestTimer


@dataclass(frozen=True)
class Search:
    """One search: what is wanted, how it is to be shown, and its name among pages."""

    wanted: QueryVector
    options: SearchOptions
    digest: str


class Shown(NamedTuple):
    """A result in its place."""

    hit: Hit
    score: float
    parts: dict[str, float] | None = None  # None: similarity is all there is, or nobody asked
    duplicates: tuple[str, ...] = ()


@dataclass
class _Run:
    """A search on its way: the list so far, and what is known of its end."""

    search: Search
    params: SearchParams
    listed: list[Shown] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # products listed or folded; filled when there is a second tier
    nearest: list[Hit] = field(default_factory=list)  # of the first tier
    plans: list[Plan] = field(default_factory=list)
    exhausted: bool = False

    @property
    def last(self) -> int:
        return self.search.options.offset + self.search.options.limit

    @property
    def first_tier(self) -> int:
        return PLAIN_WINDOW if self.search.options.plain else WINDOW


def run_searches(
    snapshot: Snapshot, searches: Sequence[Search], ranker: Ranker, timer: RequestTimer, *, max_offset: int
) -> list[dict[str, Any]]:
    """Answers as the contract has them, but for what belongs to one call, in the order of the searches.

    Those with the same filter and parameters share one call of the index. No answer depends on the others.
    """
    runs = [_Run(each, _params(snapshot, each)) for each in searches]
    groups: dict[tuple[Any, ...], list[_Run]] = defaultdict(list)
    for run in runs:
        groups[run.search.options.conditions, run.params, run.first_tier].append(run)
    for (_, _, first), group in groups.items():
        for depth in tiers(first):
            group = [run for run in group if not run.exhausted and len(run.listed) < run.last]
            if not group:
                break
            found = _found(snapshot, group, depth)
            timer.mark("search")
            for run, hits in zip(group, found, strict=True):
                _extend(snapshot, run, hits, depth, ranker)
            timer.mark("rank")
    answers = [_answer(snapshot, run, max_offset) for run in runs]
    timer.mark("enrich")
    for run, answer in zip(runs, answers, strict=True):
        if run.search.options.explain:
            answer["explain"]["milliseconds"] = timer.stages
    return answers


def _params(snapshot: Snapshot, search: Search) -> SearchParams:
    params = snapshot.params(search.wanted.kind)
    return params.deeper(search.options.recall) if search.options.recall > 1 else params


def _found(snapshot: Snapshot, group: Sequence[_Run], depth: int) -> list[list[Hit]]:
    queries = [
        IndexQuery(
            run.search.wanted.vector, depth, run.params, run.search.options.conditions, run.search.wanted.without
        )
        for run in group
    ]
    # A plan tells of all the queries of a call, so what explains itself has a call of its own.
    alone = any(run.search.options.explain for run in group)
    found = search_index(snapshot.release, queries) if alone else snapshot.search(queries)
    for run, (_, plans) in zip(group, found, strict=True):
        run.plans = plans
    return [hits for hits, _ in found]


def _extend(snapshot: Snapshot, run: _Run, hits: list[Hit], depth: int, ranker: Ranker) -> None:
    """Append a tier to the list: the first one ranked, the products that later ones add by similarity."""
    # What is sorted by an attribute ends with the first tier: what is less similar would come in between.
    run.exhausted = len(hits) < depth or run.search.options.sort is not None
    if not run.nearest:
        run.nearest = hits
        run.listed = _ranked(snapshot, hits, run.search.options, ranker, run.last + 1)
        return
    release = snapshot.release
    run.seen.update(release.product_ids(run.nearest))
    ids = release.product_ids(hits)
    run.listed += [Shown(hit, hit.score) for hit, name in zip(hits, ids, strict=True) if name not in run.seen]
    run.seen.update(ids)


def _ranked(snapshot: Snapshot, hits: list[Hit], options: SearchOptions, ranker: Ranker, most: int) -> list[Shown]:
    """The first `most` products to show, in order: score, fold duplicates, spread looks, spread categories."""
    if options.plain:
        return [Shown(hit, hit.score) for hit in hits[:most]]
    if not hits:
        return []
    release = snapshot.release
    columns = set(ranker.columns) if options.rerank else set()
    if options.max_per_category:
        columns.add("category")
    products = release.arrays(hits, columns)
    parts: dict[str, np.ndarray] = {}
    scores = np.array([hit.score for hit in hits])
    if options.rerank:
        parts, scores = score_parts(ranker, scores, products, options.today)
    # A stable sort: equal scores stay in the order of similarity.
    order = np.argsort(-scores, kind="stable")
    folded: dict[int, list[int]] = {}
    if options.collapse is not None or options.diversity:
        vectors = release.vectors(hits)[order]
        if options.collapse is not None:
            kept = collapse_duplicates(vectors, options.collapse)
            folded = {int(order[place]): [int(order[each]) for each in others] for place, others in kept.items()}
            vectors, order = vectors[list(kept)], order[list(kept)]
        if options.diversity:
            order = order[mmr_order(scores[order], vectors, options.diversity)]
    if options.max_per_category:
        categories = products["category"][order].tolist()
        order = order[cap_categories(categories, options.max_per_category, options.categories)]
    if options.sort:  # the last word
        column, highest = options.sort
        rows = release.values([hits[place] for place in order.tolist()], [column])
        order = order[order_by_value([row[column] for row in rows], highest=highest)]
    explained = options.explain and options.rerank
    return [
        Shown(
            hits[place],
            float(scores[place]),
            {name: float(values[place]) for name, values in parts.items() if values[place]} if explained else None,
            tuple(release.product_ids([hits[other] for other in folded[place]])) if folded.get(place) else (),
        )
        for place in order.tolist()[:most]
    ]


def _answer(snapshot: Snapshot, run: _Run, max_offset: int) -> dict[str, Any]:
    options, wanted, version = run.search.options, run.search.wanted, snapshot.manifest.version
    page = run.listed[options.offset : run.last]
    rows = snapshot.release.to_results([each.hit for each in page])
    total = snapshot.release.count(options.conditions)
    total -= len(snapshot.release.matching(wanted.without, options.conditions))
    answer: dict[str, Any] = {
        "results": [_result(each, row, options) for each, row in zip(page, rows, strict=True)],
        "total_found": total,
        "release": version,
        "next_cursor": None,
        "facets": None,
        "explain": None,
    }
    more = len(run.listed) > run.last or (not run.exhausted and run.last < total)
    if more and run.last <= max_offset:
        answer["next_cursor"] = Cursor(version, run.last, run.search.digest, options.today).encoded()
    if options.facets:
        answer["facets"] = _facets(snapshot, run)
    if options.explain:
        answer["explain"] = {
            "params": vars(run.params),
            "segments": [vars(plan) for plan in run.plans],
        }
    return answer


def _result(each: Shown, row: dict[str, Any], options: SearchOptions) -> dict[str, Any]:
    result = {
        **_with_picture(row),
        "similarity_score": round(each.hit.score, 6),
        "score": round(each.score, 6),
        "duplicates": None if options.collapse is None else each.duplicates,
        "score_parts": None,
    }
    if options.explain:
        parts = {"similarity": each.hit.score} if each.parts is None else each.parts
        result["score_parts"] = {name: round(value, 6) for name, value in parts.items()}
    return result


def _facets(snapshot: Snapshot, run: _Run) -> dict[str, Any]:
    options = run.search.options
    near = snapshot.release.values(run.nearest, options.facets)
    found: dict[str, Any] = {}
    for name in options.facets:
        conditions = options.conditions
        if options.multi_select:  # the facet's other values can be ticked as well
            conditions = tuple(each for each in conditions if each.column != name)
        left_out = snapshot.release.values(snapshot.release.matching(run.search.wanted.without, conditions), [name])
        found[name] = facet(snapshot, name, conditions, [row[name] for row in near], [row[name] for row in left_out])
    return found


def product(snapshot: Snapshot, product_id: str) -> dict[str, Any] | None:
    """One product with all its pictures, or None if it is not in the release."""
    rows = snapshot.release.product(product_id)
    if rows is None:
        return None
    first, *others = (_with_picture(row) for row in rows)
    del first["picture"]
    return {**first, "pictures": [row["image_url"] for row in (first, *others)]}


def _with_picture(row: dict[str, Any]) -> dict[str, Any]:
    """A product row with a picture that a browser can fetch."""
    if is_http(row["image_url"]):
        return row
    path = f"/v1/products/{quote(row['product_id'], safe='')}/image?picture={row['picture']}"
    return {**row, "image_url": path}
