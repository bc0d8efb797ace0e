"""What a shop writes about a product (titles), and what a shopper might type to find it (captions)."""

from dataclasses import dataclass

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
    """A text and what it asks for; None: anything will do."""

    text: str
    kind: str | None = None
    category: str | None = None
    colour: str | None = None
    pattern: str | None = None


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]


def title(product: Product) -> str:
    """What the shop's page says, for example "Kestrel Weekend Canvas Backpack in Cobalt, Polka Dot"."""
    rng = generator(product.seed, SALES, product.index, 1)
    return _title(product, rng)


def brand(product: Product) -> str:
    return _pick(generator(product.seed, SALES, product.index, 2), BRANDS)


def _title(product: Product, rng: np.random.Generator) -> str:
    colour = product.colour
    if rng.random() < 0.35:
        colour = _pick(rng, COLOUR_SYNONYMS[product.colour])
    colour, kind = colour.title(), product.kind.title().replace("T-Shirt", "T-Shirt")
    style, pattern = _pick(rng, _STYLES[product.category]), _pick(rng, _PATTERN_TITLES[product.pattern])
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
    named = f"{brand(product)} {words}" if rng.random() < 0.45 else words
    return " ".join(named.split())


def plural(word: str) -> str:
    if word.endswith(("trousers", "pants", "slacks", "glasses", "shades", "heels", "luggage", "crockery")):
        return word
    return word + ("es" if word.endswith(("ch", "sh", "ss")) else "s")


def caption(product: Product, rng: np.random.Generator) -> Caption:
    """One of the many ways to ask for this product."""
    if rng.random() < 0.2:
        pattern = None if product.pattern == "plain" else product.pattern
        return Caption(_title(product, rng), product.kind, product.category, product.colour, pattern)
    synonyms = KINDS[product.kind].synonyms
    kind = _pick(rng, synonyms) if synonyms and rng.random() < 0.3 else product.kind
    colour = product.colour if rng.random() < 0.6 else _pick(rng, COLOUR_SYNONYMS[product.colour])
    pattern = product.pattern if rng.random() < 0.6 else _pick(rng, PATTERN_SYNONYMS[product.pattern])
    if rng.random() < 0.12:
        kind = plural(kind)
    after = pattern.startswith("with ")
    wants = {"kind": product.kind, "category": product.category, "colour": product.colour, "pattern": product.pattern}
    form = float(rng.random())
    if form < 0.5:
        text = _full(rng, colour, pattern, kind, product.pattern, after)
    elif form < 0.68:
        text = f"{colour} {kind}" if rng.random() < 0.7 else f"{kind} in {colour}"
        wants["pattern"] = ""
    elif form < 0.8:
        text = f"{kind} {pattern}" if after else f"{pattern} {kind}"
        wants["colour"] = ""
    elif form < 0.87:
        text = kind
        wants["colour"] = wants["pattern"] = ""
    elif form < 0.91:
        text = f"something {pattern}" if rng.random() < 0.6 else pattern
        wants["colour"] = wants["kind"] = wants["category"] = ""
    elif form < 0.95:
        text = f"something {colour}" if rng.random() < 0.6 else colour
        wants["pattern"] = wants["kind"] = wants["category"] = ""
    else:
        text = f"{colour} {_pick(rng, _CATEGORY_WORDS[product.category])}"
        wants["kind"] = wants["pattern"] = ""
    if form < 0.87 and rng.random() < 0.2:
        text = _pick(rng, _OPENINGS).format(text)
    elif form < 0.87 and rng.random() < 0.2:
        text = f"a {text}"
    return Caption(text, *(wants[name] or None for name in ("kind", "category", "colour", "pattern")))


def _full(rng: np.random.Generator, colour: str, pattern: str, kind: str, name: str, after: bool) -> str:
    """Colour, pattern and kind in one of the usual orders."""
    order = float(rng.random())
    if after:
        return f"{colour} {kind} {pattern}"
    if order < 0.45:
        return f"{colour} {pattern} {kind}"
    if order < 0.65:
        return f"{pattern} {colour} {kind}"
    if order < 0.85 or name not in _PATTERN_NOUNS:
        return f"{pattern} {kind} in {colour}"
    return f"{colour} {kind} with {_pick(rng, _PATTERN_NOUNS[name])}"


def query(product: Product) -> str:
    """The plainest words for it, as the evaluation asks: colour, pattern, kind."""
    return f"{product.colour} {product.pattern} {product.kind}"
