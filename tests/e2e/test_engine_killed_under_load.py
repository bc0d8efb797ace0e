"""An engine is killed while a server's callers search, and started again: no answer is wrong, none is late.

The server is `lookalike serve` as a process, and its callers use HTTP. What is right is computed here, by NumPy, from
the vectors of the release: each product that is returned has to pass the filter and to have its exact score, and so
many of the best ones have to be among them as the gate requires of a release. An engine that says that it is repeatable
has to return the same products with the same scores after it was killed as before.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest

from artifacts.release.release import Release
from artifacts.settings import Settings
from artifacts.store.store import Store
from jobs.bench.load.server import ServerProcess
from tests.callers import Answer, Callers
from tests.encoders import ColourWords
from tests.engines import PROCESSES, RunningEngine
from tests.pipeline import prepare, publish_small, small_settings, write_small_catalog

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:Api key is used:UserWarning")]

ROOT = Path(__file__).parents[2]

#: Of the searches; and what a busy machine may add to it.
DEADLINE, MARGIN = 5.0, 5.0

#: Products of the catalog: more than 500 pass each filter, so that engines that have the vectors are asked for them.
PRODUCTS = 1200

#: How engines build their indexes. Pictures of one colour are near copies of one another, and in the HNSW of Milvus 2.3
#: no link leads from one colour to another: the gate refuses it.
OPTIONS = {"milvus": '{"index": "IVF_FLAT", "nlist": 16}'}

#: Name of the path that says whether the server is ready.
READY = "readiness"

#: How far a score may be from the exact one: the engines compute in float16.
TOLERANCE = 1e-3

Row = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """A search by similarity alone.

    Attributes:
        path: of the request.
        text: that it searches for; else `product` is the id of the product that it starts from.
        passes: whether a product passes its filter; None if it has none.
    """

    path: str
    text: str = ""
    product: str = ""
    passes: Callable[[Row], bool] | None = None
    limit: int = 20


SEARCHES = {
    "text": Search("/v1/search/text?q=red+square&rerank=false", "red square"),
    "another text": Search("/v1/search/text?q=green+white&limit=50&rerank=false", "green white", limit=50),
    "product": Search("/v1/products/p004/similar?limit=20&rerank=false", product="p004"),
    "not a category": Search(
        "/v1/search/text?q=blue&category_not=circle&rerank=false", "blue",
        passes=lambda row: row["category"] != "circle",
    ),
    "prices": Search(
        "/v1/search/text?q=black&price_min=300&price_max=1000&rerank=false", "black",
        passes=lambda row: 300 <= row["price"] <= 1000,
    ),
    "product, filtered": Search(
        "/v1/products/p004/similar?limit=20&brand_not=brand+1&rerank=false", product="p004",
        passes=lambda row: row["brand"] != "brand 1",
    ),
}  # fmt: skip


class Truth:
    """The exact scores of every search.

    Args:
        release: open.
    """

    def __init__(self, release: Release) -> None:
        rows = release.searcher.rows_that_can_be_found()
        products, vectors = release.rows.to_results(rows), release.searcher.vectors.take(rows)
        vector_of = {product["product_id"]: vector for product, vector in zip(products, vectors, strict=True)}
        self._scores: dict[str, dict[str, float]] = {}
        for name, search in SEARCHES.items():
            query = vector_of[search.product] if search.product else ColourWords().encode_texts([search.text])[0]
            self._scores[name] = {
                product["product_id"]: float(vector_of[product["product_id"]] @ query)
                for product in products
                if product["product_id"] != search.product and (search.passes is None or search.passes(product))
            }

    def fault(self, name: str, results: list[Row], recall: float) -> str | None:
        """Return what is wrong with the results of a search, if anything is.

        Args:
            recall: the share of the best products that has to be among them.
        """
        ids, scores = [row["product_id"] for row in results], [row["similarity_score"] for row in results]
        exact, limit = self._scores[name], SEARCHES[name].limit
        if len(set(ids)) != limit or len(ids) != limit:
            return f"{len(ids)} results, {len(set(ids))} different ones"
        if strangers := set(ids) - set(exact):
            return f"do not pass: {strangers}"
        if not np.allclose(scores, [exact[product_id] for product_id in ids], atol=TOLERANCE):
            return f"wrong scores: {dict(zip(ids, scores, strict=True))}"
        if scores != sorted(scores, reverse=True):
            return f"not in the order of their scores: {scores}"
        least = sorted(exact.values())[-limit] - TOLERANCE
        found = sum(exact[product_id] >= least for product_id in ids) / limit
        return f"recall {found}" if found < recall else None


@pytest.fixture(params=PROCESSES, scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    with request.param(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a catalog, and the workspace in which it was downloaded and embedded."""
    folder = tmp_path_factory.mktemp("shop")
    prepare(write_small_catalog(folder / "catalog", PRODUCTS), small_settings(folder))
    return folder


@pytest.fixture(params=["server", "engine"])
def settings(request: pytest.FixtureRequest, shop: Path, engine: RunningEngine) -> Settings:
    """Of a published release, whose servers take vectors from files or from the engine."""
    settings = small_settings(
        shop, releases=str(shop / f"releases-{engine.kind}-{request.param}"), engine_vectors=request.param,
        engine_options=OPTIONS.get(engine.kind, ""), **engine.settings,
    )  # fmt: skip
    publish_small(shop / "catalog/catalog.csv", settings)
    return settings


@pytest.fixture
def truth(settings: Settings) -> Iterator[Truth]:
    store = Store(settings.releases, settings.cache)
    manifest = store.manifest()
    release = Release(manifest, store.fetch(manifest))
    yield Truth(release)
    release.close()


@pytest.fixture
def server(settings: Settings) -> Iterator[ServerProcess]:
    """A server that has one worker and no caches."""
    environment = {
        "PYTHONPATH": str(ROOT),  # the encoder is in tests/
        "LOOKALIKE_RELEASES": settings.releases,
        "LOOKALIKE_CACHE": str(settings.cache),
        "LOOKALIKE_ENGINE_KEY": settings.engine_key.get_secret_value(),
        "LOOKALIKE_DEADLINE_SECONDS": str(DEADLINE),
        "LOOKALIKE_EMBEDDING_CACHE_SECONDS": "0",
        "LOOKALIKE_RESULT_CACHE_SECONDS": "0",
    }
    with ServerProcess(environment) as server:
        yield server


@dataclass(frozen=True)
class Outage:
    """When an engine was killed, by `time.monotonic`: before, and once it had ended; when it was started again."""

    began: float
    gone: float
    started: float


def test_killed_engine_makes_no_answer_wrong_or_late_and_needs_no_restart(
    settings: Settings, engine: RunningEngine, truth: Truth, server: ServerProcess
) -> None:
    workers = server.workers()
    with urlopen(f"{server.address}/v1/release", timeout=60) as response:
        repeatable = json.load(response)["engine"]["repeatable"]
    # What a server answers alone: pages, and filters that few rows pass, if it has their vectors.
    alone = {name for name, search in SEARCHES.items() if search.passes and settings.engine_vectors == "server"}
    alone |= {"page"}
    paths = {name: search.path for name, search in SEARCHES.items()} | {"page": "/v1/products/p004", READY: "/readyz"}
    outages: list[Outage] = []
    with Callers(server.address, paths) as callers:
        callers.wait_for(200, paths)
        for _ in range(2):
            began = time.monotonic()
            engine.kill()
            gone = time.monotonic()
            callers.wait_for(503, paths.keys() - alone)
            callers.wait_for(200, alone)
            outages.append(Outage(began, gone, time.monotonic()))
            engine.start()
            callers.wait_for(200, paths, seconds=180)

    for answer in callers.answers:
        assert answer.seconds < DEADLINE + MARGIN, str(answer)
        if answer.status != 200:
            assert answer.name not in alone, str(answer)
            assert_refused(answer, engine)
        elif searched(answer):
            assert truth.fault(answer.name, results_of(answer), settings.recall_target) is None, str(answer)
    if repeatable:
        for name in SEARCHES:
            assert (
                len({str(results_of(each)) for each in callers.answers if each.name == name and each.status == 200})
                == 1
            )
    assert_readiness_is_true(callers.answers, outages, alone)
    assert server.workers() == workers  # none has died


def searched(answer: Answer) -> bool:
    return answer.status == 200 and answer.name in SEARCHES


def results_of(answer: Answer) -> list[Row]:
    return json.loads(answer.body)["results"]


def assert_refused(answer: Answer, engine: RunningEngine) -> None:
    """Check that a refusal is one, that it says when to try again, and that it does not say where the engine is."""
    assert answer.status == 503, str(answer)
    assert answer.headers["Content-Type"] == "application/problem+json", str(answer)
    assert int(answer.headers["Retry-After"]) > 0, str(answer)
    assert json.loads(answer.body)["status"] == 503
    assert engine.key not in answer.body.decode()
    assert engine.url not in answer.body.decode()


def assert_readiness_is_true(answers: list[Answer], outages: list[Outage], alone: set[str]) -> None:
    """Check that nothing that needs the engine was answered without it, and all from `/readyz` saying so until the next
    outage."""
    ends = [outage.began for outage in outages[1:]] + [math.inf]
    for outage, end in zip(outages, ends, strict=True):
        during = [each for each in answers if outage.gone <= each.began and each.ended <= outage.started]
        assert {each.status for each in during if each.name not in alone} == {503}
        ready = min(
            each.ended for each in answers if each.name == READY and each.status == 200 and each.began >= outage.started
        )
        refused = [each for each in answers if each.began >= ready and each.ended <= end and each.status != 200]
        assert refused == [], [str(each) for each in refused]
