"""Products of the sample catalog: determined by seed and index, and varied enough to be worth searching."""

from collections import Counter

import pytest

from jobs.sample.drawing.palette import COLOUR_SYNONYMS, COLOURS, distance
from jobs.sample.drawing.patterns import PATTERN_SYNONYMS, PATTERNS
from jobs.sample.kinds.registry import CATEGORIES, KINDS
from jobs.sample.product import generate_product
from jobs.sample.words import BRANDS


def test_catalog_has_enough_kinds_colours_patterns_and_brands():
    assert len(KINDS) >= 20
    assert len(CATEGORIES) >= 6
    assert len(COLOURS) == len(COLOUR_SYNONYMS) == 12
    assert len(PATTERNS) == len(PATTERN_SYNONYMS) == 6
    assert len(BRANDS) >= 15


def test_each_block_of_products_has_every_kind_once():
    count = len(KINDS)
    for start in (0, count, 7 * count):
        assert sorted(generate_product(5, start + i).kind for i in range(count)) == sorted(KINDS)


def test_all_colours_and_patterns_are_common():
    products = [generate_product(9, index) for index in range(1200)]
    for field, values in (("colour", COLOURS), ("pattern", PATTERNS)):
        counts = Counter(getattr(product, field) for product in products)
        assert set(counts) == set(values)
        assert min(counts.values()) > 0.4 * len(products) / len(values)


def test_product_depends_on_seed_and_index_only():
    assert generate_product(3, 17) == generate_product(3, 17)
    assert generate_product(3, 17) != generate_product(3, 18)
    assert generate_product(3, 17) != generate_product(4, 17)


def test_pattern_ink_contrasts_with_product_colour():
    for index in range(600):
        product = generate_product(12, index)
        assert distance(product.shade, product.ink) > 0.12, product


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range_raises(seed: int):
    with pytest.raises(ValueError, match="seed"):
        generate_product(seed, 0)


def test_negative_index_raises():
    with pytest.raises(ValueError, match="index"):
        generate_product(1, -1)
