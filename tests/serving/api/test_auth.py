"""API keys and rate limits."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from artifacts.errors import LookalikeError
from artifacts.settings import Settings
from tests.redis import RedisServer
from tests.serving.answers import client_for, problem

URL = "/v1/search/text?q=red"


def client_with_keys(settings: Settings, keys: str, **changes: Any) -> Any:
    return client_for(settings.model_copy(update={"api_keys": SecretStr(keys), **changes}))


def test_server_without_keys_is_open(rich: Settings) -> None:
    assert client_with_keys(rich, "").get(URL).status_code == 200
    assert client_with_keys(rich, " , ").get(URL).status_code == 200


def test_any_configured_key_is_accepted(rich: Settings) -> None:
    client = client_with_keys(rich, "old-key, new-ключ")
    for headers in (
        {"X-API-Key": "old-key"},
        {"Authorization": "Bearer old-key"},
        {"Authorization": "bearer  old-key "},
    ):
        assert client.get(URL, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"X-API-Key": ""}, {"X-API-Key": "old"}, {"X-API-Key": "old-key "[:-2]}, {"X-API-Key": "old-key,new-key"},
        {"Authorization": "Basic old-key"}, {"Authorization": "Bearer"}, {"Authorization": "old-key"},
        {"X-API-Key": "é" * 100},
    ],
)  # fmt: skip
def test_api_refuses_requests_without_a_known_key(rich: Settings, headers: dict[str, str]) -> None:
    client = client_with_keys(rich, "old-key,new-key")
    for response in (
        client.get(URL, headers=headers),
        client.post("/v1/search", json={"text": "red"}, headers=headers),
        client.get("/v1/products/p001", headers=headers),
        client.get("/v1/release", headers=headers),
    ):
        assert "API keys" in problem(response, 401)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    for path in ("/", "/openapi.json", "/healthz", "/readyz", "/metrics", "/v1/products/p001/image"):
        with client.get(path, headers=headers) as response:
            assert response.status_code == 200


def test_settings_do_not_show_keys() -> None:
    settings = Settings(api_keys=SecretStr("secret-key"))
    assert "secret-key" not in repr(settings) + str(settings.model_dump())


def test_rate_limit_applies_to_each_key(rich: Settings) -> None:
    client = client_with_keys(rich, "a,b", rate_limit="3/hour")
    for _ in range(3):
        assert client.get(URL, headers={"X-API-Key": "a"}).status_code == 200
    refused = client.get(URL, headers={"X-API-Key": "a"})
    assert "3 per 1 hour" in problem(refused, 429)
    assert int(refused.headers["Retry-After"]) > 0
    assert client.get(URL, headers={"X-API-Key": "b"}).status_code == 200
    # open paths are not counted
    for path in ("/healthz", "/metrics", "/v1/products/p001/image"):
        assert client.get(path).status_code == 200


def test_rate_limit_applies_to_each_address(rich: Settings) -> None:
    client = client_for(rich.model_copy(update={"rate_limit": "2/hour", "trusted_proxies": 1}))
    for address in ("10.0.0.1", "10.0.0.2"):
        headers = {"X-Forwarded-For": address}
        assert [client.get(URL, headers=headers).status_code for _ in range(3)] == [200, 200, 429]
    # without a trusted proxy the header is ignored: a caller could write any address
    client = client_for(rich.model_copy(update={"rate_limit": "2/hour"}))
    statuses = [client.get(URL, headers={"X-Forwarded-For": f"10.0.0.{n}"}).status_code for n in range(3)]
    assert statuses == [200, 200, 429]


def test_invalid_rate_limit_is_refused(rich: Settings) -> None:
    with pytest.raises(LookalikeError, match="rate_limit 'often' is not understood"):
        client_for(rich.model_copy(update={"rate_limit": "often"}))


@pytest.mark.redis
def test_replicas_share_a_rate_limit_and_count_alone_without_redis(rich: Settings, redis_server: RedisServer) -> None:
    shared = rich.model_copy(update={"rate_limit": "4/hour", "redis_url": redis_server.url})
    one, two = client_for(shared), client_for(shared)
    assert [client.get(URL).status_code for client in (one, two, one, two, one)] == [200, 200, 200, 200, 429]
    redis_server.kill()
    assert two.get(URL).status_code == 200  # each replica counts by itself now
