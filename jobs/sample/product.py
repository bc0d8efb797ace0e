"""A product of the sample catalog: all that its pictures have in common.

A product depends on (seed, index) alone: product 17 is the same in a catalog of 20 and of 20,000.
"""

from dataclasses import dataclass

import numpy as np

from jobs.sample.drawing.design import Design
from jobs.sample.drawing.palette import COLOURS, METALS, RGB, WOODS, ink_for, lighter, luminance, mix, shade_of
from jobs.sample.drawing.patterns import PATTERNS, Pattern
from jobs.sample.drawing.pen import Paint
from jobs.sample.kinds.registry import KINDS

# Separate random streams of a seed: a product itself, each picture of it, its sales, and the order of kinds.
IDENTITY, VIEW, SALES, ORDER = 1, 2, 3, 4
_DETAILS = 6


@dataclass(frozen=True)
class Product:
    """A product; `colour`, `pattern` and `kind` are the ground truth that searches are judged by."""

    seed: int
    index: int
    kind: str
    colour: str
    pattern: str
    material: str
    shade: RGB
    ink: RGB
    accent: RGB
    wood: RGB
    metal: RGB
    period: float
    upright: bool
    phase: float
    details: tuple[float, ...]

    @property
    def product_id(self) -> str:
        return f"{self.index:06d}"

    @property
    def category(self) -> str:
        return KINDS[self.kind].category

    def design(self) -> Design:
        """Return the paints and details that the drawing function of its kind works with."""
        gloss = KINDS[self.kind].gloss
        extra = (246, 190, 60) if luminance(self.ink) > 0.5 else (232, 96, 84)
        pattern = Pattern(self.pattern, self.ink, extra, self.period, self.upright, self.phase)
        return Design(
            main=Paint(self.shade, None if self.pattern == "plain" else pattern, gloss),
            accent=Paint(self.accent, None, max(gloss, 0.15)),
            metal=Paint(self.metal, None, 0.9),
            wood=Paint(self.wood, None, 0.3),
            details=self.details,
        )


def generator(seed: int, *key: int) -> np.random.Generator:
    """Return the random stream of a seed and a key. NumPy guarantees the same stream on every platform.

    Raises:
        ValueError: the seed is out of range.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed must be between 0 and {2**32 - 1}, not {seed}")
    return np.random.default_rng((seed, *key))


def generate_product(seed: int, index: int) -> Product:
    """Return the product at `index` of the catalog with this seed.

    Raises:
        ValueError: the seed or the index is out of range.
    """
    if index < 0:
        raise ValueError(f"a product's index must be 0 or more, not {index}")
    rng = generator(seed, IDENTITY, index)
    kind = KINDS[_kind_at(seed, index)]
    colour = str(rng.choice(list(COLOURS)))
    # In a real shop half the products are plain; here fewer are, because patterns make pictures worth searching.
    pattern = str(rng.choice(PATTERNS, p=(0.2, 0.16, 0.16, 0.16, 0.16, 0.16)))
    shade = shade_of(colour, rng)
    ink = ink_for(colour, rng)
    return Product(
        seed=seed,
        index=index,
        kind=kind.name,
        colour=colour,
        pattern=pattern,
        material=str(rng.choice(kind.materials)),
        shade=shade,
        ink=ink,
        accent=_accent(shade, ink, rng),
        wood=WOODS[int(rng.integers(len(WOODS)))],
        metal=METALS[int(rng.integers(len(METALS)))],
        period=kind.period * float(rng.uniform(0.8, 1.2)),
        upright=bool(rng.random() < 0.4),
        phase=float(rng.random()),
        details=tuple(rng.random(_DETAILS).tolist()),
    )


def _kind_at(seed: int, index: int) -> str:
    """Return the kind of a product. Each block of len(KINDS) products has every kind once: small catalogs have all."""
    block, position = divmod(index, len(KINDS))
    return list(KINDS)[int(generator(seed, ORDER, block).permutation(len(KINDS))[position])]


def _accent(shade: RGB, ink: RGB, rng: np.random.Generator) -> RGB:
    """Draw the colour of straps, collars and lids; none of the choices casts doubt on the product's own colour."""
    choices = (ink, mix(shade, (20, 18, 30), 0.4), lighter(shade, 0.55), (58, 54, 58), (236, 230, 218), (196, 154, 108))
    return choices[int(rng.integers(len(choices)))]
