"""Texts about products: titles, captions and queries that are true of them."""

import pytest

from jobs.sample.drawing.palette import COLOUR_SYNONYMS
from jobs.sample.product import generate_product, generator
from jobs.sample.words import caption, plural, query, title


def test_titles_name_the_kind_and_rarely_repeat():
    products = [generate_product(2, index) for index in range(400)]
    titles = [title(product) for product in products]
    for product, text in zip(products, titles, strict=True):
        assert product.kind.lower() in text.lower()
        assert "  " not in text
        assert text == text.strip()
    assert len(set(titles)) > 0.95 * len(titles)


def test_caption_asks_only_for_attributes_of_its_product():
    rng = generator(1, 99)
    for index in range(600):
        product = generate_product(2, index)
        drawn = caption(product, rng)
        assert drawn.kind in (None, product.kind)
        assert drawn.category in (None, product.category)
        assert drawn.colour in (None, product.colour)
        assert drawn.pattern in (None, product.pattern)
        assert (drawn.kind, drawn.category, drawn.colour, drawn.pattern) != (None,) * 4
        if drawn.colour is not None:
            names = (product.colour, *COLOUR_SYNONYMS[product.colour])
            assert any(name in drawn.text.lower() for name in names), drawn


def test_query_names_colour_pattern_and_kind():
    product = generate_product(2, 0)
    assert query(product) == f"{product.colour} {product.pattern} {product.kind}"


@pytest.mark.parametrize(("singular", "plural_form"), [("mug", "mugs"), ("watch", "watches"), ("trousers", "trousers")])
def test_plural_of_a_kind(singular: str, plural_form: str):
    assert plural(singular) == plural_form
