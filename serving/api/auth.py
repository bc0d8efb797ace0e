"""Who may ask, and how often: API keys, and a rate for each key or address."""

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

#: Open to all: a browser sends no key with a picture, and thumbnails are in the shop's pages anyway.
_PICTURE = re.compile(r"^/v1/products/.+/image$")


def guard(app: Flask, config: AccessConfig) -> None:
    """Make an app ask for a key, and keep callers to their rate, as far as the settings want that.

    Health, metrics, the OpenAPI document and the page stay open.

    Raises:
        LookalikeError: `rate_limit` is none.
    """
    if config.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=config.trusted_proxies)  # type: ignore[method-assign]
    keys = [key.encode() for key in config.api_keys]
    if keys:

        @app.before_request
        def known() -> Response | None:
            if not _guarded() or _is_one_of(_sent(), keys):
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
            _caller,
            app=app,
            application_limits=[config.rate_limit],
            application_limits_exempt_when=lambda: not _guarded(),
            storage_uri=config.redis_url or "memory://",
            strategy="moving-window",
            headers_enabled=True,
            # A Redis that is down leaves each worker to count by itself.
            in_memory_fallback=[config.rate_limit],
            key_prefix="lookalike",
        )


def _guarded() -> bool:
    return request.path.startswith("/v1/") and not _PICTURE.match(request.path)


def _sent() -> bytes:
    """The key that came with the request; empty if there is none."""
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    return (key.strip() if kind.lower() == "bearer" else request.headers.get("X-API-Key", "")).encode()


def _is_one_of(sent: bytes, keys: list[bytes]) -> bool:
    # Digests are of one length, and all of them are compared: time tells nothing of how near a guess is.
    digest = hashlib.sha256(sent).digest()
    equal = [hmac.compare_digest(digest, hashlib.sha256(key).digest()) for key in keys]
    return any(equal)


def _caller() -> str:
    """Whose rate a request counts for: its key's, or its address's where there are none."""
    sent = _sent()
    return hashlib.sha256(sent).hexdigest()[:32] if sent else get_remote_address()
