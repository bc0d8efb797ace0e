"""Prometheus metrics. With several worker processes they are added up through PROMETHEUS_MULTIPROC_DIR."""

from __future__ import annotations

import os

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from serving.timing import RequestTimer

SEARCH_LATENCY = Histogram(
    "image_search_latency_seconds",
    "Time of a search request, encoder included.",
    ["search_type"],
    buckets=[0.05, 0.1, 0.2, 0.5, 1.0],
)
SEARCH_REQUESTS = Counter("image_search_requests_total", "Search requests.", ["search_type", "status"])
STAGE_LATENCY = Histogram(
    "image_search_stage_seconds",
    "Time of one stage of a search.",
    ["stage"],
    buckets=[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0],
)
RESULT_DIVERSITY = Histogram(
    "image_search_result_diversity",
    "Number of different categories in one answer.",
    buckets=[1, 2, 3, 5, 8, 13, 20],
)
CLICK_POSITION = Histogram(
    "image_search_click_position",
    "Place, from 0, of a result that was chosen.",
    buckets=[0, 1, 2, 4, 9, 19, 49, 99],
)


def count(kind: str, status: str, timer: RequestTimer) -> None:
    """A search that has ended."""
    SEARCH_REQUESTS.labels(kind, status).inc()
    SEARCH_LATENCY.labels(kind).observe(timer.milliseconds / 1000)
    if status == "ok":
        for stage, milliseconds in timer.stages.items():
            STAGE_LATENCY.labels(stage).observe(milliseconds / 1000)


def exposition() -> bytes:
    """All metrics in Prometheus' text format, of all worker processes where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)
