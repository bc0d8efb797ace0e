"""Routes for those who run the server: the release, health, readiness, metrics."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from artifacts.release.release import Release
from serving import metrics
from serving.responses import errors, json_of, operation_id
from serving.schemas import EngineAnswer, Health, Readiness, ReleaseAnswer
from serving.services import services

#: Seconds that an engine has to say that it is there.
_ENGINE_SECONDS = 1.0

_OPERATION = Tag(name="operation", description="For those who run the server.")

operations_api = APIBlueprint("operations", __name__, operation_id_callback=operation_id)


@operations_api.get(
    "/v1/release", tags=[_OPERATION], summary="What is being served", responses={200: ReleaseAnswer, **errors(503)}
)
def get_release() -> Response:
    snapshot = services().watcher.snapshot()
    manifest = snapshot.manifest
    return json_of(
        ReleaseAnswer(
            version=manifest.version,
            created_at=manifest.created_at,
            loaded_at=datetime.fromtimestamp(snapshot.loaded_at, UTC),
            encoder=manifest.encoder,
            products=manifest.counts.indexed,
            pictures=snapshot.release.pictures,
            recall=manifest.recall,
            delta_share=round(snapshot.release.delta_share, 6),
            drift=snapshot.release.drift,
            columns={name: str(dtype) for name, dtype in snapshot.release.columns.items()},
            supports_text=snapshot.encoder.supports_text,
            engine=_engine_of(snapshot.release),
        )
    )


@operations_api.get("/healthz", tags=[_OPERATION], summary="The process is alive", responses={200: Health})
def healthz() -> Response:
    return json_of(Health(status="ok"))


@operations_api.get(
    "/readyz",
    tags=[_OPERATION],
    summary="A release is loaded, and its engine answers",
    responses={200: Readiness, **errors(503, guarded=False)},
)
def readyz() -> Response:
    watcher = services().watcher
    snapshot = watcher.snapshot()  # NoRelease becomes 503
    snapshot.release.ping_engine(_ENGINE_SECONDS)  # so does EngineError
    version = snapshot.manifest.version
    failure = watcher.failure
    refused = f"{failure.version} was refused: {failure.error}" if failure else None
    return json_of(Readiness(status="degraded" if refused else "ok", release=version, failure=refused))


@operations_api.get(
    "/metrics",
    tags=[_OPERATION],
    summary="Prometheus metrics",
    responses={200: {"description": "Text format", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics() -> Response:
    return Response(metrics.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _engine_of(release: Release) -> EngineAnswer | None:
    engine = release.base.info.engine
    if engine is None:
        return None
    return EngineAnswer(
        kind=engine.kind,
        exact_scores=engine.vectors == "server",
        repeatable=release.base.engine.capabilities.repeatable,
    )
