"""Fixtures of the tests of artifacts/segments: one segment of each layout."""

from __future__ import annotations

import pytest

from artifacts.segments.search.searcher import Searcher
from artifacts.segments.segment import Segment
from tests.artifacts.building import INDEXED, write_segment
from tests.artifacts.segments.segment_building import LAYOUTS, VECTORS


@pytest.fixture(scope="package")
def segments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Segment]:
    """An open segment by the name of its layout."""
    segments = {}
    for name, layout in LAYOUTS.items():
        folder = tmp_path_factory.mktemp("layouts") / name
        write_segment(folder, VECTORS, settings=INDEXED.model_copy(update=layout))
        segments[name] = Segment(folder)
    return segments


@pytest.fixture(params=LAYOUTS)
def segment(request: pytest.FixtureRequest, segments: dict[str, Segment]) -> Segment:
    return segments[request.param]


@pytest.fixture
def searcher(segment: Segment) -> Searcher:
    return Searcher(segment)
