"""What a product of the sample catalog is: everything about it that no picture changes.

Every product is drawn from (seed, index) alone, so product 17 is the same in a catalog of 20 and of 20,000, and
whichever process draws it.
"""

from dataclasses import dataclass

import numpy as np

from jobs.sample.drawing.look import Look
from jobs.sample.drawing.palette import COLOURS, METALS, RGB, WOODS, ink_for, lighter, luminance, mix, shade_of
from jobs.sample.drawing.patterns import PATTERNS, Print
from jobs.sample.drawing.pen import Paint
from jobs.sample.kinds.registry import KINDS

# Separate streams for the same (seed, index): one for what a product is, one per picture of it, one for its sales.
IDENTITY, VIEW, SALES, ORDER = 1, 2, 3, 4
_DETAILS = 6


@dataclass(frozen=True)
class Product:
    """`colour`, `pattern` and `kind` are the ground truth a search can be judged by."""

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

    def look(self) -> Look:
        """The paints and details its kind draws with."""
        gloss = KINDS[self.kind].gloss
        extra = (246, 190, 60) if luminance(self.ink) > 0.5 else (232, 96, 84)
        pattern = Print(self.pattern, self.ink, extra, self.period, self.upright, self.phase)
        return Look(
            main=Paint(self.shade, None if self.pattern == "plain" else pattern, gloss),
            accent=Paint(self.accent, None, max(gloss, 0.15)),
            metal=Paint(self.metal, None, 0.9),
            wood=Paint(self.wood, None, 0.3),
            details=self.details,
        )


def generator(seed: int, *place: int) -> np.random.Generator:
    """The random numbers of one place in the catalog. NumPy promises the same stream on every platform."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed must be between 0 and {2**32 - 1}, not {seed}")
    return np.random.default_rng((seed, *place))


def product(seed: int, index: int) -> Product:
    """The product at `index` of the catalog `seed`."""
    if index < 0:
        raise ValueError(f"a product's index is 0 or more, not {index}")
    rng = generator(seed, IDENTITY, index)
    kind = KINDS[_kind_at(seed, index)]
    colour = str(rng.choice(list(COLOURS)))
    # Half the shop is plain would be true to life, but patterns are what makes the pictures worth searching.
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
    """Kinds are dealt like cards: every run of len(KINDS) products has each kind once, so small catalogs have all."""
    block, place = divmod(index, len(KINDS))
    return list(KINDS)[int(generator(seed, ORDER, block).permutation(len(KINDS))[place])]


def _accent(shade: RGB, ink: RGB, rng: np.random.Generator) -> RGB:
    """The colour of straps, collars and lids. Never one that would make the product's own colour doubtful."""
    choices = (ink, mix(shade, (20, 18, 30), 0.4), lighter(shade, 0.55), (58, 54, 58), (236, 230, 218), (196, 154, 108))
    return choices[int(rng.integers(len(choices)))]
