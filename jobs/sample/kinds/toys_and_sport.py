"""Toys and sport: ball, kite, guitar, skateboard, teddy bear, toy rocket."""

import numpy as np

from jobs.sample.drawing.design import Design
from jobs.sample.drawing.forms import Ball, Flat, Puff, Round, around, over_ball
from jobs.sample.drawing.pen import Paint, Pen
from jobs.sample.drawing.shapes import ellipse, moved, points, rect, revolve, smooth, stroke


def ball(pen: Pen, design: Design) -> None:
    radius = design.vary(0, 0.76, 0.86)
    cy = 0.86 - radius
    outline = ellipse(0, cy, radius, radius)
    pen.part(outline, design.main, Ball(0, cy, radius), wrap=over_ball(0, cy, radius), turn=design.vary(1, -30, 30))
    seam = design.main.dark(0.35).colour
    if design.choose(2, 2):
        for bend in (-0.45, 0.45):
            arc = [
                (bend * radius * f, cy + radius * y)
                for f, y in ((1.2, -0.84), (0.7, -0.45), (0.55, 0), (0.7, 0.45), (1.2, 0.84))
            ]
            pen.line(arc, 0.022, seam)
        pen.line([(-radius * 0.99, cy), (0, cy + 0.09), (radius * 0.99, cy)], 0.022, seam)
    else:
        pen.part(ellipse(radius * 0.15, cy - radius * 0.86, 0.1, 0.045), design.accent, Puff())


def kite(pen: Pen, design: Design) -> None:
    wide, middle = design.vary(0, 0.6, 0.72), design.vary(1, -0.5, -0.32)
    tail = [(0, 0.5), (0.1, 0.66), (-0.06, 0.8), (0.12, 0.94), (0.02, 1.04)]
    pen.line(tail, 0.016, design.dark.colour)
    for (x, y), turn in zip(tail[1:4], (20, -30, 10), strict=True):
        for side in (-1, 1):
            pen.part(
                moved(points([(0, 0), (side * 0.15, -0.08), (side * 0.15, 0.08)]), x, y, turn), design.accent, Puff(0.7)
            )
    corners = [(0.0, -0.98), (wide, middle), (0.0, 0.52), (-wide, middle)]
    pen.part(points(corners), design.main, Flat(0.5), scale=1.05)
    pen.shadow(points([(0, -0.98), (wide, middle), (0, 0.52)]), 0.22, 0.01)
    pen.line([(0, -0.98), (0, 0.52)], 0.026, design.wood.colour, soft=False)
    pen.line([(-wide, middle), (wide, middle)], 0.026, design.wood.colour, soft=False)
    edge = design.accent.colour
    for start, stop in zip(corners, corners[1:] + corners[:1], strict=True):
        pen.line([start, stop], 0.03, edge, soft=False)


def guitar(pen: Pen, design: Design) -> None:
    waist, low = design.vary(0, 0.28, 0.34), design.vary(1, 0.5, 0.58)
    neck = rect(-0.065, -0.78, 0.065, 0.2)
    head = smooth(
        [
            (-0.1, -1.04),
            (0.1, -1.04),
            (0.1, -1.04),
            (0.12, -0.82),
            (0.07, -0.76),
            (-0.07, -0.76),
            (-0.12, -0.82),
            (-0.1, -1.04),
        ]
    )
    for y in (-0.98, -0.91, -0.84):
        for side in (-1, 1):
            pen.part(ellipse(side * 0.14, y, 0.028, 0.022), design.metal, Puff())
    pen.part(head, design.wood.dark(0.2), Puff(0.6))
    half = [(0.0, -0.24), (0.26, -0.22), (0.42, 0.0), (waist, 0.26), (low, 0.62), (0.42, 0.9), (0.0, 0.98)]
    body = smooth(half + [(-x, y) for x, y in half[-2:0:-1]])
    pen.part(body * (1.05, 1.03) - (0, 0.01), design.main.dark(0.5), Puff(0.8))
    pen.part(body, design.main, Puff(0.6, 0.35))
    pen.part(ellipse(0, 0.22, 0.19, 0.19), design.accent, Flat())
    pen.part(ellipse(0, 0.22, 0.155, 0.155), Paint((34, 26, 24)), Flat(0.8))
    pen.part(neck, design.dark if design.choose(2, 2) else design.wood.dark(0.45), Flat(0.5))
    for y in np.linspace(-0.7, 0.1, 9):
        pen.line([(-0.06, float(y)), (0.06, float(y))], 0.012, design.metal.colour, soft=False)
    pen.part(rect(-0.2, 0.6, 0.2, 0.68, 0.03), design.dark, Puff())
    for x in np.linspace(-0.042, 0.042, 4):
        pen.line([(float(x), -0.84), (float(x), 0.63)], 0.007, (226, 222, 210), soft=False)


def skateboard(pen: Pen, design: Design) -> None:
    wide, kick = design.vary(0, 0.24, 0.3), design.vary(1, 0.0, 0.1)
    for y in (-0.58, 0.58):
        for side in (-1, 1):
            pen.part(
                rect(side * (wide + 0.035) - 0.075, y - 0.11, side * (wide + 0.035) + 0.075, y + 0.11, 0.06),
                design.accent,
                Puff(),
            )
    length = 1.0 - kick
    deck = rect(-wide, -length, wide, length, wide)
    pen.part(deck * (1.05, 1.016), design.wood, Puff(0.6))
    pen.part(deck, design.main, Puff(0.7, 0.35), scale=0.9)
    for y in (-0.58, 0.58):
        for x, step in ((-0.07, -0.06), (0.07, -0.06), (-0.07, 0.06), (0.07, 0.06)):
            pen.part(ellipse(x, y + step, 0.022, 0.022), design.metal, Puff())
    for y in (-length * 0.76, length * 0.76):
        pen.glow(stroke([(-wide * 0.8, y), (wide * 0.8, y)], 0.06), 0.22, 0.05)


def teddy_bear(pen: Pen, design: Design) -> None:
    fur, plain = design.main, design.main.plain()
    ear, plump = design.vary(0, 0.16, 0.22), design.vary(1, 0.44, 0.54)
    muzzle = plain.light(0.5) if sum(plain.colour) < 640 else design.accent.light(0.6)
    for side in (-1, 1):
        pen.part(ellipse(side * 0.36, -0.8, ear, ear), plain, Puff())
        pen.part(ellipse(side * 0.36, -0.78, ear * 0.55, ear * 0.55), muzzle, Puff(0.6))
        arm = moved(ellipse(0, 0, 0.17, 0.34), side * (plump + 0.12), 0.16, turn=side * -32)
        pen.part(arm, plain.dark(0.06), Puff())
    pen.part(
        smooth(
            [
                (0, -0.2),
                (plump * 0.8, -0.04),
                (plump, 0.44),
                (0.34, 0.84),
                (-0.34, 0.84),
                (-plump, 0.44),
                (-plump * 0.8, -0.04),
            ]
        ),
        fur,
        Puff(1.0),
    )
    for side in (-1, 1):
        foot = ellipse(side * 0.42, 0.66, 0.25, 0.25)
        pen.shadow(foot + (0, -0.02), 0.3, 0.05)
        pen.part(foot, plain, Ball(side * 0.42, 0.66, 0.27))
        pen.part(ellipse(side * 0.43, 0.68, 0.14, 0.15), muzzle, Puff(0.6))
    head = ellipse(0, -0.48, 0.5, 0.44)
    pen.shadow(head + (0, 0.06), 0.4, 0.05)
    pen.part(head, plain, Puff(1.0))
    pen.part(ellipse(0, -0.36, 0.23, 0.17), muzzle, Puff(0.8))
    for side in (-1, 1):
        pen.part(ellipse(side * 0.2, -0.56, 0.05, 0.055), Paint((30, 26, 28), None, 1.0), Puff())
        pen.fill(ellipse(side * 0.2 - 0.015, -0.575, 0.014, 0.014), (255, 255, 255))
    pen.part(ellipse(0, -0.42, 0.075, 0.05), Paint((52, 36, 34), None, 0.8), Puff())
    pen.line([(0, -0.4), (0, -0.31)], 0.018, (70, 48, 44))
    pen.line([(-0.09, -0.31), (0, -0.27), (0.09, -0.31)], 0.018, (70, 48, 44))
    if design.choose(2, 2):
        for side in (-1, 1):
            pen.part(smooth([(0, -0.06), (side * 0.2, -0.16), (side * 0.21, 0.04)]), design.accent, Puff(0.8))
        pen.part(ellipse(0, -0.06, 0.06, 0.06), design.accent.dark(), Puff())


def toy_rocket(pen: Pen, design: Design) -> None:
    wide, nose = design.vary(0, 0.32, 0.4), design.vary(1, -1.0, -0.88)
    for side in (-1, 1):
        fin = smooth(
            [
                (side * wide * 0.7, 0.2),
                (side * wide * 0.7, 0.2),
                (side * 0.72, 0.5),
                (side * 0.74, 0.9),
                (side * 0.74, 0.9),
                (side * wide * 0.6, 0.7),
                (side * wide * 0.6, 0.7),
            ]
        )
        pen.part(fin, design.accent, Puff(0.8))
    nozzle = points([(wide * 0.5, 0.66), (wide * 0.62, 0.84)])
    pen.part(revolve(nozzle, 0, 0.03), design.dark, Round(nozzle))
    profile = smooth(
        [
            (0.0, nose),
            (wide * 0.5, nose + 0.3),
            (wide, -0.3),
            (wide * 1.04, 0.1),
            (wide * 0.86, 0.5),
            (wide * 0.66, 0.72),
        ],
        closed=False,
    )
    pen.part(revolve(profile, 0, 0.04), design.main, Round(profile), wrap=around(profile, 0, 0.06), scale=0.9)
    split = nose + 0.36
    tip_width = float(np.interp(split, profile[:, 1], profile[:, 0]))
    tip = np.concatenate([profile[profile[:, 1] < split], [(tip_width, split)]])
    pen.part(revolve(tip, 0, 0.03), design.accent, Round(tip))
    for y, size in ((-0.2, 0.17), (0.22, 0.1))[: 1 + design.choose(2, 2)]:
        pen.part(ellipse(0, y, size, size), design.metal, Puff())
        pen.part(ellipse(0, y, size * 0.7, size * 0.7), Paint((120, 176, 214), None, 1.0), Ball(0, y, size))
    pen.part(rect(-0.05, 0.42, 0.05, 0.9, 0.04), design.accent.dark(0.12), Puff())
