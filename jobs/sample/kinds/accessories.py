"""Accessories: sunglasses, cap, sun hat, umbrella, scarf, watch."""

from itertools import pairwise

import numpy as np

from jobs.sample.drawing.design import Design
from jobs.sample.drawing.forms import Flat, Puff
from jobs.sample.drawing.pen import Paint, Pen
from jobs.sample.drawing.shapes import ellipse, flipped, mirrored, points, rect, smooth, stroke

_LENSES = (Paint((46, 48, 58), None, 1.0), Paint((70, 60, 54), None, 1.0), Paint((58, 76, 84), None, 1.0))


def sunglasses(pen: Pen, design: Design) -> None:
    style, thick = design.choose(0, 3), design.vary(1, 0.12, 0.16)
    if style == 0:
        lens, frame = ellipse(0.5, 0.06, 0.3, 0.29), ellipse(0.5, 0.06, 0.3 + thick, 0.29 + thick)
    elif style == 1:
        lens = smooth([(0.2, -0.14), (0.5, -0.18), (0.82, -0.2), (0.8, 0.1), (0.66, 0.3), (0.36, 0.3), (0.22, 0.12)])
        frame = (lens - (0.5, 0.04)) * (1 + thick / 0.3, 1 + thick / 0.26) + (0.5, 0.02)
    else:
        lens, frame = (
            rect(0.2, -0.18, 0.82, 0.28, 0.1),
            rect(0.2 - thick, -0.18 - thick, 0.82 + thick, 0.28 + thick, 0.14),
        )
    arm = stroke([(0.84, -0.12), (0.99, -0.16), (1.02, -0.02), (0.98, 0.3)], (0.17, 0.14, 0.1, 0.07))
    for outline in (arm, flipped(arm)):
        pen.part(outline, design.main, Puff(), scale=0.55)
    pen.part(stroke([(-0.22, -0.02), (0, -0.12), (0.22, -0.02)], 0.12), design.main, Puff(), scale=0.55)
    tint = _LENSES[design.choose(2, 3)]
    for side in (-1, 1):
        mirror = np.array([side, 1.0])
        pen.part(frame * mirror, design.main, Puff(0.9, 0.5), scale=0.55)
        pen.shadow(lens * mirror, 0.4, 0.02)
        pen.part(lens * mirror, tint, Flat(0.9))
        glint = points([(0.34, -0.1), (0.44, -0.12), (0.36, 0.16), (0.28, 0.12)]) + ((side - 1) * 0.5, 0)
        pen.glow(glint, 0.45, 0.02)
        pen.part(ellipse(side * 0.88, -0.12, 0.028, 0.028), design.metal, Puff())


def cap(pen: Pen, design: Design) -> None:
    top = design.vary(0, -0.66, -0.52)
    brim_paint = design.accent if design.choose(1, 3) == 0 else design.main.plain().dark(0.12)
    crown = smooth(
        [
            (-0.84, 0.36),
            (-0.84, 0.36),
            (-0.88, -0.06),
            (-0.64, top + 0.14),
            (-0.14, top),
            (0.32, top + 0.16),
            (0.54, 0.0),
        ]
        + [(0.56, 0.3), (0.56, 0.3), (-0.1, 0.44)]
    )
    pen.part(crown, design.main, Puff(1.0, 1.0), scale=0.9)
    seam = design.main.dark(0.32).colour
    pen.line([(-0.12, top), (-0.32, -0.1), (-0.36, 0.4)], 0.014, seam)
    pen.line([(-0.12, top), (0.2, -0.1), (0.26, 0.38)], 0.014, seam)
    brim = smooth(
        [
            (-0.12, 0.4),
            (-0.12, 0.4),
            (0.2, 0.2),
            (0.56, 0.16),
            (0.9, 0.3),
            (1.05, 0.5),
            (1.0, 0.56),
            (0.74, 0.54),
            (0.3, 0.5),
        ]
    )
    pen.shadow(brim + (-0.04, -0.06), 0.35, 0.05)
    pen.part(brim, brim_paint, Puff(0.9, 0.8))
    pen.line([(0.06, 0.42), (0.4, 0.34), (0.7, 0.36), (0.94, 0.5)], 0.012, brim_paint.dark(0.25).colour)
    pen.part(ellipse(-0.12, top + 0.01, 0.065, 0.04), design.accent, Puff())
    if design.choose(2, 2):
        pen.part(ellipse(0.36, -0.1, 0.11, 0.14), design.accent, Puff(0.8))


def sun_hat(pen: Pen, design: Design) -> None:
    wide, top = design.vary(0, 0.92, 1.0), design.vary(1, -0.62, -0.46)
    brim = smooth(
        [
            (-wide, 0.3),
            (-0.66, 0.1),
            (0, 0.02),
            (0.66, 0.1),
            (wide, 0.3),
            (0.74, 0.52),
            (0.2, 0.6),
            (-0.3, 0.6),
            (-0.78, 0.5),
        ]
    )
    pen.part(brim + (0, 0.035), design.main.dark(0.5), Flat())
    pen.part(
        brim, design.main, Puff(0.7, 0.5), folds=[([(-0.8, 0.46), (-0.5, 0.2)], 0.4), ([(0.7, 0.5), (0.5, 0.22)], 0.4)]
    )
    pen.shadow(ellipse(0.04, 0.3, 0.62, 0.16), 0.5, 0.06)
    crown = smooth(
        [
            (-0.54, 0.28),
            (-0.54, 0.28),
            (-0.52, -0.1),
            (-0.4, top + 0.06),
            (-0.1, top),
            (0.14, top + 0.02),
            (0.42, top + 0.06),
        ]
        + [(0.53, -0.1), (0.54, 0.28), (0.54, 0.28), (0.0, 0.38)]
    )
    pen.part(crown, design.main, Puff(1.0, 0.9), folds=[([(-0.16, top), (0.06, top + 0.34)], 0.5)])
    band = np.concatenate([ellipse(0, 0.24, 0.545, 0.11, 0, 180), ellipse(0, 0.06, 0.54, 0.1, 180, 0)])
    pen.part(band, design.accent, Puff(0.6))
    if design.choose(2, 2):
        for turn in (1, -1):
            bow = smooth([(0.4, 0.24), (0.4 + 0.2 * turn, 0.1), (0.4 + 0.22 * turn, 0.34)])
            pen.part(bow, design.accent.light(0.12), Puff(0.8))


def umbrella(pen: Pen, design: Design) -> None:
    top, low, bow = design.vary(0, -0.86, -0.74), design.vary(1, -0.02, 0.12), design.vary(2, 0.08, 0.16)
    pen.part(rect(-0.02, top - 0.1, 0.02, top + 0.1), design.metal, Puff())
    pole = [(0, top + 0.2), (0, 0.72)] if design.choose(3, 2) else [(0, top + 0.2), (0, 0.9)]
    pen.part(stroke(pole, 0.045, soft=False), design.metal, Puff())
    if design.choose(3, 2):
        hook = [(0, 0.6), (0, 0.84), (0.06, 0.95), (0.17, 0.95), (0.22, 0.82)]
        pen.part(stroke(hook, 0.085), design.wood, Puff())
    else:
        pen.part(rect(-0.055, 0.68, 0.055, 0.96, 0.05), design.accent, Puff())
    edges = np.array([-1.0, -0.58, 0.0, 0.58, 1.0])
    pen.part(ellipse(0, low - 0.02, 0.9, 0.1), design.main.dark(0.6), Flat())
    rim: list[np.ndarray] = []
    for left, right in pairwise(edges.tolist()):
        rim.append(ellipse((left + right) / 2, low, (right - left) / 2, bow, 180, 360))
    dome = ellipse(0, low, 1.0, low - top, 0, -180)
    canopy = np.concatenate([dome, *rim])
    pen.part(canopy, design.main, Puff(0.95, 1.2), scale=1.05)
    seam = design.main.dark(0.3).colour
    for x in edges[1:-1]:
        pen.line([(0, top), (x * 0.66, (top + low) / 2 - 0.12), (x, low)], 0.014, seam)
    for x, shift in ((-0.3, -0.1), (0.34, 0.1)):
        pen.glow(stroke([(x * 0.5, top + 0.14), (x + shift, low - 0.3)], (0.02, 0.14)), 0.2, 0.06)


def scarf(pen: Pen, design: Design) -> None:
    wide, drop = design.vary(0, 0.42, 0.5), design.vary(1, 0.72, 0.86)
    fringe = design.accent.colour if design.choose(2, 2) else design.main.dark(0.12).colour
    tails = ((-0.2, -0.3, drop), (0.27, -0.3, drop - design.vary(3, 0.12, 0.34)))
    pen.part(ellipse(0, -0.62, 0.46, 0.24), design.main.dark(0.5), Flat())
    for x, y, end in tails:
        for step in np.linspace(-wide * 0.48, wide * 0.48, 12):
            pen.line([(x * 1.5 + step, end - 0.02), (x * 1.54 + step * 1.06, end + 0.14)], 0.024, fringe)
        tail = smooth(
            [
                (x - wide * 0.4, y),
                (x - wide * 0.4, y),
                (x + wide * 0.4, y),
                (x + wide * 0.4, y),
                (x * 1.5 + wide * 0.54, end),
            ]
            + [(x * 1.5 + wide * 0.54, end), (x * 1.5 - wide * 0.54, end), (x * 1.5 - wide * 0.54, end)]
        )
        pen.shadow(tail + (0.03, 0.02), 0.4, 0.04)
        folds = [([(x, y), (x * 1.5, end)], 0.55), ([(x - 0.12, y), (x * 1.5 - 0.16, end - 0.2)], 0.4)]
        folds.append(([(x + 0.14, y), (x * 1.5 + 0.18, end - 0.1)], 0.4))
        pen.part(tail, design.main, Puff(0.7, 0.4), turn=8 if x < 0 else -8, folds=folds)
    outer, inner = ellipse(0, -0.52, 0.7, 0.42), ellipse(0, -0.66, 0.36, 0.14)
    folds = [
        ([(-0.62, -0.64), (-0.14, -0.16)], 0.8),
        ([(-0.5, -0.44), (0.3, -0.2)], 0.7),
        ([(0.64, -0.64), (0.3, -0.2)], 0.8),
        ([(0.5, -0.56), (0.0, -0.34)], 0.5),
        ([(-0.4, -0.86), (0.4, -0.88)], 0.6),
    ]
    pen.shadow(outer + (0.0, 0.05), 0.4, 0.05)
    pen.part(outer, design.main, Puff(0.9, 0.6), holes=[inner], folds=folds, turn=16)


def watch(pen: Pen, design: Design) -> None:
    wide, radius = design.vary(0, 0.3, 0.36), design.vary(1, 0.42, 0.5)
    half = [(wide * 1.08, 0.0), (wide, 0.5), (wide * 0.86, 0.96), (wide * 0.6, 1.02), (0.0, 1.03)]
    below = mirrored(points(half))
    for outline in (below * (1, -1), below):
        pen.part(outline, design.main, Puff(0.8, 0.6), scale=0.68)
    for y in (0.62, 0.72, 0.82):
        pen.part(ellipse(0, y, 0.03, 0.022), design.dark, Flat())
    pen.part(rect(-wide * 1.02, -0.86, wide * 1.02, -0.78, 0.02), design.main.dark(0.22), Puff())
    case = design.metal
    pen.shadow(ellipse(0, 0.03, radius + 0.03, radius + 0.03), 0.5, 0.05)
    pen.part(rect(radius - 0.04, -0.06, radius + 0.09, 0.06, 0.03), case, Puff())
    if design.choose(2, 3) == 0:
        outer, dial = (
            rect(-radius, -radius, radius, radius, 0.14),
            rect(-radius + 0.09, -radius + 0.09, radius - 0.09, radius - 0.09, 0.08),
        )
    else:
        outer, dial = ellipse(0, 0, radius, radius), ellipse(0, 0, radius - 0.08, radius - 0.08)
    pen.part(outer, case, Puff(1.0, 0.4))
    face = design.main.plain() if design.choose(3, 2) else design.pale
    pen.part(dial, face, Flat(0.4))
    ink = design.dark.colour if sum(face.colour) > 330 else design.pale.colour
    for hour in range(12):
        a = np.radians(hour * 30)
        far = radius - 0.12
        pen.line(
            [((far - 0.05) * np.sin(a), (far - 0.05) * np.cos(a)), (far * np.sin(a), far * np.cos(a))],
            0.028,
            ink,
            soft=False,
        )
    pen.line([(0, 0), (0.15, -0.13)], 0.042, ink, soft=False)
    pen.line([(0, 0), (-0.18, -0.2)], 0.03, ink, soft=False)
    pen.part(ellipse(0, 0, 0.03, 0.03), design.accent, Puff())
    pen.glow(points([(-0.26, -0.2), (-0.12, -0.3), (0.0, 0.1), (-0.1, 0.16)]), 0.2, 0.03)
