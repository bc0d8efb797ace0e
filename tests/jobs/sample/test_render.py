"""Pictures: the same for the same product and view, different for another view, and of the product's colour."""

import numpy as np
import pytest
from PIL import Image

from jobs.sample.kinds.registry import KINDS
from jobs.sample.product import Product, product
from jobs.sample.render import render

SEED = 21


def first_of_each_kind() -> list[Product]:
    return [product(SEED, index) for index in range(len(KINDS))]


def pixels(item: Product, view: int, side: int = 96) -> np.ndarray:
    return np.asarray(render(item, view, side), dtype=np.int16)


def test_the_same_view_is_the_same_picture():
    item = product(SEED, 4)
    assert np.array_equal(pixels(item, 0), pixels(item, 0))
    other = render(item, 1, 96).resize((96, 96))
    assert np.abs(np.asarray(render(item, 0, 96).resize((96, 96)), dtype=int) - np.asarray(other)).mean() > 5


@pytest.mark.parametrize("item", first_of_each_kind(), ids=lambda item: item.kind)
def test_every_kind_can_be_drawn(item: Product):
    picture = render(item, 0, 96)
    assert picture.mode == "RGB"
    assert max(picture.size) == 96
    assert min(picture.size) >= 70
    assert np.asarray(picture).std() > 8


def test_the_scene_does_not_depend_on_the_size():
    """A picture drawn small is the large one, shrunk: training may use small ones."""
    for index in range(6):
        item = product(SEED, index)
        small = render(item, 0, 128)
        large = render(item, 0, 384).resize(small.size, Image.Resampling.BOX)
        apart = np.abs(np.asarray(small, dtype=int) - np.asarray(large, dtype=int)).mean()
        another = render(item, 1, 128).resize(small.size)
        assert apart < 7
        assert np.abs(np.asarray(small, dtype=int) - np.asarray(another, dtype=int)).mean() > 2 * apart


def test_shapes_vary():
    assert len({render(product(SEED, index), 0, 48).size for index in range(24)}) >= 3


def test_the_product_shows_its_colour():
    """Somewhere near the middle there are pixels close to the product's own colour."""
    for item in first_of_each_kind():
        picture = pixels(item, 0, 128)
        rows, columns = picture.shape[0] // 8, picture.shape[1] // 8
        middle = picture[rows:-rows, columns:-columns].reshape(-1, 3)
        share = (np.abs(middle - np.array(item.shade)).max(axis=1) < 48).mean()
        assert share > 0.02, item.kind


@pytest.mark.parametrize(("view", "side"), [(-1, 64), (0, 16)])
def test_bad_requests_are_refused(view: int, side: int):
    with pytest.raises(ValueError, match=r"view|pixels"):
        render(product(SEED, 0), view, side)
