"""What callers are told, and what the log says, while a release's engine fails."""

from __future__ import annotations

import numpy as np
import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from artifacts.errors import EngineError, EngineUnavailable
from artifacts.index.vectors import Vectors
from artifacts.release.release import Release
from artifacts.segments.engine_vectors import EngineVectors, take_vectors
from artifacts.settings import Settings
from serving.services import services_of
from tests.serving.answers import client_for, problem

ADDRESS = "http://milvus.internal:19530"


@pytest.fixture(
    params=[
        (EngineUnavailable(f"milvus at {ADDRESS} did not answer within 1 s"), "does not answer"),
        (EngineError(f"milvus at {ADDRESS} does not accept engine_key"), "cannot be used at the moment"),
        (EngineError("engine milvus: install its client"), "cannot be used at the moment"),
    ],
    ids=["down", "wrong credential", "no client"],
)
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[EngineError, str]:
    """Engines that fail in every call: the error, and what is said of it."""
    error, _ = request.param

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Release, "search", fail)
    monkeypatch.setattr(Release, "ping_engine", fail)
    return request.param


@pytest.mark.parametrize("path", ["/v1/search/text?q=red", "/readyz"])
def test_engine_that_fails_is_503_with_retry_after_and_its_reason_is_in_the_log_only(
    client: FlaskClient, failing: tuple[EngineError, str], path: str
) -> None:
    with capture_logs() as logs:
        response = client.get(path)
    assert failing[1] in (detail := problem(response, 503))
    assert str(failing[0]) not in detail
    assert "milvus" not in detail
    assert int(response.headers["Retry-After"]) > 0
    assert str(failing[0]) in [line.get("error") for line in logs]


def test_batch_fails_as_one_search_does(client: FlaskClient, failing: tuple[EngineError, str]) -> None:
    assert failing[1] in problem(client.post("/v1/search/batch", json={"searches": [{"text": "red"}]}), 503)


@pytest.mark.parametrize(
    "path", ["/v1/products/p004/similar?limit=5", "/v1/search/text?q=red&limit=5&diversity=0.5"], ids=["similar", "mmr"]
)
def test_vectors_are_waited_for_until_the_deadline_of_the_request(
    published: Settings, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    waited: list[float] = []

    def counting(vectors: Vectors | EngineVectors, rows: np.ndarray, seconds: float) -> np.ndarray:
        waited.append(seconds)
        return take_vectors(vectors, rows, seconds)

    monkeypatch.setattr("artifacts.release.release.take_vectors", counting)
    client = client_for(published.model_copy(update={"deadline_seconds": 20.0}))
    assert client.get(path).status_code == 200
    assert waited
    assert all(0 < seconds <= 20 for seconds in waited)
    services_of(client.application).close()
