"""Options of an engine: what makes a new segment, and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.engines.pgvector import engine as pgvector_engine
from artifacts.engines.pgvector import table as pgvector_table
from artifacts.engines.pgvector.options import IndexOptions, index_options
from artifacts.segments.info import SegmentInfo, read_info
from artifacts.settings import Settings
from artifacts.store.manifest import Manifest
from artifacts.store.store import Store
from jobs.load.step import run_load
from jobs.refresh.step import run_refresh
from jobs.steps import StepContext
from tests.pipeline import prepared, publish_small, run_index, write_small_catalog

pytestmark = pytest.mark.pgvector

Options = Mapping[str, int | float | str]


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return write_small_catalog(tmp_path / "shop")


@pytest.fixture
def publish(
    catalog: Path, settings_in: Callable[..., Settings], tmp_path: Path
) -> Callable[[Options], tuple[Manifest, SegmentInfo]]:
    """Publishes with these options; returns the manifest and the base's description."""

    def publish(options: Options) -> tuple[Manifest, SegmentInfo]:
        settings = settings_in(tmp_path, engine_options=json.dumps(options))
        publish_small(catalog, settings)
        store = Store(settings.releases, settings.cache)
        manifest = store.manifest()
        return manifest, read_info(store.segment_path(manifest.segments[0].id))

    return publish


def test_options_of_loading_make_no_new_segment(publish: Callable[[Options], tuple[Manifest, SegmentInfo]]) -> None:
    first, info = publish({})
    assert info.engine is not None
    assert info.engine.options == {"index": "hnsw", "m": 16, "ef_construction": 64}
    for options in ({"maintenance_work_mem": "64MB"}, {"maintenance_work_mem": "32MB", "parallel_workers": 0}):
        manifest, same = publish(options)
        assert same == info
        assert manifest.engine_options == options
        assert manifest.content_id != first.content_id
    other, _ = publish({"m": 8, "maintenance_work_mem": "64MB"})
    assert other.segments[0].id != info.id
    assert other.engine_options == {"maintenance_work_mem": "64MB"}


def test_refresh_goes_on_with_the_options_of_the_release(
    publish: Callable[[Options], tuple[Manifest, SegmentInfo]],
    catalog: Path,
    settings_in: Callable[..., Settings],
    tmp_path: Path,
) -> None:
    options = {"m": 8, "maintenance_work_mem": "64MB"}
    publish(options)
    catalog.write_text(catalog.read_text().replace("number 7,", "number seven,"))
    settings = settings_in(tmp_path)
    run_refresh(StepContext.open(settings.pipeline, str(catalog)))
    store = Store(settings.releases, settings.cache)
    manifest = store.manifest()
    assert len(manifest.segments) == 2
    assert manifest.engine_options == {"maintenance_work_mem": "64MB"}
    for segment in manifest.segments:
        engine = read_info(store.segment_path(segment.id)).engine
        assert engine is not None
        assert engine.options == {"index": "hnsw", "m": 8, "ef_construction": 64}


def test_default_that_changes_later_loads_nothing_again(
    catalog: Path, settings_in: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_small(catalog, settings_in(tmp_path))

    def later_options(options: Options, rows: int) -> IndexOptions:
        known = index_options(options, rows)
        return known if "ef_construction" in options else replace(known, ef_construction=100)

    monkeypatch.setattr(pgvector_engine, "index_options", later_options)
    monkeypatch.setattr(pgvector_table, "index_options", later_options)
    context = prepared(catalog, settings_in(tmp_path))
    run_index(context)
    assert run_load(context).note == "36 rows in pgvector, as before"
