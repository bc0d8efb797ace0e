"""API keys, and a rate limit for each key or address."""

from __future__ import annotations

import hashlib
import hmac
import re

from flask import Flask, Response, request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits import parse_many
from werkzeug.middleware.proxy_fix import ProxyFix

from artifacts.config import AccessConfig
from artifacts.errors import LookalikeError
from serving.problems import problem

#: Paths under /v1/ without key and rate limit: browsers send no key with an <img>, and thumbnails are public in the
#: shop's pages anyway.
_PICTURE_PATH = re.compile(r"^/v1/products/.+/image$")


def guard(app: Flask, config: AccessConfig) -> None:
    """Add API keys and rate limits to an app, as far as they are configured.

    Health, metrics, the OpenAPI document and the page stay open.

    Raises:
        LookalikeError: `rate_limit` cannot be parsed.
    """
    if config.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=config.trusted_proxies)  # type: ignore[method-assign]
    keys = [key.encode() for key in config.api_keys]
    if keys:

        @app.before_request
        def require_key() -> Response | None:
            if not _is_guarded() or _is_known(_sent_key(), keys):
                return None
            response = problem(401, "send one of this server's API keys as `Authorization: Bearer KEY` or X-API-Key")
            response.headers["WWW-Authenticate"] = 'Bearer realm="Lookalike"'
            return response

    if config.rate_limit:
        try:
            parse_many(config.rate_limit)
        except ValueError as error:
            raise LookalikeError(
                f"rate_limit {config.rate_limit!r} is not understood: write it as 50/second;2000/minute"
            ) from error
        Limiter(
            _rate_limit_key,
            app=app,
            application_limits=[config.rate_limit],
            application_limits_exempt_when=lambda: not _is_guarded(),
            storage_uri=config.redis_url or "memory://",
            strategy="moving-window",
            headers_enabled=True,
            # While Redis is down, each worker counts by itself.
            in_memory_fallback=[config.rate_limit],
            key_prefix="lookalike",
        )


def _is_guarded() -> bool:
    return request.path.startswith("/v1/") and not _PICTURE_PATH.match(request.path)


def _sent_key() -> bytes:
    """Return the request's API key; empty if it has none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return (key.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "")).encode()


def _is_known(sent: bytes, keys: list[bytes]) -> bool:
    # Digests have equal lengths and all keys are compared, so the time taken reveals nothing about a guess.
    digest = hashlib.sha256(sent).digest()
    matches = [hmac.compare_digest(digest, hashlib.sha256(key).digest()) for key in keys]
    return any(matches)


def _rate_limit_key() -> str:
    """Return what the request counts for: its API key's digest, or its address if it has no key."""
    sent = _sent_key()
    return hashlib.sha256(sent).hexdigest()[:32] if sent else get_remote_address()
