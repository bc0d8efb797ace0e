"""Rendering: the same product and view give the same picture, another view another one, in the product's colour."""

import numpy as np
import pytest
from PIL import Image

from jobs.sample.kinds.registry import KINDS
from jobs.sample.product import Product, generate_product
from jobs.sample.render import render

SEED = 21


def first_of_each_kind() -> list[Product]:
    return [generate_product(SEED, index) for index in range(len(KINDS))]


def pixels(product: Product, view: int, side: int = 96) -> np.ndarray:
    return np.asarray(render(product, view, side), dtype=np.int16)


def test_same_view_renders_the_same_picture():
    product = generate_product(SEED, 4)
    assert np.array_equal(pixels(product, 0), pixels(product, 0))
    other = render(product, 1, 96).resize((96, 96))
    assert np.abs(np.asarray(render(product, 0, 96).resize((96, 96)), dtype=int) - np.asarray(other)).mean() > 5


@pytest.mark.parametrize("product", first_of_each_kind(), ids=lambda product: product.kind)
def test_every_kind_renders(product: Product):
    picture = render(product, 0, 96)
    assert picture.mode == "RGB"
    assert max(picture.size) == 96
    assert min(picture.size) >= 70
    assert np.asarray(picture).std() > 8


def test_scene_does_not_depend_on_picture_size():
    """A small picture equals the large one reduced, so training may use small ones."""
    for index in range(6):
        product = generate_product(SEED, index)
        small = render(product, 0, 128)
        large = render(product, 0, 384).resize(small.size, Image.Resampling.BOX)
        distance = np.abs(np.asarray(small, dtype=int) - np.asarray(large, dtype=int)).mean()
        another = render(product, 1, 128).resize(small.size)
        assert distance < 7
        assert np.abs(np.asarray(small, dtype=int) - np.asarray(another, dtype=int)).mean() > 2 * distance


def test_pictures_have_several_aspect_ratios():
    assert len({render(generate_product(SEED, index), 0, 48).size for index in range(24)}) >= 3


def test_picture_shows_the_product_colour():
    """At least 2 % of the pixels around the centre are close to the product's colour."""
    for product in first_of_each_kind():
        picture = pixels(product, 0, 128)
        rows, columns = picture.shape[0] // 8, picture.shape[1] // 8
        middle = picture[rows:-rows, columns:-columns].reshape(-1, 3)
        share = (np.abs(middle - np.array(product.shade)).max(axis=1) < 48).mean()
        assert share > 0.02, product.kind


@pytest.mark.parametrize(("view", "side"), [(-1, 64), (0, 16)])
def test_view_or_side_out_of_range_raises(view: int, side: int):
    with pytest.raises(ValueError, match=r"view|pixels"):
        render(generate_product(SEED, 0), view, side)
