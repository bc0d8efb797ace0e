"""Furniture, the feet on y = 0.9: chair, armchair, sofa, stool."""

from jobs.sample.drawing.design import Design
from jobs.sample.drawing.forms import Flat, Puff
from jobs.sample.drawing.pen import Pen
from jobs.sample.drawing.shapes import ellipse, flipped, points, rect, smooth, stroke

FLOOR = 0.9


def chair(pen: Pen, design: Design) -> None:
    back = design.vary(0, -0.98, -0.84)
    legs = design.wood if design.choose(1, 3) else design.metal
    far = legs.dark(0.4)
    for path in ([(-0.34, 0.2), (-0.4, FLOOR - 0.12)], [(0.44, 0.2), (0.52, FLOOR - 0.12)]):
        pen.part(stroke(path, (0.075, 0.05), soft=False), far, Puff())
    for x in (-0.42, 0.38):
        pen.part(stroke([(x * 0.86, back + 0.3), (x, 0.2)], 0.07, soft=False), legs, Puff())
    top = design.vary(2, 0.36, 0.46)
    if design.choose(3, 2):
        rest = smooth(
            [
                (-top, back + 0.1),
                (0, back),
                (top, back + 0.1),
                (top + 0.05, -0.3),
                (top - 0.04, -0.06),
                (0, -0.02),
                (-top + 0.04, -0.06),
                (-top - 0.05, -0.3),
            ]
        )
    else:
        rest = rect(-top, back, top, -0.02, 0.16)
    pen.part(rest * 1.035 + (0.02, 0.0), design.main.dark(0.4), Flat())
    pen.part(rest, design.main, Puff(0.8, 0.5))
    seat = smooth(
        [(-0.44, 0.06), (-0.44, 0.06), (0.44, 0.06), (0.44, 0.06), (0.6, 0.3), (0.56, 0.4), (-0.56, 0.4), (-0.6, 0.3)]
    )
    pen.part(seat + (0, 0.06), design.main.dark(0.45), Flat())
    pen.shadow(seat + (0, -0.02), 0.3, 0.05)
    pen.part(seat, design.main, Puff(0.7, 0.5))
    for path in ([(-0.48, 0.42), (-0.58, FLOOR)], [(0.48, 0.42), (0.58, FLOOR)]):
        pen.part(stroke(path, (0.085, 0.055), soft=False), legs, Puff())


def armchair(pen: Pen, design: Design) -> None:
    top, wide = design.vary(0, -0.8, -0.6), design.vary(1, 0.82, 0.92)
    for x in (-wide + 0.14, wide - 0.14):
        pen.part(points([(x - 0.05, 0.7), (x + 0.05, 0.7), (x + 0.03, FLOOR), (x - 0.03, FLOOR)]), design.wood, Puff())
    back = smooth(
        [
            (-wide + 0.2, 0.4),
            (-wide + 0.16, top + 0.2),
            (-0.4, top),
            (0.4, top),
            (wide - 0.16, top + 0.2),
            (wide - 0.2, 0.4),
        ]
    )
    pen.part(back, design.main, Puff(0.9, 0.7))
    if design.choose(2, 2):
        for x in (-0.3, 0.0, 0.3):
            pen.part(ellipse(x, top + 0.34, 0.03, 0.03), design.main.dark(0.4), Puff())
    pen.part(rect(-wide + 0.1, 0.36, wide - 0.1, 0.76, 0.05), design.main.dark(0.08), Puff(0.6, 0.4))
    seat = rect(-wide + 0.2, 0.1, wide - 0.2, 0.42, 0.12)
    pen.shadow(seat + (0, -0.08), 0.4, 0.06)
    pen.part(seat, design.main, Puff(0.9, 0.7))
    height = design.vary(3, -0.16, -0.02)
    arm = smooth(
        [
            (-wide, 0.74),
            (-wide - 0.02, height + 0.1),
            (-wide + 0.1, height),
            (-wide + 0.28, height + 0.04),
            (-wide + 0.3, 0.3),
            (-wide + 0.28, 0.77),
            (-wide + 0.28, 0.77),
            (-wide, 0.77),
            (-wide, 0.77),
        ]
    )
    for outline in (arm, flipped(arm)):
        pen.shadow(outline + (0.0, 0.03), 0.3, 0.05)
        pen.part(outline, design.main, Puff(0.9, 0.8))


def sofa(pen: Pen, design: Design) -> None:
    top, height = design.vary(0, -0.36, -0.22), design.vary(1, -0.04, 0.12)
    base = 0.66
    for x in (-0.82, 0.82):
        pen.part(
            points([(x - 0.045, base), (x + 0.045, base), (x + 0.025, base + 0.18), (x - 0.025, base + 0.18)]),
            design.wood,
            Puff(),
        )
    pen.part(rect(-0.86, top, 0.86, 0.5, 0.14), design.main.dark(0.15), Puff(0.7, 0.4))
    seats = 2 + design.choose(2, 2)
    edge = 0.76
    for number in range(seats):
        x0 = -edge + number * 2 * edge / seats
        pen.part(rect(x0 + 0.01, top + 0.05, x0 + 2 * edge / seats - 0.01, 0.34, 0.1), design.main, Puff(0.9, 0.6))
    pen.part(rect(-0.88, 0.42, 0.88, base + 0.03, 0.04), design.main.dark(0.12), Puff(0.6, 0.4))
    for number in range(seats):
        x0 = -edge + number * 2 * edge / seats
        seat = rect(x0 + 0.005, 0.2, x0 + 2 * edge / seats - 0.005, 0.46, 0.07)
        pen.shadow(seat + (0, -0.05), 0.35, 0.05)
        pen.part(seat, design.main, Puff(0.9, 0.7))
    arm = rect(-1.0, height, -0.75, base + 0.03, 0.11)
    for outline in (arm, flipped(arm)):
        pen.shadow(outline, 0.35, 0.05)
        pen.part(outline, design.main, Puff(0.9, 0.7))
    if design.choose(3, 2):
        pillow = smooth(
            [
                (-0.7, -0.1),
                (-0.7, -0.1),
                (-0.3, -0.16),
                (-0.3, -0.16),
                (-0.26, 0.2),
                (-0.26, 0.2),
                (-0.66, 0.24),
                (-0.66, 0.24),
            ]
        )
        pen.shadow(pillow + (0.03, 0.04), 0.4, 0.05)
        pen.part(pillow, design.accent, Puff(1.0))


def stool(pen: Pen, design: Design) -> None:
    top, wide = design.vary(0, -0.5, -0.2), design.vary(1, 0.56, 0.7)
    legs = design.wood if design.choose(2, 3) else design.metal
    bottom = top + 0.3
    for x, y in ((-0.2, FLOOR - 0.12), (0.24, FLOOR - 0.12)):
        pen.part(stroke([(x, bottom), (x * 1.3, y)], (0.07, 0.05), soft=False), legs.dark(0.4), Puff())
    rung = bottom + (FLOOR - bottom) * 0.55
    pen.part(rect(-wide * 0.78, rung, wide * 0.78, rung + 0.045), legs.dark(0.1), Puff())
    for side in (-1, 1):
        pen.part(
            stroke([(side * wide * 0.66, bottom), (side * wide * 0.86, FLOOR)], (0.085, 0.055), soft=False),
            legs,
            Puff(),
        )
    cushion = smooth(
        [(-wide, top + 0.1), (-wide * 0.5, top - 0.05), (wide * 0.5, top - 0.05), (wide, top + 0.1)]
        + [(wide, bottom - 0.03), (wide * 0.5, bottom + 0.06), (-wide * 0.5, bottom + 0.06), (-wide, bottom - 0.03)]
    )
    pen.part(cushion, design.main, Puff(0.9, 0.8), scale=0.9)
    pen.line([(-wide, bottom - 0.06), (0, bottom + 0.035), (wide, bottom - 0.06)], 0.03, design.accent.colour)
