"""Compacting: base and delta become a new base that answers alike, and nothing that was published meanwhile is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import CorruptFile, InputError
from jobs.compact import step as compact_step
from tests.shop import Shop, assert_same, contents


@pytest.mark.parametrize("codec", ["flat", "pq", "hnsw"])
def test_compacted_release_answers_as_before(tmp_path: Path, codec: str) -> None:
    small = codec == "flat"
    settings = {} if small else {"flat_max_rows": 0, "train_rows_per_list": 16, "codec": codec}
    shop = Shop(tmp_path, products=36 if small else 300, **settings)
    shop.change(1)
    shop.refresh()
    before = shop.open()
    old = contents(before)
    before.close()
    result = shop.compact()
    assert result.changed
    release = shop.open()
    assert len(release.segments) == 1
    assert contents(release) == old
    assert release.base.info.index.codec == codec
    release.close()
    assert_same(shop)
    assert not shop.refresh().changed  # the new base knows the catalog


def test_refreshes_go_on_after_a_compaction(tmp_path: Path) -> None:
    shop = Shop(tmp_path, products=300, flat_max_rows=0, train_rows_per_list=16)
    for number in (1, 2, 3):
        shop.change(number)
        assert shop.refresh().report.obtained.embedded == 2
        if number < 3:
            assert shop.compact().report.drift is not None
    assert_same(shop)


def test_graph_that_has_grown_too_large_is_not_compacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path, products=300, flat_max_rows=0, codec="hnsw")
    shop.change(1)
    shop.refresh()
    served = shop.store.current()
    monkeypatch.setattr("artifacts.index.choosing.HNSW_ROWS", 200)
    with pytest.raises(InputError, match="hnsw is for fewer than 200 rows"):
        shop.compact()
    assert shop.store.current() == served
    shop.settings = shop.settings.model_copy(update={"codec": "pq"})
    shop.compact()
    release = shop.open()
    assert release.base.info.index.codec == "pq"
    release.close()
    assert_same(shop)


def test_there_is_nothing_to_compact_without_a_delta(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    result = shop.compact()
    assert (result.changed, result.note) == (False, "there is no delta: nothing to compact")


def test_compaction_is_due_by_share_and_by_age(tmp_path: Path) -> None:
    shop = Shop(tmp_path, compact_share=0.2)
    shop.change(1)
    shop.refresh()
    assert not shop.compact(if_due=True).changed  # 5 rows of 36
    shop.settings = shop.settings.model_copy(update={"compact_hours": 1e-9})
    assert "h old" in shop.compact(if_due=True).note
    shop.change(2)
    shop.refresh()
    shop.settings = shop.settings.model_copy(update={"compact_hours": 24, "compact_share": 0.1})
    assert "of the base" in shop.compact(if_due=True).note


def test_a_refresh_that_is_published_meanwhile_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path)
    shop.change(1)
    shop.refresh()
    written = compact_step._write_base

    def write_and_refresh(*args: Any) -> Any:
        base = written(*args)
        shop.change(2)
        shop.edit(lambda rows: rows["new1"].update(price="77"))
        shop.refresh()
        return base

    monkeypatch.setattr(compact_step, "_write_base", write_and_refresh)
    shop.compact()
    release = shop.open()
    assert len(release.segments) == 2
    release.close()
    assert_same(shop)
    assert not shop.refresh().changed


def test_a_change_that_is_taken_back_meanwhile_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path)
    shop.edit(lambda rows: rows["p005"].update(price="99"))
    shop.change(1)
    shop.refresh()
    written = compact_step._write_base

    def write_and_refresh(*args: Any) -> Any:
        base = written(*args)
        shop.edit(lambda rows: rows["p005"].update(price="5"))
        shop.refresh()
        return base

    monkeypatch.setattr(compact_step, "_write_base", write_and_refresh)
    shop.compact()
    assert_same(shop)


def test_damage_is_not_copied_into_the_new_base(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.change(1)
    shop.refresh()
    manifest = shop.store.manifest()
    vectors = shop.store.segment_path(manifest.segments[0].id) / "part-00000/vectors.f16"
    vectors.chmod(0o644)
    content = bytearray(vectors.read_bytes())
    content[3] ^= 1
    vectors.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"vectors\.f16"):
        shop.compact()
    assert shop.store.current() == manifest.version


def test_compaction_needs_no_pictures(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.change(1)
    shop.refresh()
    shutil.rmtree(tmp_path / "shop/images")
    for name in ("images", "embeddings", "catalog", "refreshes"):
        shutil.rmtree(tmp_path / "workspace" / name)
    assert shop.compact().changed
