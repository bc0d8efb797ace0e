"""The files of a sample catalog: same seed, same bytes; plausible values; no foreign files overwritten."""

import csv
import json
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from artifacts.errors import InputError
from jobs.sample.catalog import COLUMNS, TODAY, catalog_row, draw_catalog
from jobs.sample.kinds.registry import CATEGORIES, KINDS
from jobs.sample.product import generate_product
from jobs.sample.words import BRANDS

SIDE = 48


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty products, drawn in this process."""
    return draw_catalog(40, 7, tmp_path_factory.mktemp("sample") / "shop", side=SIDE, processes=1).parent


def test_same_seed_gives_same_bytes_with_any_number_of_processes(sample: Path, tmp_path: Path):
    again = draw_catalog(40, 7, tmp_path / "again", side=SIDE, processes=2).parent
    assert contents(again) == contents(sample)


def test_another_seed_gives_another_catalog(sample: Path, tmp_path: Path):
    other = draw_catalog(3, 8, tmp_path / "other", side=SIDE, processes=1)
    assert rows(other) != rows(sample / "catalog.csv")[:3]
    assert contents(other.parent)["images/000000.jpg"] != contents(sample)["images/000000.jpg"]


def test_product_is_the_same_in_catalogs_of_any_size(sample: Path, tmp_path: Path):
    few = draw_catalog(3, 7, tmp_path / "few", side=SIDE, processes=1)
    assert rows(few) == rows(sample / "catalog.csv")[:3]
    for name in ("images/000000.jpg", "images/000002.jpg"):
        assert contents(few.parent)[name] == contents(sample)[name]


def test_table_lists_every_picture(sample: Path):
    table = rows(sample / "catalog.csv")
    assert tuple(table[0]) == COLUMNS
    assert len(table) == 40
    assert [line["product_id"] for line in table] == [f"{index:06d}" for index in range(40)]
    for line in table:
        with Image.open(sample / line["image_url"]) as picture:
            assert picture.format == "JPEG"
            assert max(picture.size) == SIDE
    assert {line["image_url"] for line in table} == {f"images/{p.name}" for p in (sample / "images").iterdir()}


def test_values_are_in_range_and_varied():
    lines = [catalog_row(generate_product(7, index)) for index in range(1500)]
    for line in lines:
        low, high = KINDS[line["kind"]].prices
        assert low <= float(line["price"]) <= high + 1
        assert 0 <= float(line["popularity_score"]) <= 1
        assert 0 <= float(line["conversion_rate"]) <= 1
        assert 0 <= float(line["avg_rating"]) <= 5
        assert len(line["avg_rating"].split(".")[1]) == 1
        added, updated = (datetime.fromisoformat(line[name]) for name in ("added_at", "updated_at"))
        assert added <= updated <= TODAY
        assert updated.utcoffset() is not None
        assert line["title"]
    assert {line["category"] for line in lines} == set(CATEGORIES)
    assert {line["brand"] for line in lines} == set(BRANDS)
    assert {line["is_active"] for line in lines} == {"true", "false"}
    assert sum(float(line["avg_rating"]) >= 4.5 for line in lines) > 100
    assert sum((TODAY - datetime.fromisoformat(line["added_at"])).days < 30 for line in lines) > 50


def test_image_url_lists_several_pictures(sample: Path, tmp_path: Path):
    table = draw_catalog(2, 7, tmp_path / "many", pictures_per_product=3, side=SIDE, processes=1)
    urls = json.loads(rows(table)[1]["image_url"])
    assert urls == ["images/000001.jpg", "images/000001-1.jpg", "images/000001-2.jpg"]
    pictures = [(table.parent / url).read_bytes() for url in urls]
    assert len(set(pictures)) == 3
    assert pictures[0] == contents(sample)["images/000001.jpg"]


def test_progress_counts_up_to_the_number_of_products(tmp_path: Path):
    calls: list[int] = []
    draw_catalog(20, 1, tmp_path / "shop", side=SIDE, processes=1, progress=calls.append)
    assert calls == sorted(calls)
    assert calls[-1] == 20


def test_new_sample_replaces_an_earlier_one_completely(tmp_path: Path):
    shop = tmp_path / "shop"
    draw_catalog(5, 1, shop, side=SIDE, pictures_per_product=2, processes=1)
    draw_catalog(2, 2, shop, side=SIDE, processes=1)
    fresh = draw_catalog(2, 2, tmp_path / "fresh", side=SIDE, processes=1).parent
    assert contents(shop) == contents(fresh)


def test_interrupted_sample_has_no_table_and_can_be_drawn_again(tmp_path: Path):
    shop = tmp_path / "shop"
    draw_catalog(20, 1, shop, side=SIDE, processes=1)

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_catalog(20, 2, shop, side=SIDE, processes=1, progress=stop)
    assert not (shop / "catalog.csv").exists()
    (shop / "images" / "000003.jpg.tmp").write_bytes(b"half")
    draw_catalog(20, 1, shop, side=SIDE, processes=1)
    assert not list(shop.rglob("*.tmp"))


@pytest.mark.parametrize(
    "options",
    [{"products": 0}, {"products": -3}, {"seed": -1}, {"seed": 2**32}, {"pictures_per_product": 0}, {"processes": 0}],
    ids=str,
)
def test_arguments_out_of_range_raise_before_anything_is_written(tmp_path: Path, options: dict[str, int]):
    arguments = {"products": 2, "seed": 1, **options}
    with pytest.raises(ValueError, match=next(iter(options))):
        draw_catalog(out=tmp_path / "shop", side=SIDE, **arguments)
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("name", ["notes.txt", "images/holiday.jpg", "catalog.csv", "images/000001.jpg"])
def test_folder_with_foreign_files_is_rejected_unchanged(tmp_path: Path, name: str):
    foreign = tmp_path / "shop" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("foreign")
    with pytest.raises(InputError, match="choose an empty folder"):
        draw_catalog(2, 1, tmp_path / "shop", side=SIDE, processes=1)
    assert contents(tmp_path / "shop") == {name: b"foreign"}


def test_file_in_place_of_the_folder_is_rejected(tmp_path: Path):
    (tmp_path / "shop").write_text("a file")
    with pytest.raises(InputError, match="is a file"):
        draw_catalog(2, 1, tmp_path / "shop", side=SIDE)
