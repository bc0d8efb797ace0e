"""What a product is made of: the paints and the fixed details its kind draws with."""

from dataclasses import dataclass

from jobs.sample.drawing.pen import Paint

RUBBER = Paint((52, 50, 56), None, 0.25)
CREAM = Paint((238, 234, 226), None, 0.1)


@dataclass(frozen=True)
class Look:
    """`main` carries the product's colour and pattern; the other paints are plain. `details` are 0 to 1, fixed."""

    main: Paint
    accent: Paint
    metal: Paint
    wood: Paint
    details: tuple[float, ...]

    dark: Paint = RUBBER
    pale: Paint = CREAM

    def vary(self, which: int, low: float, high: float) -> float:
        """The detail `which`, stretched to low..high."""
        return low + (high - low) * self.details[which]

    def choose(self, which: int, count: int) -> int:
        """The detail `which` as a choice of 0..count-1."""
        return min(int(self.details[which] * count), count - 1)
