"""The six patterns, as polygons in object space.

A pattern is laid out on a flat sheet, which a `Wrap` function bends around the product: stripes follow a mug's curve.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from jobs.sample.drawing.palette import RGB, mix
from jobs.sample.drawing.shapes import Points

PATTERNS = ("plain", "striped", "dotted", "checked", "floral", "zigzag")
PATTERN_SYNONYMS: dict[str, tuple[str, ...]] = {
    "plain": ("plain", "solid", "plain-coloured"),
    "striped": ("striped", "stripy", "with stripes"),
    "dotted": ("dotted", "polka dot", "spotted"),
    "checked": ("checked", "plaid", "gingham"),
    "floral": ("floral", "flowery", "flower print"),
    "zigzag": ("zigzag", "chevron", "with zigzags"),
}

Wrap = Callable[[Points], Points]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pattern:
    """A pattern as it is printed on one product."""

    name: str
    ink: RGB
    extra: RGB  # the centres of flowers
    period: float  # the repeat, in object units
    upright: bool  # stripes run from top to bottom
    phase: float  # shift, in periods

    def polygons(self, ground: RGB, box: Box, scale: float) -> Iterator[tuple[Points, RGB]]:
        """Yield the polygons that cover `box` (x0, y0, x1, y1) with their colours, in drawing order."""
        period = self.period * scale
        if self.name == "striped":
            yield from _stripes(self, box, period)
        elif self.name == "checked":
            yield from _checks(self, ground, box, period * 1.15)
        elif self.name == "dotted":
            yield from _dots(self, box, period)
        elif self.name == "zigzag":
            yield from _zigzags(self, box, period * 1.12)
        elif self.name == "floral":
            yield from _flowers(self, ground, box, period * 1.75)


def _starts(low: float, high: float, period: float, phase: float) -> list[float]:
    """Return the multiples of `period`, shifted by `phase` periods, that cover low..high."""
    first = np.floor((low - phase * period) / period)
    last = np.ceil((high - phase * period) / period)
    return [(float(i) + phase) * period for i in np.arange(first, last + 1)]


def _band(low: float, high: float, start: float, width: float, upright: bool) -> Points:
    """Return a straight band with enough corners to bend smoothly when it is wrapped."""
    along = np.linspace(low, high, 13)
    edges = np.concatenate([np.full(13, start), np.full(13, start + width)])
    run = np.concatenate([along, along[::-1]])
    return np.stack([edges, run] if upright else [run, edges], axis=1)


def _stripes(pattern: Pattern, box: Box, period: float) -> Iterator[tuple[Points, RGB]]:
    x0, y0, x1, y1 = box
    (low, high), (near, far) = ((x0, x1), (y0, y1)) if pattern.upright else ((y0, y1), (x0, x1))
    for start in _starts(low, high, period, pattern.phase):
        yield _band(near, far, start, period * 0.4, pattern.upright), pattern.ink


def _checks(pattern: Pattern, ground: RGB, box: Box, period: float) -> Iterator[tuple[Points, RGB]]:
    x0, y0, x1, y1 = box
    half = mix(ground, pattern.ink, 0.5)
    width = period * 0.36
    rows, columns = _starts(y0, y1, period, pattern.phase), _starts(x0, x1, period, pattern.phase)
    for y in rows:
        yield _band(x0, x1, y, width, upright=False), half
    for x in columns:
        yield _band(y0, y1, x, width, upright=True), half
    square = np.array([(0, 0), (0.5, 0), (1, 0), (1, 1), (0.5, 1), (0, 1)]) * width
    for y in rows:
        for x in columns:
            yield square + (x, y), pattern.ink


def _lattice(box: Box, period: float, phase: float) -> Iterator[tuple[float, float, int]]:
    """Yield the points (x, y) of a brick lattice and their rows; every second row is shifted by half a step."""
    x0, y0, x1, y1 = box
    row_height = period * 0.866
    for y in _starts(y0, y1, row_height, phase):
        row = round(y / row_height - phase)
        for x in _starts(x0, x1, period, phase + 0.5 * (row % 2)):
            yield x, y, row


def _dots(pattern: Pattern, box: Box, period: float) -> Iterator[tuple[Points, RGB]]:
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    dot = np.stack([np.cos(turn), np.sin(turn)], axis=1) * period * 0.27
    for x, y, _ in _lattice(box, period, pattern.phase):
        yield dot + (x, y), pattern.ink


def _zigzags(pattern: Pattern, box: Box, period: float) -> Iterator[tuple[Points, RGB]]:
    x0, y0, x1, y1 = box
    step = period * 0.55
    xs = np.arange(np.floor(x0 / step) - 1, np.ceil(x1 / step) + 2) * step
    teeth = np.where(np.round(xs / step) % 2 == 0, 0.0, period * 0.5)
    for y in _starts(y0 - period, y1, period, pattern.phase):
        top = np.stack([xs, y + teeth], axis=1)
        yield np.concatenate([top, top[::-1] + (0, period * 0.38)]), pattern.ink


def _flowers(pattern: Pattern, ground: RGB, box: Box, period: float) -> Iterator[tuple[Points, RGB]]:
    turn = np.linspace(0, 2 * np.pi, 35, endpoint=False)
    petals = 0.17 + 0.2 * np.abs(np.cos(2.5 * turn))
    flower = np.stack([np.cos(turn), np.sin(turn)], axis=1) * petals[:, None] * period
    heart = np.stack([np.cos(turn[::4]), np.sin(turn[::4])], axis=1) * 0.1 * period
    leaf = np.array([(0.3, 0), (0.42, 0.09), (0.58, 0.05), (0.66, -0.04), (0.5, -0.1), (0.38, -0.08)]) * period
    leaf_colour = mix(pattern.ink, ground, 0.45)
    for x, y, row in _lattice(box, period, pattern.phase):
        angle = 1.7 * row + 2.3 * round(x / period * 2)
        turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        yield leaf @ turned + (x, y), leaf_colour
        yield flower @ turned + (x, y), pattern.ink
        yield heart + (x, y), pattern.extra
