"""Opening a release: segments must fit the manifest and each other, and may be shared."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

from artifacts.errors import CorruptFile, IncompatibleRelease
from artifacts.release.release import Release
from artifacts.store.manifest import SegmentRef
from tests.artifacts.building import ENCODER, manifest_of, open_release, unit_vectors, write_segment
from tests.artifacts.release.release_building import DEEP


def test_a_release_may_have_no_segments():
    release = Release(manifest_of([]), [])
    assert release.search(np.ones((1, 5)), 3, DEEP) == ([[]], [])
    assert (release.count(()), release.pictures, release.facet("category", ())) == (0, 0, [])


def test_a_folder_with_another_segment_is_corrupt(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3), segment_id="s")
    write_segment(tmp_path / "b", unit_vectors(3, seed=1), segment_id="s")
    release = open_release(tmp_path / "a")
    with pytest.raises(CorruptFile, match="not the one that the manifest names"):
        Release(release.manifest, [tmp_path / "b"])
    release.close()


def test_segments_of_another_encoder_are_incompatible(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    write_segment(tmp_path / "b", unit_vectors(3), encoder_id="other@1")
    with pytest.raises(IncompatibleRelease, match="other@1"):
        open_release(tmp_path / "a", tmp_path / "b")
    with pytest.raises(IncompatibleRelease, match=ENCODER["id"]):  # type: ignore[arg-type]
        open_release(tmp_path / "a", encoder={**ENCODER, "id": "third@1"})


def test_segments_of_two_dimensions_are_incompatible(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    write_segment(tmp_path / "b", unit_vectors(3, 8))
    with pytest.raises(IncompatibleRelease, match="8-d"):
        open_release(tmp_path / "a", tmp_path / "b")


def test_a_segment_of_another_metric_is_incompatible(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    path = tmp_path / "a/segment.json"
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "metric": "l2"}))
    with pytest.raises(IncompatibleRelease, match="l2"):
        open_release(tmp_path / "a")


def test_nothing_is_left_open_if_a_later_segment_is_damaged(tmp_path: Path):
    for name in "ab":
        write_segment(tmp_path / name, unit_vectors(3), segment_id=name)
    release = open_release(tmp_path / "a", tmp_path / "b")
    release.close()
    (tmp_path / "b/vectors.f16").unlink()
    with pytest.raises(CorruptFile):
        Release(release.manifest, [tmp_path / "a", tmp_path / "b"])
    database = tmp_path / "a/products.duckdb"
    database.chmod(0o644)
    duckdb.connect(str(database)).close()  # DuckDB refuses to write a file that the process has open elsewhere


def test_open_segments_are_shared(tmp_path: Path):
    for name in "abc":
        write_segment(tmp_path / name, unit_vectors(3), segment_id=name)
    old = open_release(tmp_path / "a", tmp_path / "b")
    new = open_release(tmp_path / "b", tmp_path / "c", opened=old.segments)
    assert new.segments[0] is old.segments[1]
    assert new.segments[1] not in old.segments
    new.segments[1].close()
    old.close()


def test_a_segment_of_the_same_id_in_another_folder_is_not_shared(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3), segment_id="a")
    write_segment(tmp_path / "b", unit_vectors(3), segment_id="b")
    write_segment(tmp_path / "c", unit_vectors(4), segment_id="b")
    old = open_release(tmp_path / "a", tmp_path / "b")
    new = open_release(tmp_path / "a", tmp_path / "c", opened=old.segments)
    assert new.segments[0] is old.segments[0]
    assert new.segments[1].info.rows == 4
    new.segments[1].close()
    old.close()


def test_a_release_that_fails_to_open_keeps_shared_segments_open(tmp_path: Path):
    for name in "ab":
        write_segment(tmp_path / name, unit_vectors(3), segment_id=name)
    old = open_release(tmp_path / "a")
    (tmp_path / "b/vectors.f16").unlink()
    with pytest.raises(CorruptFile):
        open_release(tmp_path / "a", tmp_path / "b", opened=old.segments)
    assert old.segments[0].database.first_pictures().tolist() == [0, 1, 2]
    old.close()


def test_there_must_be_a_folder_for_each_segment():
    reference = SegmentRef(id="s", rows=1, products=1, bytes=1, info_sha256="0")
    with pytest.raises(ValueError, match="shorter"):
        Release(manifest_of([reference]), [])
