"""Bags, standing, the bottom on y = 0.9: backpack, handbag, tote bag, suitcase."""

import numpy as np

from jobs.sample.drawing.design import Design
from jobs.sample.drawing.forms import Flat, Puff
from jobs.sample.drawing.pen import Pen
from jobs.sample.drawing.shapes import ellipse, points, rect, smooth, stroke


def backpack(pen: Pen, design: Design) -> None:
    width, top = design.vary(0, 0.54, 0.64), design.vary(1, -0.74, -0.6)
    for side in (-1, 1):
        strap = [(side * 0.34, top + 0.1), (side * (width + 0.2), -0.1), (side * (width + 0.04), 0.66)]
        pen.part(stroke(strap, 0.13), design.accent.dark(0.15), Puff(0.7))
    pen.part(
        stroke([(-0.16, top + 0.06), (-0.14, top - 0.18), (0.14, top - 0.18), (0.16, top + 0.06)], 0.07), design.accent
    )
    body = smooth(
        [(-width, 0.84), (-width - 0.02, 0.2), (-width + 0.06, top + 0.24), (-0.3, top), (0.3, top)]
        + [(width - 0.06, top + 0.24), (width + 0.02, 0.2), (width, 0.84), (0.4, 0.91), (-0.4, 0.91)]
    )
    pen.part(
        body,
        design.main,
        Puff(0.9, 0.7),
        folds=[([(-0.4, -0.2), (-0.46, 0.3)], 0.35), ([(0.46, -0.3), (0.4, 0.2)], 0.3)],
    )
    flap_low = design.vary(2, -0.16, 0.02)
    if design.choose(3, 2):
        flap = smooth(
            [(-width + 0.05, top + 0.26), (-0.3, top - 0.02), (0.3, top - 0.02), (width - 0.05, top + 0.26)]
            + [
                (width - 0.04, flap_low - 0.1),
                (0.3, flap_low + 0.06),
                (-0.3, flap_low + 0.06),
                (-width + 0.04, flap_low - 0.1),
            ]
        )
        pen.shadow(flap + (0, 0.05), 0.5, 0.04)
        pen.part(flap, design.main.dark(0.12), Puff(0.7, 0.5))
        for x in (-0.26, 0.26):
            pen.part(rect(x - 0.05, flap_low - 0.14, x + 0.05, 0.3, 0.02), design.accent, Puff(0.6))
            pen.part(rect(x - 0.075, flap_low + 0.06, x + 0.075, flap_low + 0.17, 0.02), design.metal, Flat())
    else:
        arc = [
            (-width + 0.1, 0.0),
            (-width + 0.12, top + 0.36),
            (0, top + 0.14),
            (width - 0.12, top + 0.36),
            (width - 0.1, 0.0),
        ]
        pen.line(arc, 0.03, design.main.dark(0.5).colour)
        pen.line([(width - 0.1, 0.0), (width - 0.09, 0.1)], 0.045, design.metal.colour)
    pocket = rect(-width * 0.72, 0.28, width * 0.72, 0.8, 0.12)
    pen.shadow(pocket + (0.0, 0.03), 0.45, 0.03)
    pen.part(pocket, design.main, Puff(0.7, 0.5))
    pen.line([(-width * 0.62, 0.37), (width * 0.62, 0.37)], 0.028, design.main.dark(0.5).colour, soft=False)
    pen.part(rect(-0.09, 0.5, 0.09, 0.62, 0.02), design.accent, Flat())


def handbag(pen: Pen, design: Design) -> None:
    top, wide, narrow = design.vary(0, -0.22, -0.06), design.vary(1, 0.72, 0.86), design.vary(2, 0.5, 0.66)
    loop = [
        (-narrow * 0.7, top + 0.04),
        (-0.36, top - 0.52),
        (0, top - 0.66),
        (0.36, top - 0.52),
        (narrow * 0.7, top + 0.04),
    ]
    pen.part(stroke(points(loop) * (0.92, 1) + (0.03, -0.03), 0.06), design.accent.dark(0.4), Puff())
    body = smooth(
        [
            (-narrow, top),
            (-narrow, top),
            (narrow, top),
            (narrow, top),
            (wide, 0.6),
            (wide - 0.04, 0.84),
            (wide - 0.2, 0.9),
        ]
        + [(-wide + 0.2, 0.9), (-wide + 0.04, 0.84), (-wide, 0.6)]
    )
    pen.part(
        body, design.main, Puff(0.85, 0.7), folds=[([(-0.5, 0.1), (-0.6, 0.6)], 0.3), ([(0.5, 0.0), (0.62, 0.5)], 0.3)]
    )
    if design.choose(3, 2):
        flap = smooth(
            [
                (-narrow - 0.02, top - 0.02),
                (-narrow - 0.02, top - 0.02),
                (narrow + 0.02, top - 0.02),
                (narrow + 0.02, top - 0.02),
            ]
            + [(narrow * 0.9, 0.28), (0, 0.42), (-narrow * 0.9, 0.28)]
        )
        pen.shadow(flap + (0, 0.05), 0.5, 0.04)
        pen.part(flap, design.main.dark(0.14), Puff(0.7, 0.5))
        pen.part(rect(-0.1, 0.28, 0.1, 0.48, 0.04), design.metal, Puff(0.8), holes=[])
    else:
        pen.part(rect(-narrow - 0.01, top - 0.03, narrow + 0.01, top + 0.1, 0.03), design.accent, Puff(0.6))
        pen.part(ellipse(0, top + 0.04, 0.05, 0.05), design.metal, Puff())
    pen.part(stroke(loop, 0.075), design.accent, Puff())
    for x in (-narrow * 0.7, narrow * 0.7):
        pen.part(
            ellipse(x * 0.98, top + 0.06, 0.06, 0.06),
            design.metal,
            Puff(),
            holes=[ellipse(x * 0.98, top + 0.06, 0.03, 0.03)],
        )


def tote_bag(pen: Pen, design: Design) -> None:
    top, wide, low = design.vary(0, -0.34, -0.16), design.vary(1, 0.6, 0.72), design.vary(2, 0.0, 0.08)
    reach = design.vary(3, 0.5, 0.62)
    loop = [
        (-0.3, top + 0.05),
        (-0.27, top - reach + 0.1),
        (0, top - reach),
        (0.27, top - reach + 0.1),
        (0.3, top + 0.05),
    ]
    strap = design.accent if design.choose(4, 2) else design.main.plain()
    pen.part(stroke(points(loop) + (0.05, -0.04), 0.085), strap.dark(0.4), Flat())
    pen.part(smooth([(-wide, top), (0, top - 0.05), (wide, top), (0, top + 0.06)]), design.main.dark(0.6), Flat())
    body = np.concatenate(
        [
            smooth([(-wide, top), (-0.2, top + 0.05), (0.3, top + 0.04), (wide, top)], closed=False),
            smooth([(wide, top), (wide - 0.02, 0.3), (wide - low, 0.88)], closed=False),
            smooth([(wide - low, 0.88), (0, 0.92), (-wide + low, 0.88), (-wide + 0.02, 0.3)], closed=False),
        ]
    )
    pen.part(
        body,
        design.main,
        Puff(0.55, 0.4),
        folds=[
            ([(-0.3, top), (-0.1, 0.5)], 0.45),
            ([(0.3, top), (0.16, 0.6)], 0.45),
            ([(-wide, 0.8), (-0.2, 0.5)], 0.35),
        ],
    )
    pen.part(stroke(loop, 0.09), strap, Puff(0.5))
    for x in (-0.3, 0.3):
        pen.part(rect(x - 0.06, top + 0.02, x + 0.06, top + 0.2), strap, Flat())
        stitch = strap.dark(0.4).colour
        pen.line([(x - 0.04, top + 0.06), (x + 0.04, top + 0.17)], 0.01, stitch, soft=False)
        pen.line([(x + 0.04, top + 0.06), (x - 0.04, top + 0.17)], 0.01, stitch, soft=False)


def suitcase(pen: Pen, design: Design) -> None:
    wide, top = design.vary(0, 0.48, 0.58), design.vary(1, -0.6, -0.46)
    for x in (-0.2, 0.2):
        pen.part(rect(x - 0.025, -0.95, x + 0.025, top + 0.05), design.metal, Flat(0.6))
    pen.part(rect(-0.27, -1.0, 0.27, -0.91, 0.04), design.dark, Puff())
    for x in (-wide + 0.14, wide - 0.14):
        pen.part(ellipse(x, 0.9, 0.075, 0.075), design.dark, Puff())
    body = rect(-wide, top, wide, 0.86, 0.13)
    pen.part(body, design.main, Puff(0.8, 0.42))
    if design.choose(2, 2):
        for x in np.linspace(-wide + 0.18, wide - 0.18, 4):
            pen.shadow(rect(float(x) - 0.012, top + 0.12, float(x) + 0.012, 0.74), 0.42, 0.012)
    else:
        for x in (-wide + 0.2, wide - 0.2):
            pen.part(rect(x - 0.06, top, x + 0.06, 0.86), design.accent, Puff(0.6))
            pen.part(rect(x - 0.075, 0.0, x + 0.075, 0.12, 0.02), design.metal, Flat())
    for x in (-wide, wide):
        for y in (top, 0.86):
            corner = rect(min(x, x * 0.76), min(y, y * 0.8 + 0.03), max(x, x * 0.76), max(y, y * 0.8 + 0.03), 0.08)
            pen.part(corner, design.accent.dark(0.2), Puff(0.8))
    pen.part(stroke([(-0.14, top), (-0.12, top - 0.08), (0.12, top - 0.08), (0.14, top)], 0.05), design.dark, Puff())
