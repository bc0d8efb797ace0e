"""Runs searches: read, encode, plan, search, rank, render. A single search is a batch of one."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from artifacts.config import QueryLimits, RankingConfig
from artifacts.errors import InputError, QueryError
from artifacts.release.hits import Hit
from serving.cache import Caches
from serving.ranking.rankers import Ranker
from serving.releases.snapshot import IndexQuery, Snapshot, search_index
from serving.search.facets import FacetCounter
from serving.search.options import parse_options
from serving.search.paging import search_digest, tiers
from serving.search.query_vector import encode_queries
from serving.search.ranking import rank_hits
from serving.search.render import render
from serving.search.result_cache import cache_answers, cache_key, cached_answers
from serving.search.seen_pictures import SeenPictures
from serving.search.task import RankedHit, SearchTask
from serving.timing import RequestTimer


class SearchService:
    """Answers searches on a snapshot. Safe to use from several threads at once.

    Args:
        ranker: orders the most similar products.
        caches: of query vectors and of whole answers.
        seen: vectors of pictures in the embedding store.
        limits: the largest request that is answered.
        ranking: the order of results where a request does not say otherwise.
    """

    def __init__(
        self, ranker: Ranker, caches: Caches, seen: SeenPictures, limits: QueryLimits, ranking: RankingConfig
    ) -> None:
        self._ranker, self._caches, self._seen = ranker, caches, seen
        self._limits, self._ranking = limits, ranking
        self._facets = FacetCounter()

    def run(self, tasks: Sequence[SearchTask], snapshot: Snapshot, timer: RequestTimer) -> None:
        """Leave an answer or a problem in each task. No answer depends on the other tasks.

        The encoder and the index are called once for all tasks that can share a call.

        Raises:
            Busy: the deadline has passed.
            EngineError: the engine of the release does not answer within it, or refuses.
        """
        for task in tasks:
            self._read(task, snapshot)
        self._reuse_answers(_open(tasks), snapshot, timer)
        timer.mark("read")
        encode_queries(_open(tasks), snapshot, self._limits, self._caches.embeddings, self._seen, timer.expires)
        timer.mark("encode")
        searches = _open(tasks)
        for group in _plan(searches, snapshot):
            for depth in tiers(group[0].first_tier):
                unfinished = [task for task in group if not task.complete]
                if not unfinished:
                    break
                hits_of_tasks = _search(unfinished, snapshot, depth, timer.expires)
                timer.mark("search")
                for task, hits in zip(unfinished, hits_of_tasks, strict=True):
                    self._rank(task, snapshot, hits, depth, timer.expires)
                timer.mark("rank")
        for task in searches:
            task.answer = render(task, snapshot, self._facets, self._limits.max_offset)
        timer.mark("enrich")
        for task in searches:
            if task.answer is not None:
                _stamp(task, timer)
        cache_answers(self._caches.results, searches)

    def close(self) -> None:
        """Store the vectors that are pending."""
        self._seen.close()

    def _read(self, task: SearchTask, snapshot: Snapshot) -> None:
        """Parse what the caller sent, and check it against the release."""
        try:
            if task.request.cursor is not None and task.cursor is None:
                raise QueryError("cursor", "is not allowed in a batch; send this search by itself")
            columns, cap = snapshot.release.columns, self._ranking.max_per_category
            task.options = parse_options(task.request, columns, self._limits, cap, task.cursor)
            task.query = task.parse(snapshot)
            task.digest = search_digest(task.query.digest, task.options.order)
            if task.cursor is not None:
                task.cursor.check(task.digest)
            task.cache_key = cache_key(snapshot, self._ranking, self._limits.max_offset, task)
        except InputError as error:
            task.problem = error

    def _reuse_answers(self, tasks: Sequence[SearchTask], snapshot: Snapshot, timer: RequestTimer) -> None:
        for task, answer in zip(tasks, cached_answers(self._caches.results, snapshot, tasks), strict=True):
            if answer is not None:
                task.answer, task.cached = answer, True
                _stamp(task, timer)

    def _rank(self, task: SearchTask, snapshot: Snapshot, hits: list[Hit], depth: int, expires: float) -> None:
        """Append a tier to the list: the first one ranked, later ones by similarity."""
        # A list that is sorted by an attribute ends with the first tier: deeper hits would belong in between.
        task.exhausted = len(hits) < depth or task.options.sort is not None
        release = snapshot.release
        if not task.hits:
            task.hits = hits
            task.ranked = rank_hits(hits, task.options, release, self._ranker, task.end + 1, expires)
            return
        task.listed.update(release.product_ids(task.hits))
        product_ids = release.product_ids(hits)
        task.ranked += [
            RankedHit(hit, hit.score)
            for hit, product_id in zip(hits, product_ids, strict=True)
            if product_id not in task.listed
        ]
        task.listed.update(product_ids)


def _open(tasks: Iterable[SearchTask]) -> list[SearchTask]:
    return [task for task in tasks if not task.done]


def _plan(tasks: Iterable[SearchTask], snapshot: Snapshot) -> list[list[SearchTask]]:
    """Choose the search parameters of each task, and group tasks that can share calls of the index."""
    groups: dict[tuple[Any, ...], list[SearchTask]] = defaultdict(list)
    for task in tasks:
        params = snapshot.params(task.query.modality)
        task.params = params.deeper(task.options.recall) if task.options.recall > 1 else params
        groups[task.options.conditions, task.params, task.first_tier].append(task)
    return list(groups.values())


def _search(tasks: Sequence[SearchTask], snapshot: Snapshot, depth: int, expires: float) -> list[list[Hit]]:
    """Return the `depth` most similar products of each task."""
    queries: list[IndexQuery] = []
    for task in tasks:
        assert task.vector is not None  # noqa: S101  (a task without a vector has a problem and is not searched)
        queries.append(
            IndexQuery(task.vector, depth, task.params, task.options.conditions, task.query.product_ids, expires)
        )
    # A plan describes all queries of a call, so a search that explains itself has a call of its own.
    alone = any(task.options.explain for task in tasks)
    results = search_index(snapshot.release, queries) if alone else snapshot.search(queries)
    for task, (_, plan) in zip(tasks, results, strict=True):
        task.plan = plan
    return [hits for hits, _ in results]


def _stamp(task: SearchTask, timer: RequestTimer) -> None:
    """Add what belongs to this call alone, however often the same search is made."""
    assert task.answer is not None  # noqa: S101  (run has looked)
    task.answer = {**task.answer, "search_id": uuid.uuid4().hex, "query_time_ms": timer.milliseconds}
    if task.options.explain:
        task.answer["explain"]["milliseconds"] = timer.stages
