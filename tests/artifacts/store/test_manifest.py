"""Version names and content ids."""

from __future__ import annotations

from artifacts.index.params import SearchParams
from artifacts.store.manifest import SegmentRef, package_versions
from tests.artifacts.building import manifest_of

SEGMENT = SegmentRef(id="s", rows=1, products=1, bytes=1, info_sha256="0" * 64)


def test_names_contain_the_time_and_the_content():
    manifest = manifest_of([SEGMENT], second=61)
    assert manifest.version == f"20260101T000101Z-{manifest.content_id}"


def test_names_sort_after_those_of_earlier_versions():
    manifest = manifest_of([SEGMENT], second=5)
    later = manifest.named(after=["20260101T000900Z-000000000000", "not-a-version"])
    assert later.version == f"20260101T000901Z-{manifest.content_id}"
    assert manifest.named(after=["20250101T000000Z-000000000000"]).version == manifest.version


def test_the_content_id_covers_segments_encoder_search_parameters_and_engine():
    manifests = [
        manifest_of([SEGMENT]),
        manifest_of([SEGMENT, SEGMENT]),
        manifest_of([SEGMENT.model_copy(update={"info_sha256": "1" * 64})]),
        manifest_of([SEGMENT], encoder={"id": "other@1"}),
        manifest_of([SEGMENT], search={"image": SearchParams(nprobe=9)}),
        manifest_of([SEGMENT], search={"image": SearchParams(breadth=9)}),
        manifest_of([SEGMENT], engine_url="http://milvus:19530"),
        manifest_of([SEGMENT], engine_url="http://other:19530"),
    ]
    assert len({manifest.content_id for manifest in manifests}) == len(manifests)
    assert manifest_of([SEGMENT], second=9).content_id == manifests[0].content_id


def test_the_content_id_of_a_release_without_an_engine_is_that_of_earlier_versions():
    assert manifest_of([SEGMENT]).content_id == "58cb03231d7b"


def test_package_versions_are_those_of_installed_packages():
    versions = package_versions()
    assert {"numpy", "pyarrow", "duckdb"} <= set(versions)
    assert all(versions.values())
