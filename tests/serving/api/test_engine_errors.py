"""What callers are told, and what the log says, while a release's engine fails."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from structlog.testing import capture_logs

from artifacts.errors import EngineError, EngineUnavailable
from artifacts.release.release import Release
from tests.serving.answers import problem

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
