"""Damaged segments: every damage is detected before a file is mapped, and the file is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from artifacts.errors import CorruptFile, IncompatibleRelease
from artifacts.release.release import Release
from artifacts.segments.segment import Segment
from tests.artifacts.building import INDEXED, open_release, unit_vectors, write_segment


@pytest.fixture(scope="module", params=["pq", "flat"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment with every kind of file."""
    folder = tmp_path_factory.mktemp("whole") / "s"
    write_segment(
        folder,
        unit_vectors(300),
        settings=INDEXED.model_copy(update={"codec": request.param, "rows_per_index": 200}),
        thumbnails=[b"jpeg"] * 300,
    )
    return folder


def change_info(folder: Path, **fields: Any) -> None:
    """Change fields of segment.json, but not its files."""
    path = folder / "segment.json"
    content = {**json.loads(path.read_bytes()), **fields}
    path.chmod(0o644)
    path.write_text(json.dumps(content))


def test_every_damaged_file_is_named(folder: Path):
    release = open_release(folder)
    manifest = release.manifest
    release.close()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert len(names) >= 6
    for name in names:
        path = folder / name
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 0x10
        for damaged in (None, bytes(flipped), content[:-1], content + b"\x00", b""):
            path.chmod(0o644)
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.raises(CorruptFile) as caught:
                Release(manifest, [folder])
            assert Path(caught.value.path) == path
            path.write_bytes(content)
    Release(manifest, [folder]).close()


def test_a_missing_folder_is_reported(tmp_path: Path):
    with pytest.raises(CorruptFile, match=r"segment\.json: is missing"):
        Segment(tmp_path / "missing")


@pytest.mark.parametrize("codec", ["pq", "flat"])
@pytest.mark.parametrize("fields", [{"rows": 299}, {"rows": 301}, {"dim": 15}, {"dim": 17}])
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, codec: str, fields: dict[str, int]):
    """Mapped by wrong counts, a file would be read past its end."""
    write_segment(tmp_path / "s", unit_vectors(300), settings=INDEXED.model_copy(update={"codec": codec}))
    change_info(tmp_path / "s", **fields)
    with pytest.raises(CorruptFile, match="does not fit its files"):
        Segment(tmp_path / "s")


def test_a_part_of_the_index_is_refused(tmp_path: Path):
    info = write_segment(tmp_path / "s", unit_vectors(300), settings=INDEXED.model_copy(update={"rows_per_index": 200}))
    assert info.part_rows == [256, 44]
    change_info(tmp_path / "s", parts=[{"rows": 256}])
    with pytest.raises(CorruptFile, match="256 rows of parts, not 300"):
        Segment(tmp_path / "s")


def test_product_rows_of_another_segment_are_refused(tmp_path: Path):
    write_segment(tmp_path / "s", unit_vectors(5))
    write_segment(tmp_path / "t", unit_vectors(6))
    for name in ("part-00000/products.arrow", "products.duckdb"):
        (tmp_path / "t" / name).replace(tmp_path / "s" / name)
    with pytest.raises(CorruptFile, match="6 product rows, not 5"):
        Segment(tmp_path / "s", verify=False)
    # Nothing is left open: DuckDB would refuse to open the file for writing.
    (tmp_path / "s/products.duckdb").chmod(0o644)
    duckdb.connect(str(tmp_path / "s/products.duckdb")).close()


@pytest.mark.parametrize("fields", [{"format": 4}, {"format": 4, "rows": None, "files": "elsewhere"}])
def test_another_format_is_incompatible(tmp_path: Path, fields: dict[str, Any]):
    write_segment(tmp_path / "s", unit_vectors(3))
    change_info(tmp_path / "s", **fields)
    with pytest.raises(IncompatibleRelease, match=r"segment\.json is in format 4"):
        Segment(tmp_path / "s")


@pytest.mark.parametrize("content", [b"[]", b"{}", b"null", b"\xff", b'{"format": 1}'])
def test_an_unreadable_description_is_corrupt(tmp_path: Path, content: bytes):
    write_segment(tmp_path / "s", unit_vectors(3))
    (tmp_path / "s/segment.json").chmod(0o644)
    (tmp_path / "s/segment.json").write_bytes(content)
    with pytest.raises(CorruptFile, match="is not a segment's description"):
        Segment(tmp_path / "s")
