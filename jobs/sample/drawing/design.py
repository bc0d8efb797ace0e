"""The design of one product: the paints and parameters that its drawing function works with."""

from dataclasses import dataclass

from jobs.sample.drawing.pen import Paint

RUBBER = Paint((52, 50, 56), None, 0.25)
CREAM = Paint((238, 234, 226), None, 0.1)


@dataclass(frozen=True)
class Design:
    """Paints and shape parameters of one product.

    Attributes:
        main: carries the product's colour and pattern; the other paints are plain.
        details: numbers from 0 to 1 that fix the shape; the same in every picture of the product.
    """

    main: Paint
    accent: Paint
    metal: Paint
    wood: Paint
    details: tuple[float, ...]

    dark: Paint = RUBBER
    pale: Paint = CREAM

    def vary(self, index: int, low: float, high: float) -> float:
        """Return the detail at `index`, scaled to low..high."""
        return low + (high - low) * self.details[index]

    def choose(self, index: int, count: int) -> int:
        """Return the detail at `index` as a choice from 0 to count - 1."""
        return min(int(self.details[index] * count), count - 1)
