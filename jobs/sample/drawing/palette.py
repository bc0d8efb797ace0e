"""Colours of the sample catalog: twelve named colours, their synonyms, and the inks of patterns printed on them."""

import numpy as np

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (203, 36, 44),
    "orange": (240, 122, 28),
    "yellow": (247, 204, 52),
    "green": (50, 138, 72),
    "turquoise": (46, 182, 178),
    "blue": (40, 88, 192),
    "purple": (118, 62, 164),
    "pink": (243, 146, 182),
    "brown": (122, 76, 46),
    "black": (40, 40, 45),
    "white": (244, 243, 239),
    "grey": (140, 144, 150),
}

COLOUR_SYNONYMS: dict[str, tuple[str, ...]] = {
    "red": ("crimson", "scarlet", "ruby", "cherry red"),
    "orange": ("tangerine", "pumpkin", "mandarin"),
    "yellow": ("lemon", "sunflower yellow", "golden yellow"),
    "green": ("emerald", "forest green", "jade"),
    "turquoise": ("teal", "aqua", "cyan"),
    "blue": ("cobalt", "royal blue", "sapphire"),
    "purple": ("violet", "plum", "aubergine"),
    "pink": ("rose", "blush pink", "candy pink"),
    "brown": ("chocolate", "chestnut", "coffee"),
    "black": ("jet black", "onyx", "ebony"),
    "white": ("ivory", "snow white", "off-white"),
    "grey": ("gray", "silver grey", "slate"),
}

# The second colour of a product must leave no doubt about the first: mostly light inks on strong colours, and no grey
# on white, which looks the same as white on grey.
_LIGHT_INKS: tuple[RGB, ...] = ((250, 248, 242), (247, 236, 208), (255, 255, 255))
_DARK_INKS: tuple[RGB, ...] = ((36, 38, 48), (32, 44, 84))
_INKS: dict[str, tuple[RGB, ...]] = {
    "yellow": (*_LIGHT_INKS, (66, 62, 66), (46, 72, 120)),
    "pink": (*_LIGHT_INKS, (150, 44, 88), (72, 60, 84)),
    "white": ((52, 54, 62), (176, 148, 96), (166, 106, 86)),
    "grey": (*_LIGHT_INKS, _DARK_INKS[0]),
    "black": (*_LIGHT_INKS, (196, 170, 112)),
    "brown": (*_LIGHT_INKS, (226, 190, 140)),
    "turquoise": (*_LIGHT_INKS, (24, 62, 88)),
    "orange": (*_LIGHT_INKS, (94, 46, 30)),
}

WOODS: tuple[RGB, ...] = ((176, 128, 82), (140, 94, 58), (206, 166, 118), (98, 66, 44))
METALS: tuple[RGB, ...] = ((196, 200, 206), (206, 172, 104), (78, 80, 86))


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """Blend `a` towards `b` by `share`: 0 returns `a`, 1 returns `b`."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def darker(colour: RGB, share: float) -> RGB:
    """Darken a colour towards a deep blue; towards black it would look dirty."""
    return mix(colour, (22, 18, 34), share)


def lighter(colour: RGB, share: float) -> RGB:
    """Lighten a colour towards white."""
    return mix(colour, (255, 255, 255), share)


def luminance(colour: RGB) -> float:
    """Return the luma of a colour (ITU-R BT.601 weights), 0 (black) to 1 (white)."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255


def distance(a: RGB, b: RGB) -> float:
    """Return an approximate perceptual distance of two colours, 0 to about 1."""
    red, green, blue = (p - q for p, q in zip(a, b, strict=True))
    return float(np.sqrt(2 * red**2 + 4 * green**2 + 3 * blue**2)) / (255 * 3)


def shade_of(name: str, rng: np.random.Generator) -> RGB:
    """Draw one product's shade of the colour `name`: close to the named colour, but varied."""
    base = np.array(COLOURS[name], dtype=np.float64)
    lift = rng.uniform(-10, 10)
    jitter = rng.uniform(-7, 7, size=3) if name not in ("black", "white", "grey") else rng.uniform(-2, 2, size=3)
    red, green, blue = np.clip(base + lift + jitter, 18, 252).round().astype(int).tolist()
    return (red, green, blue)


def ink_for(name: str, rng: np.random.Generator) -> RGB:
    """Draw the ink of a pattern that is printed on a product of the colour `name`."""
    inks = _INKS.get(name, (*_LIGHT_INKS, _DARK_INKS[1]) if name not in ("blue", "purple", "green") else _LIGHT_INKS)
    return inks[int(rng.integers(len(inks)))]
