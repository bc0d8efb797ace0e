"""`create_app`: the Flask application, for gunicorn and for tests."""

from __future__ import annotations

import copy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import torch
from flask import Response, jsonify, send_from_directory
from flask.json.provider import DefaultJSONProvider
from flask_openapi.models.info import Info
from flask_openapi.openapi import OpenAPI

from artifacts.config import ServerConfig
from artifacts.features.opening import open_embedding_store
from artifacts.settings import Settings
from artifacts.store.store import Store
from serving.api.auth import guard
from serving.api.events import events_api
from serving.api.operations import operations_api
from serving.api.products import products_api
from serving.api.search import search_api
from serving.cache import open_caches
from serving.events.log import EventLog
from serving.overload.admission import AdmissionController
from serving.overload.shedding import LoadShedder
from serving.problems import from_validation, register
from serving.ranking.rankers import load_ranker
from serving.releases.verification_cache import VerificationCache
from serving.releases.watcher import ReleaseWatcher
from serving.schemas import Problem
from serving.search.seen_pictures import SeenPictures
from serving.search.service import SearchService
from serving.services import Services, install

PAGE = Path(__file__).parent / "page"

#: Room for form fields and multipart boundaries beside the pictures.
_FORM_BYTES = 1_000_000

#: Seconds that a call of the embedding store may take in the background; searches wait for it much shorter.
_STORE_TIMEOUT = 2.0

_CONTENT_POLICY = "default-src 'self'; img-src 'self' https: http: data: blob:; object-src 'none'; base-uri 'none'"


class _Json(DefaultJSONProvider):
    """Parses bodies with orjson: much faster for a vector's hundreds of numbers, and deep nesting is an error."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)


def create_app(config: ServerConfig | None = None, *, watch: bool = True, shared_dir: Path | None = None) -> OpenAPI:
    """Make the application.

    Args:
        config: from the environment if None.
        watch: follow the store in a thread. Native libraries start with it, so a server must call this in its worker
            processes, after the fork. Tests may pass False and call `services_of(app).watcher.poll()`.
        shared_dir: a folder that the worker processes of one server share; see `VerificationCache`.
    """
    config = config or Settings().server
    app = OpenAPI(
        __name__,
        info=Info(
            title="Lookalike",
            version=version("lookalike"),
            description="Image search for a shop's catalog: by words, by pictures, by product.",
        ),
        doc_ui=False,
        validation_error_model=Problem,
        validation_error_callback=from_validation,
        static_folder=None,
    )
    limits = config.limits
    # Base64 takes 4 bytes for 3.
    app.config["MAX_CONTENT_LENGTH"] = limits.max_images * limits.max_image_bytes * 4 // 3 + _FORM_BYTES
    services = _make_services(app, config, shared_dir)
    install(app, services)
    app.json = _Json(app)
    register(app)
    guard(app, config.access)
    # Blueprints are module-wide, and registering them writes to them: every app gets its own copies.
    for blueprint in (search_api, products_api, events_api, operations_api):
        app.register_api(copy.copy(blueprint))
    _add_page(app)
    torch.set_num_threads(config.processes.encoder_threads)
    if watch:
        services.watcher.start()
    return app


def _make_services(app: OpenAPI, config: ServerConfig, shared_dir: Path | None) -> Services:
    """Return the services of an app; its load shedder is put in front of it."""
    processes, watching = config.processes, config.watching
    admission = AdmissionController(processes.threads, processes.queue, processes.deadline_seconds)
    app.wsgi_app = load_shedder = LoadShedder(app.wsgi_app, admission)
    return Services(
        watcher=ReleaseWatcher(
            Store(watching.releases, watching.cache, to_serve=True), watching, VerificationCache(shared_dir)
        ),
        search=SearchService(
            load_ranker(config.ranking),
            open_caches(config.caches),
            SeenPictures(open_embedding_store(config.features, seconds=_STORE_TIMEOUT)),
            config.limits,
            config.ranking,
        ),
        admission=admission,
        load_shedder=load_shedder,
        events=EventLog(config.events.events, config.events.events_seconds),
        limits=config.limits,
        deadline_seconds=processes.deadline_seconds,
    )


def _add_page(app: OpenAPI) -> None:
    """Add the web page and its files, the OpenAPI document, and security headers."""

    @app.route("/")
    def page() -> Response:
        return send_from_directory(PAGE, "index.html")

    @app.route("/page/<path:name>")
    def page_file(name: str) -> Response:
        return send_from_directory(PAGE, name)  # revalidated by ETag: old modules must not meet a new page

    @app.route("/openapi.json")
    def openapi() -> Response:
        return jsonify(app.api_doc)

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Content-Security-Policy", _CONTENT_POLICY)
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        return response
