"""Shoes: sneaker, boot and high heel from the side, toe to the right, sole on y = 0.62; sandals from above."""

import numpy as np

from jobs.sample.drawing.design import Design
from jobs.sample.drawing.forms import Flat, Puff
from jobs.sample.drawing.pen import Pen
from jobs.sample.drawing.shapes import Path, ellipse, moved, points, rect, smooth, stroke

SOLE = 0.62


def sneaker(pen: Pen, design: Design) -> None:
    top = design.vary(0, -0.4, -0.22) if design.choose(1, 3) == 0 else -0.12
    thick = design.vary(2, 0.14, 0.2)
    low = SOLE - thick
    pen.part(
        smooth([(-0.78, top + 0.1), (-0.66, top - 0.08), (-0.34, top - 0.02), (-0.2, top + 0.2), (-0.5, 0.2)]),
        design.accent.dark(0.4),
        Flat(),
    )
    upper = smooth(
        [(-0.88, low + 0.03), (-0.88, low + 0.03), (-0.93, 0.2), (-0.86, top), (-0.86, top), (-0.62, top + 0.1)]
        + [(-0.34, top - 0.02), (-0.34, top - 0.02), (-0.08, 0.02), (0.3, 0.13), (0.66, 0.17), (0.88, 0.28)]
        + [(0.95, low + 0.03), (0.95, low + 0.03)]
    )
    folds: list[tuple[Path, float]] = [([(0.32, 0.16), (0.46, 0.42)], 0.5), ([(-0.4, 0.1), (-0.5, 0.4)], 0.3)]
    pen.part(upper, design.main, Puff(0.85, 0.7), folds=folds, scale=0.8)
    toe = smooth(
        [
            (0.56, low + 0.02),
            (0.56, low + 0.02),
            (0.6, 0.3),
            (0.68, 0.19),
            (0.68, 0.19),
            (0.86, 0.26),
            (0.95, low),
            (0.95, low),
        ]
    )
    pen.part(toe, design.accent if design.choose(3, 2) else design.pale, Puff(0.8))
    heel = smooth([(-0.92, top + 0.2), (-0.78, top + 0.26), (-0.72, low), (-0.72, low), (-0.9, low), (-0.9, low)])
    pen.part(heel, design.accent, Puff(0.6))
    pen.part(rect(-0.93, low - 0.02, 1.0, SOLE, 0.09), design.pale, Puff(0.8))
    pen.line([(-0.9, SOLE - thick * 0.42), (0.97, SOLE - thick * 0.42)], 0.024, design.accent.colour, soft=False)
    tongue = smooth([(-0.42, top - 0.08), (-0.28, top - 0.14), (0.26, 0.08), (0.2, 0.16), (-0.1, 0.1)])
    pen.part(tongue, design.main.dark(0.16), Puff(0.7))
    for share in np.linspace(0, 1, 5):
        x, y = -0.3 + 0.46 * share, top + 0.02 + (0.11 - top) * share**0.75
        pen.line([(x - 0.02, y + 0.12), (x + 0.1, y - 0.05)], 0.036, design.pale.colour)


def boot(pen: Pen, design: Design) -> None:
    top, thick = design.vary(0, -0.95, -0.66), design.vary(1, 0.1, 0.16)
    low = SOLE - thick
    pen.part(ellipse(-0.42, top, 0.33, 0.05), design.main.dark(0.6), Flat())
    upper = smooth(
        [
            (-0.76, top),
            (-0.76, top),
            (-0.09, top),
            (-0.09, top),
            (-0.06, -0.24),
            (0.06, -0.02),
            (0.4, 0.06),
            (0.68, 0.16),
        ]
        + [
            (0.82, 0.34),
            (0.84, low + 0.04),
            (0.84, low + 0.04),
            (-0.78, low + 0.04),
            (-0.78, low + 0.04),
            (-0.8, 0.2),
            (-0.72, -0.2),
        ]
    )
    folds: list[tuple[Path, float]] = [
        ([(-0.68, -0.02), (-0.1, 0.08)], 0.55),
        ([(-0.68, -0.24), (-0.1, -0.34)], 0.4),
        ([(0.16, 0.02), (0.24, 0.34)], 0.45),
    ]
    pen.part(upper, design.main, Puff(1.0, 0.8), folds=folds, scale=0.9)
    pen.part(stroke([(-0.78, top + 0.05), (-0.42, top + 0.08), (-0.07, top + 0.05)], 0.12), design.accent, Puff(0.6))
    if design.choose(2, 2):
        for y in np.linspace(top + 0.24, -0.06, 5):
            pen.line(
                [(-0.2, float(y) + 0.02), (-0.06 + 0.1 * max(0.0, float(y)), float(y) - 0.03)],
                0.036,
                design.pale.colour,
            )
    else:
        panel = points([(-0.52, top + 0.13), (-0.34, top + 0.13), (-0.36, -0.1), (-0.5, -0.1)])
        pen.part(panel, design.dark, Flat())
        pen.part(stroke([(-0.78, 0.02), (-0.4, 0.09), (-0.02, 0.0)], 0.08), design.main.dark(0.35), Puff(0.6))
        pen.part(rect(-0.3, 0.02, -0.18, 0.14, 0.02), design.metal, Flat(), holes=[rect(-0.27, 0.05, -0.21, 0.11)])
    pen.part(rect(-0.8, low + 0.02, -0.34, SOLE + 0.06, 0.03), design.dark, Puff(0.5))
    pen.part(rect(-0.14, low + 0.04, 0.86, SOLE + 0.06, 0.05), design.dark, Puff(0.5))
    pen.part(rect(-0.82, low, 0.9, low + 0.09, 0.04), design.dark.light(0.12), Puff(0.6))


def sandal(pen: Pen, design: Design) -> None:
    """Draw a pair, seen from above; the straps show colour and pattern."""
    wide = design.vary(0, 0.3, 0.36)
    strappy = design.choose(1, 2)
    half = [
        (0.02, -0.95),
        (wide * 0.86, -0.8),
        (wide, -0.4),
        (wide * 0.74, 0.16),
        (wide * 0.8, 0.62),
        (wide * 0.55, 0.9),
        (0.0, 0.95),
    ]
    left = [(-wide * 0.72, -0.84), (-wide * 0.86, -0.4), (-wide * 0.66, 0.16), (-wide * 0.8, 0.62), (-wide * 0.55, 0.9)]
    bed = smooth(half + left[::-1])
    base = design.wood if design.choose(2, 2) else design.pale
    for side in (-1, 1):
        offset, mirror = (side * 0.47, 0.0), np.array([side, 1.0])
        outline = moved(bed * mirror, *offset, turn=side * 6)
        pen.part(outline * (1.0, 1.015), design.dark, Puff(0.6))
        pen.part(outline * (0.995, 0.985), base, Puff(0.5, 0.5))
        heel_mark = moved(ellipse(0, 0.56, 0.14, 0.2), *offset, turn=side * 6)
        pen.shadow(heel_mark, 0.16, 0.05)
        if strappy:
            paths = [
                ([(-wide - 0.06, -0.5), (0, -0.66), (wide + 0.06, -0.34)], 0.27),
                ([(-wide - 0.02, 0.0), (0, -0.14), (wide + 0.02, 0.02)], 0.25),
            ]
            paths.append(([(-wide - 0.02, 0.42), (0, 0.3), (wide + 0.02, 0.42)], 0.18))
        else:
            paths = [([(-wide - 0.07, -0.34), (0, -0.48), (wide + 0.08, -0.28)], 0.62)]
        for path, width in paths:
            strap = moved(stroke(points(path), width) * mirror, *offset, turn=side * 6)
            pen.shadow(strap + (0.015, 0.035), 0.5, 0.025)
            pen.part(strap, design.main, Puff(0.9, 0.8), scale=0.62, turn=side * 6)
        if strappy:
            pen.part(
                moved(rect(wide - 0.03, 0.34, wide + 0.07, 0.46, 0.02) * mirror, *offset, turn=side * 6),
                design.metal,
                Flat(),
            )


def high_heel(pen: Pen, design: Design) -> None:
    lift = design.vary(0, -0.3, -0.12)
    heel = smooth(
        [(-0.88, lift + 0.1), (-0.88, lift + 0.1), (-0.5, lift + 0.34), (-0.7, 0.3), (-0.74, 0.66), (-0.74, 0.66)]
        + [(-0.83, 0.66), (-0.83, 0.66), (-0.86, 0.26)]
    )
    pen.part(heel, design.accent if design.choose(1, 2) else design.main.dark(0.22), Puff(0.9))
    inner = smooth([(-0.88, lift - 0.06), (-0.62, lift - 0.16), (-0.1, 0.1), (0.36, 0.28), (0.2, 0.42), (-0.5, 0.16)])
    pen.part(inner, design.pale.dark(0.25), Flat())
    upper = smooth(
        [(-0.92, lift - 0.22), (-0.92, lift - 0.22), (-0.72, lift - 0.02), (-0.34, 0.16), (0.04, 0.34), (0.26, 0.33)]
        + [(0.42, 0.2), (0.42, 0.2), (0.64, 0.26), (0.9, 0.46), (0.97, 0.6), (0.9, 0.65), (0.55, 0.66), (0.16, 0.64)]
        + [(-0.3, 0.42), (-0.66, lift + 0.36), (-0.9, lift + 0.16), (-0.9, lift + 0.16)]
    )
    pen.part(upper, design.main, Puff(0.9, 0.8), scale=0.62)
    sole = [(-0.86, lift + 0.16), (-0.6, lift + 0.4), (-0.3, 0.44), (0.1, 0.63), (0.5, 0.665), (0.92, 0.655)]
    pen.part(stroke(sole, 0.045), design.dark, Flat())
    if design.choose(2, 3) == 1:
        for side in (-1, 1):
            bow = smooth([(0.44, 0.24), (0.44 + side * 0.18, 0.1), (0.44 + side * 0.2, 0.32)])
            pen.part(bow, design.accent, Puff(0.8))
        pen.part(ellipse(0.44, 0.24, 0.05, 0.05), design.accent.dark(), Puff())
