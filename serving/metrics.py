"""All Prometheus metrics of the server, and the text that /metrics returns.

Worker processes add theirs up through PROMETHEUS_MULTIPROC_DIR, which has to be set before this module is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

# ── searches ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SEARCH_LATENCY = Histogram(
    "image_search_latency_seconds",
    "Duration of a search request, encoder included.",
    ["search_type"],
    buckets=[0.05, 0.1, 0.2, 0.5, 1.0],
)
SEARCH_REQUESTS = Counter("image_search_requests_total", "Search requests.", ["search_type", "status"])
STAGE_LATENCY = Histogram(
    "image_search_stage_seconds",
    "Duration of one stage of a search.",
    ["stage"],
    buckets=[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0],
)
RESULT_DIVERSITY = Histogram(
    "image_search_result_diversity",
    "Number of different categories among the results of one search.",
    buckets=[1, 2, 3, 5, 8, 13, 20],
)
CLICK_POSITION = Histogram(
    "image_search_click_position",
    "Position of a clicked result, from 0.",
    buckets=[0, 1, 2, 4, 9, 19, 49, 99],
)

# ── admission ────────────────────────────────────────────────────────────────────────────────────────────────────────

QUEUE_DEPTH = Gauge("image_search_queue_depth", "Searches that wait for a slot.", multiprocess_mode="livesum")
SEARCHES_IN_PROGRESS = Gauge("image_search_working", "Searches in progress.", multiprocess_mode="livesum")
BATCH_SIZE = Histogram(
    "image_search_batch",
    "Texts or pictures in one call of the encoder, queries in one call of the index.",
    ["kind"],
    buckets=[1, 2, 4, 8, 16, 32, 64],
)

# ── releases ─────────────────────────────────────────────────────────────────────────────────────────────────────────

INDEX_SIZE = Gauge("image_search_index_size", "Pictures in the index.", multiprocess_mode="livemax")
RELEASE_CREATED = Gauge(
    "image_search_release_created_seconds",
    "Unix time at which the served release was created; the oldest where workers serve several.",
    multiprocess_mode="livemin",
)
DELTA_SHARE = Gauge(
    "image_search_delta_share",
    "Rows that the served delta has or speaks for, as a share of its base's.",
    multiprocess_mode="livemax",
)
QUANTIZER_DRIFT = Gauge(
    "image_search_quantizer_drift",
    "How far the served rows have moved away from the IVF lists that were trained, 0 to 1.",
    multiprocess_mode="livemax",
)
RELEASE_WORKERS = Gauge(
    "image_search_release_workers", "Worker processes that serve a version.", ["version"], multiprocess_mode="livesum"
)
RELOADS = Counter("image_search_reloads_total", "Versions that a worker has loaded or refused.", ["outcome"])
RELOAD_SECONDS = Histogram(
    "image_search_reload_seconds",
    "Time to fetch, verify, open and warm a release.",
    buckets=[0.1, 0.5, 1, 5, 10, 30, 60, 300, 900],
)

GPU_FAILURES = Counter("image_search_gpu_failures_total", "Searches that the CPU answered because a GPU failed.")
GPU_TOO_DEEP = Counter(
    "image_search_gpu_too_deep_total",
    "Queries that the CPU answered because they need more candidates or lists than a GPU returns.",
)

# ── caches and events ────────────────────────────────────────────────────────────────────────────────────────────────

CACHE_HITS = Counter("image_search_cache_hits_total", "Values found in a cache.", ["cache"])
CACHE_MISSES = Counter("image_search_cache_misses_total", "Values not found in a cache.", ["cache"])
CACHE_FAILURES = Counter(
    "image_search_cache_failures_total", "Failed cache calls; their searches continued without the cache.", ["cache"]
)
EVENTS_RECORDED = Counter("image_search_events_total", "Recorded searches and clicks.", ["kind"])
EVENTS_LOST = Counter("image_search_events_lost_total", "Events dropped before they could be written.")


def count_search(search_type: str, status: str, seconds: float, stages: Mapping[str, float]) -> None:
    """Record a search that has ended.

    Args:
        search_type: "text", "image", "hybrid", "mixed", "similar" or "batch".
        status: "ok", "busy" or "error".
        seconds: duration of the request.
        stages: duration of each stage in milliseconds; recorded for status "ok" only.
    """
    SEARCH_REQUESTS.labels(search_type, status).inc()
    SEARCH_LATENCY.labels(search_type).observe(seconds)
    if status == "ok":
        for stage, milliseconds in stages.items():
            STAGE_LATENCY.labels(stage).observe(milliseconds / 1000)


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format, summed over the worker processes if there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)
