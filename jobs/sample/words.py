"""Texts about products: the titles that a shop writes, and captions that shoppers might type to find them."""

from dataclasses import dataclass, replace

import numpy as np

from jobs.sample.drawing.palette import COLOUR_SYNONYMS
from jobs.sample.drawing.patterns import PATTERN_SYNONYMS
from jobs.sample.kinds.registry import KINDS
from jobs.sample.product import SALES, Product, generator

BRANDS = (
    "Alder & Finch", "Bramblecote", "Casa Lumo", "Dovetail", "Elmfold", "Fjordlight", "Gable Street", "Harbour & Pine",
    "Inkwell", "Juniper Row", "Kestrel", "Lumen & Loom", "Marlowe", "Northbound", "Oatfield", "Pebble & Co",
)  # fmt: skip
_STYLES = {
    "Clothing": ("Relaxed", "Tailored", "Everyday", "Weekend", "Classic", "Vintage", "Soft"),
    "Shoes": ("Everyday", "City", "Classic", "Weekend", "Handmade", "Comfort"),
    "Bags": ("Everyday", "Commuter", "Weekend", "Roomy", "Classic", "City"),
    "Kitchen": ("Hand-Glazed", "Everyday", "Farmhouse", "Breakfast", "Classic", "Studio"),
    "Home": ("Studio", "Soft", "Scandi", "Handmade", "Modern", "Country"),
    "Furniture": ("Mid-Century", "Modern", "Cosy", "Compact", "Classic", "Loft"),
    "Accessories": ("Everyday", "Classic", "Summer", "Travel", "Vintage", "Signature"),
    "Toys & Sport": ("Playful", "Classic", "Junior", "Garden", "Starter", "Pocket"),
}
_PATTERN_TITLES = {
    "plain": ("", "", "Plain", "Solid"),
    "striped": ("Striped", "Stripy", "Breton Stripe"),
    "dotted": ("Polka Dot", "Dotted", "Spotted"),
    "checked": ("Checked", "Gingham", "Plaid"),
    "floral": ("Floral", "Flower Print", "Blossom Print"),
    "zigzag": ("Zigzag", "Chevron", "Zigzag Print"),
}
_PATTERN_NOUNS = {
    "striped": ("stripes",),
    "dotted": ("dots", "polka dots", "spots"),
    "checked": ("checks", "a plaid pattern", "a gingham pattern"),
    "floral": ("flowers", "a flower print", "a floral print"),
    "zigzag": ("zigzags", "chevrons", "a zigzag pattern"),
}
_CATEGORY_WORDS = {
    "Clothing": ("clothing", "clothes", "something to wear"),
    "Shoes": ("shoes", "shoe", "footwear"),
    "Bags": ("bag", "bags"),
    "Kitchen": ("kitchenware", "crockery", "tableware"),
    "Home": ("home decoration", "homeware"),
    "Furniture": ("furniture", "seating"),
    "Accessories": ("accessory", "accessories"),
    "Toys & Sport": ("toy", "toys", "sports and toys"),
}
_OPENINGS = (
    "a photo of a {}",
    "a picture of a {}",
    "the {}",
    "show me a {}",
    "i want a {}",
    "looking for a {}",
    "buy {}",
)


@dataclass(frozen=True)
class Caption:
    """A text and the attributes that it asks for; None where it does not restrict an attribute."""

    text: str
    kind: str | None = None
    category: str | None = None
    colour: str | None = None
    pattern: str | None = None


def pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    """Draw one of the words."""
    return words[int(rng.integers(len(words)))]


def title(product: Product) -> str:
    """Return the shop's title, for example "Kestrel Weekend Canvas Backpack in Cobalt, Polka Dot"."""
    rng = generator(product.seed, SALES, product.index, 1)
    return _title(product, rng)


def brand(product: Product) -> str:
    """Return the product's brand."""
    return pick(generator(product.seed, SALES, product.index, 2), BRANDS)


def _title(product: Product, rng: np.random.Generator) -> str:
    """Draw a title in one of five forms."""
    colour = product.colour
    if rng.random() < 0.35:
        colour = pick(rng, COLOUR_SYNONYMS[product.colour])
    colour, kind = colour.title(), product.kind.title()
    style, pattern = pick(rng, _STYLES[product.category]), pick(rng, _PATTERN_TITLES[product.pattern])
    material = product.material.title()
    form = int(rng.integers(5))
    if form == 0:
        words = f"{style} {material} {kind} in {colour}" + (f", {pattern}" if pattern else "")
    elif form == 1:
        words = f"{style} {colour} {pattern} {kind}"
    elif form == 2:
        words = f"{pattern} {material} {kind} – {colour}"
    elif form == 3:
        words = f"{colour} {pattern} {material} {kind}"
    else:
        words = f"{style} {pattern} {kind}, {colour} {material}"
    if rng.random() < 0.45:
        words = f"{brand(product)} {words}"
    return " ".join(words.split())


def plural(word: str) -> str:
    """Return the plural of a kind's name or synonym."""
    if word.endswith(("trousers", "pants", "slacks", "glasses", "shades", "heels", "luggage", "crockery")):
        return word
    return word + ("es" if word.endswith(("ch", "sh", "ss")) else "s")


def caption(product: Product, rng: np.random.Generator) -> Caption:
    """Draw one of the many ways to ask for this product."""
    if rng.random() < 0.2:
        pattern = None if product.pattern == "plain" else product.pattern
        return Caption(_title(product, rng), product.kind, product.category, product.colour, pattern)
    synonyms = KINDS[product.kind].synonyms
    kind = pick(rng, synonyms) if synonyms and rng.random() < 0.3 else product.kind
    colour = product.colour if rng.random() < 0.6 else pick(rng, COLOUR_SYNONYMS[product.colour])
    pattern = product.pattern if rng.random() < 0.6 else pick(rng, PATTERN_SYNONYMS[product.pattern])
    if rng.random() < 0.12:
        kind = plural(kind)
    after = pattern.startswith("with ")
    omitted: tuple[str, ...] = ()  # attributes that the text does not ask for
    form = float(rng.random())
    if form < 0.5:
        text = _all_attributes(rng, colour, pattern, kind, product.pattern, after)
    elif form < 0.68:
        text = f"{colour} {kind}" if rng.random() < 0.7 else f"{kind} in {colour}"
        omitted = ("pattern",)
    elif form < 0.8:
        text = f"{kind} {pattern}" if after else f"{pattern} {kind}"
        omitted = ("colour",)
    elif form < 0.87:
        text = kind
        omitted = ("colour", "pattern")
    elif form < 0.91:
        text = f"something {pattern}" if rng.random() < 0.6 else pattern
        omitted = ("colour", "kind", "category")
    elif form < 0.95:
        text = f"something {colour}" if rng.random() < 0.6 else colour
        omitted = ("pattern", "kind", "category")
    else:
        text = f"{colour} {pick(rng, _CATEGORY_WORDS[product.category])}"
        omitted = ("kind", "pattern")
    if form < 0.87 and rng.random() < 0.2:
        text = pick(rng, _OPENINGS).format(text)
    elif form < 0.87 and rng.random() < 0.2:
        text = f"a {text}"
    full = Caption(text, product.kind, product.category, product.colour, product.pattern)
    return replace(full, **dict.fromkeys(omitted))


def _all_attributes(
    rng: np.random.Generator, colour: str, pattern: str, kind: str, pattern_name: str, after: bool
) -> str:
    """Return colour, pattern and kind in one of the usual orders."""
    order = float(rng.random())
    if after:
        return f"{colour} {kind} {pattern}"
    if order < 0.45:
        return f"{colour} {pattern} {kind}"
    if order < 0.65:
        return f"{pattern} {colour} {kind}"
    if order < 0.85 or pattern_name not in _PATTERN_NOUNS:
        return f"{pattern} {kind} in {colour}"
    return f"{colour} {kind} with {pick(rng, _PATTERN_NOUNS[pattern_name])}"


def query(product: Product) -> str:
    """Return the plainest query for a product, which the evaluation uses: colour, pattern, kind."""
    return f"{product.colour} {product.pattern} {product.kind}"
