"""What a product is: fixed by (seed, index), and varied enough to be worth searching."""

from collections import Counter

import pytest

from jobs.sample.drawing.palette import COLOUR_SYNONYMS, COLOURS, distance
from jobs.sample.drawing.patterns import PATTERN_SYNONYMS, PATTERNS
from jobs.sample.kinds.registry import CATEGORIES, KINDS
from jobs.sample.product import generator, product
from jobs.sample.words import BRANDS, caption, plural, query, title


def test_the_shop_is_varied():
    assert len(KINDS) >= 20
    assert len(CATEGORIES) >= 6
    assert len(COLOURS) == len(COLOUR_SYNONYMS) == 12
    assert len(PATTERNS) == len(PATTERN_SYNONYMS) == 6
    assert len(BRANDS) >= 15


def test_every_run_of_products_has_every_kind_once():
    count = len(KINDS)
    for start in (0, count, 7 * count):
        assert sorted(product(5, start + i).kind for i in range(count)) == sorted(KINDS)


def test_colours_and_patterns_all_occur_often():
    items = [product(9, index) for index in range(1200)]
    for field, names in (("colour", COLOURS), ("pattern", PATTERNS)):
        counts = Counter(getattr(item, field) for item in items)
        assert set(counts) == set(names)
        assert min(counts.values()) > 0.4 * len(items) / len(names)


def test_a_product_depends_on_its_seed_and_index_only():
    assert product(3, 17) == product(3, 17)
    assert product(3, 17) != product(3, 18)
    assert product(3, 17) != product(4, 17)


def test_the_print_never_hides_in_the_ground():
    for index in range(600):
        item = product(12, index)
        assert distance(item.shade, item.ink) > 0.12, item


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_bad_seed_is_refused(seed: int):
    with pytest.raises(ValueError, match="seed"):
        product(seed, 0)


def test_a_bad_index_is_refused():
    with pytest.raises(ValueError, match="index"):
        product(1, -1)


def test_titles_name_the_kind_and_are_varied():
    items = [product(2, index) for index in range(400)]
    titles = [title(item) for item in items]
    for item, text in zip(items, titles, strict=True):
        assert item.kind.lower() in text.lower()
        assert "  " not in text
        assert text == text.strip()
    assert len(set(titles)) > 0.95 * len(titles)


def test_a_caption_is_true_of_its_product():
    rng = generator(1, 99)
    for index in range(600):
        item = product(2, index)
        said = caption(item, rng)
        assert said.kind in (None, item.kind)
        assert said.category in (None, item.category)
        assert said.colour in (None, item.colour)
        assert said.pattern in (None, item.pattern)
        assert (said.kind, said.category, said.colour, said.pattern) != (None,) * 4
        if said.colour is not None:
            names = (item.colour, *COLOUR_SYNONYMS[item.colour])
            assert any(name in said.text.lower() for name in names), said


def test_the_plain_query_names_all_three():
    item = product(2, 0)
    assert query(item) == f"{item.colour} {item.pattern} {item.kind}"


@pytest.mark.parametrize(("word", "more"), [("mug", "mugs"), ("watch", "watches"), ("trousers", "trousers")])
def test_plurals(word: str, more: str):
    assert plural(word) == more
