"""Opening a release: segments must fit the manifest and each other, and may be shared."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from artifacts.engines.reference import EngineRef
from artifacts.errors import CorruptFile, IncompatibleRelease
from artifacts.release.release import Release
from artifacts.store.manifest import SegmentRef
from tests.artifacts.building import ENCODER, manifest_of, open_release, unit_vectors, write_delta, write_segment


@pytest.mark.parametrize("segments", [0, 3])
def test_a_release_is_a_base_and_at_most_one_delta(tmp_path: Path, segments: int):
    write_segment(tmp_path / "a", unit_vectors(3))
    with pytest.raises(IncompatibleRelease, match="a base and at most one delta"):
        open_release(*[tmp_path / "a"] * segments)


def test_a_delta_of_another_base_is_refused(tmp_path: Path):
    for name in "ab":
        write_segment(tmp_path / name, unit_vectors(3, seed=ord(name)), segment_id=name)
    write_delta(tmp_path / "d", tmp_path / "a")
    with pytest.raises(CorruptFile, match="belongs to base b, but is a delta of a"):
        open_release(tmp_path / "b", tmp_path / "d")
    with pytest.raises(CorruptFile, match="belongs to base None, but is a delta of a"):
        open_release(tmp_path / "d")
    write_segment(tmp_path / "other/a", unit_vectors(4), segment_id="a")
    with pytest.raises(CorruptFile, match="written for another segment"):
        open_release(tmp_path / "other/a", tmp_path / "d")


def test_segments_that_delete_by_id_are_refused(tmp_path: Path):
    """Lookalike 0.1 could write them."""
    write_segment(tmp_path / "a", unit_vectors(3))
    path = tmp_path / "a/segment.json"
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "format": 1, "tombstones": 2}))
    with pytest.raises(IncompatibleRelease, match="build the release again"):
        open_release(tmp_path / "a")


def test_releases_of_format_1_are_read(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    path = tmp_path / "a/segment.json"
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "format": 1, "tombstones": 0}))
    release = open_release(tmp_path / "a")
    assert release.count(()) == 3
    release.close()


def test_a_folder_with_another_segment_is_corrupt(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3), segment_id="s")
    write_segment(tmp_path / "b", unit_vectors(3, seed=1), segment_id="s")
    release = open_release(tmp_path / "a")
    with pytest.raises(CorruptFile, match="not the one that the manifest names"):
        Release(release.manifest, [tmp_path / "b"])
    release.close()


def test_segments_of_another_encoder_are_incompatible(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    with pytest.raises(IncompatibleRelease, match=ENCODER["id"]):  # type: ignore[arg-type]
        open_release(tmp_path / "a", encoder={**ENCODER, "id": "third@1"})


def test_a_segment_of_another_metric_is_incompatible(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    path = tmp_path / "a/segment.json"
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "metric": "l2"}))
    with pytest.raises(IncompatibleRelease, match="l2"):
        open_release(tmp_path / "a")


def test_nothing_is_left_open_if_the_delta_is_damaged(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    write_delta(tmp_path / "b", tmp_path / "a", deleted=["p0"])
    release = open_release(tmp_path / "a", tmp_path / "b")
    release.close()
    (tmp_path / "b/deleted.bits").unlink()
    with pytest.raises(CorruptFile):
        Release(release.manifest, [tmp_path / "a", tmp_path / "b"])
    database = tmp_path / "a/products.duckdb"
    database.chmod(0o644)
    duckdb.connect(str(database)).close()  # DuckDB refuses to write a file that the process has open elsewhere


def test_an_open_base_is_shared_with_another_delta(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    for name in "bc":
        write_delta(tmp_path / name, tmp_path / "a", deleted=[f"p{'bc'.index(name)}"], segment_id=name)
    old = open_release(tmp_path / "a", tmp_path / "b")
    new = open_release(tmp_path / "a", tmp_path / "c", opened=old.segments)
    same = open_release(tmp_path / "a", tmp_path / "b", opened=old.segments)
    assert new.base is old.base
    assert new.delta is not old.delta
    assert (same.base, same.delta) == (old.base, old.delta)
    assert [release.locate("p0") is None for release in (old, new, same)] == [True, False, True]
    new.close_unshared(old.segments)
    assert old.count(()) == 2
    old.close()


def test_a_segment_that_an_engine_searches_otherwise_is_not_shared(tmp_path: Path):
    engine = EngineRef(kind="qdrant", name="lookalike_a", options={"m": 8})
    write_segment(tmp_path / "a", unit_vectors(3), engine=engine)
    old = open_release(tmp_path / "a")
    manifest = old.manifest.model_copy(update={"engine_options": {"oversampling": 4.0}})
    new = Release(manifest, [tmp_path / "a"], opened=old.segments)
    same = Release(manifest, [tmp_path / "a"], opened=new.segments)
    assert new.base is not old.base
    assert same.base is new.base
    assert old.base.collection.options == {"m": 8}
    assert new.base.collection.options == {"m": 8, "oversampling": 4.0}
    new.close()
    old.close()


def test_a_segment_of_the_same_id_in_another_folder_is_not_shared(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3), segment_id="a")
    write_segment(tmp_path / "other", unit_vectors(4), segment_id="a")
    old = open_release(tmp_path / "a")
    new = open_release(tmp_path / "other", opened=old.segments)
    assert new.base is not old.base
    assert new.base.info.rows == 4
    new.close()
    old.close()


def test_a_release_that_fails_to_open_keeps_shared_segments_open(tmp_path: Path):
    write_segment(tmp_path / "a", unit_vectors(3))
    write_delta(tmp_path / "b", tmp_path / "a")
    old = open_release(tmp_path / "a")
    (tmp_path / "b/part-00000/vectors.f16").unlink()
    with pytest.raises(CorruptFile):
        open_release(tmp_path / "a", tmp_path / "b", opened=old.segments)
    assert old.base.database is not None
    assert old.base.database.first_pictures().tolist() == [0, 1, 2]
    old.close()


def test_there_must_be_a_folder_for_each_segment():
    reference = SegmentRef(id="s", rows=1, products=1, bytes=1, info_sha256="0")
    with pytest.raises(ValueError, match="shorter"):
        Release(manifest_of([reference]), [])
