"""Clients of the server, and functions that read its answers."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from artifacts.settings import Settings
from serving.app import create_app
from serving.services import services_of


def client_for(settings: Settings) -> FlaskClient:
    """Make a client of an app that has loaded the current release."""
    app = create_app(settings.server, watch=False)
    services_of(app).watcher.poll()
    return app.test_client()


def photo(shop: Path, number: int) -> io.BytesIO:
    return io.BytesIO((shop / f"images/{number:03d}.jpg").read_bytes())


def encoded(shop: Path, number: int) -> str:
    return base64.b64encode(photo(shop, number).read()).decode()


def ids(answer: dict[str, Any]) -> list[str]:
    return [result["product_id"] for result in answer["results"]]


def scores(answer: dict[str, Any], name: str = "score") -> list[float]:
    return [result[name] for result in answer["results"]]


def colours(answer: dict[str, Any]) -> set[str]:
    return {result["attributes"]["colour"] for result in answer["results"]}


def problem(response: Any, status: int, field: str | None = None) -> str:
    """Check that a response has the format of errors; returns its detail."""
    assert response.status_code == status, response.get_data(as_text=True)[:500]
    assert response.mimetype == "application/problem+json"
    body = response.get_json()
    assert body["status"] == status
    assert body.get("field") == field
    assert set(body) <= {"type", "title", "status", "detail", "field"}
    return body["detail"]
