"""Kitchen and home: mug, teapot, bottle, bowl, vase and lamp, which stand on y = 0.9; clock and cushion."""

import numpy as np

from jobs.sample.drawing.design import Design
from jobs.sample.drawing.forms import Ball, Flat, Puff, Round, around, over_ball
from jobs.sample.drawing.pen import Paint, Pen
from jobs.sample.drawing.shapes import ellipse, moved, points, rect, revolve, smooth, stroke

BASE = 0.86
PALM = (Paint((104, 132, 92)), Paint((132, 152, 104)))


def mug(pen: Pen, design: Design) -> None:
    top, wide, taper = design.vary(0, -0.72, -0.42), design.vary(1, 0.5, 0.62), design.vary(2, 0.0, 0.14)
    middle = (top + BASE) / 2
    if design.choose(3, 2):
        handle = ellipse(wide - 0.2 - taper / 2, middle, 0.52, 0.5)
        hole = ellipse(wide - 0.2 - taper / 2, middle, 0.37, 0.35)
    else:
        handle = rect(0.0, middle - 0.46, wide + 0.36, middle + 0.4, 0.24)
        hole = rect(0.0, middle - 0.31, wide + 0.21, middle + 0.25, 0.13)
    grip = design.accent if design.choose(4, 3) == 0 else design.main.plain()
    pen.part(moved(handle, dx=-0.12), grip, Puff(1.0, 0.6), holes=[moved(hole, dx=-0.12)])
    profile = points([(wide, top), (wide, top + 0.3), (wide - taper, BASE - 0.16), (wide - taper - 0.06, BASE)])
    wrap = around(profile, -0.12, 0.1)
    pen.part(revolve(profile, -0.12, 0.1), design.main, Round(profile, -0.12), wrap=wrap)
    pen.part(ellipse(-0.12, top, wide, 0.12), design.main.light(0.25), Flat())
    inner = design.accent if design.choose(5, 2) else design.pale
    pen.part(ellipse(-0.12, top + 0.006, wide - 0.045, 0.096), inner.dark(0.3), Flat(0.9))
    pen.part(ellipse(-0.12, top + 0.045, wide - 0.12, 0.06), inner.dark(0.48), Flat(0.4))


def teapot(pen: Pen, design: Design) -> None:
    wide, top = design.vary(0, 0.54, 0.64), design.vary(1, -0.36, -0.18)
    plain = design.main.plain()
    spout = smooth(
        [(0.36, 0.5), (0.62, 0.3), (0.72, -0.1), (0.92, -0.3), (1.0, -0.24), (0.9, 0.1), (0.72, 0.56), (0.4, 0.76)]
    )
    pen.part(spout, plain, Puff(1.1))
    loop = [(-wide + 0.14, -0.1), (-0.94, -0.2), (-0.98, 0.3), (-wide + 0.06, 0.62)]
    pen.part(stroke(loop, (0.1, 0.13, 0.13, 0.09)), design.accent if design.choose(2, 2) else plain, Puff())
    middle = (top + BASE) / 2 + 0.03
    profile = smooth(
        [(0.3, top), (wide * 0.8, top + 0.12), (wide, middle), (wide * 0.86, BASE - 0.16), (wide * 0.55, BASE)],
        closed=False,
    )
    pen.part(revolve(profile, 0, 0.05), design.main, Round(profile), wrap=over_ball(0, middle, wide * 1.05))
    lid = smooth([(0.0, top - 0.2), (0.2, top - 0.15), (0.33, top - 0.01)], closed=False)
    pen.part(revolve(lid, 0, 0.04), plain if design.choose(3, 2) else design.accent, Round(lid))
    pen.line([(-0.33, top), (0, top + 0.045), (0.33, top)], 0.018, design.main.dark(0.5).colour)
    pen.part(ellipse(0, top - 0.26, 0.09, 0.085), design.accent, Ball(0, top - 0.26, 0.09))


def bottle(pen: Pen, design: Design) -> None:
    wide, neck, shoulder = design.vary(0, 0.28, 0.36), design.vary(1, 0.13, 0.2), design.vary(2, -0.5, -0.3)
    profile = smooth(
        [(neck, -0.72), (neck, -0.72), (neck + 0.01, shoulder - 0.1), (wide, shoulder + 0.16), (wide, shoulder + 0.16)]
        + [(wide, BASE - 0.06), (wide, BASE - 0.06), (wide - 0.04, BASE)],
        closed=False,
    )
    pen.part(revolve(profile, 0, 0.05), design.main, Round(profile), wrap=around(profile, 0, 0.05), scale=0.85)
    cap_paint = (design.metal, design.wood, design.accent)[design.choose(3, 3)]
    cap = points([(neck + 0.03, -0.96), (neck + 0.04, -0.7)])
    pen.part(revolve(cap, 0, 0.03), cap_paint, Round(cap))
    pen.part(ellipse(0, -0.96, neck + 0.03, 0.035), cap_paint.light(0.3), Flat())
    if design.choose(4, 2):
        pen.part(
            stroke([(-neck, -0.8), (-neck - 0.16, -0.98), (0, -1.12), (neck + 0.16, -0.98), (neck, -0.8)], 0.05),
            design.dark,
        )
    pen.part(revolve(points([(wide + 0.004, BASE - 0.14), (wide - 0.02, BASE)]), 0, 0.05), design.metal, Round(profile))


def bowl(pen: Pen, design: Design) -> None:
    wide, top, foot = design.vary(0, 0.8, 0.92), design.vary(1, -0.12, 0.1), design.vary(2, 0.28, 0.4)
    profile = smooth(
        [(wide, top), (wide * 0.96, top + 0.22), (wide * 0.7, BASE - 0.22), (foot, BASE - 0.06)], closed=False
    )
    base = points([(foot, BASE - 0.12), (foot + 0.02, BASE)])
    pen.part(revolve(base, 0, 0.05), design.accent, Round(base))
    pen.part(revolve(profile, 0, 0.04), design.main, Round(profile), wrap=over_ball(0, top, wide * 1.08))
    pen.part(ellipse(0, top, wide, 0.2), design.main.light(0.3), Flat())
    inside = design.accent if design.choose(3, 2) else design.pale
    pen.part(ellipse(0, top + 0.008, wide - 0.05, 0.17), inside, Flat(0.9))
    pen.shadow(ellipse(-0.1, top + 0.0, wide - 0.3, 0.1), 0.5, 0.07)


def vase(pen: Pen, design: Design) -> None:
    belly, neck, lip = design.vary(0, 0.42, 0.58), design.vary(1, 0.14, 0.24), design.vary(2, 0.2, 0.32)
    heart = design.vary(3, 0.05, 0.4)
    top = -0.62
    if design.choose(4, 2):  # stems distinguish a vase from a bottle
        stems = [(-0.34, -1.0), (-0.1, -1.12), (0.16, -1.04), (0.4, -0.92)]
        for number, (x, y) in enumerate(stems):
            pen.line([(0.0, top + 0.1), (x * 0.4, -0.8), (x, y)], 0.024, (92, 116, 82))
            for step in (0.35, 0.65, 1.0):
                leaf = ellipse(0, 0, 0.1, 0.042)
                position = (x * (0.25 + 0.75 * step), top + (y - top) * step)
                pen.part(moved(leaf, *position, turn=40 * (-1) ** number + 60 * step), PALM[number % 2], Puff(0.6))
    pen.part(ellipse(0, top, lip, 0.06), design.main.dark(0.6), Flat())
    profile = smooth(
        [
            (lip, top),
            (neck, top + 0.24),
            (belly * 0.8, heart - 0.28),
            (belly, heart),
            (belly * 0.8, 0.62),
            (belly * 0.55, BASE),
        ],
        closed=False,
    )
    pen.part(revolve(profile, 0, 0.05), design.main, Round(profile), wrap=around(profile, 0, 0.07))
    pen.part(
        np.concatenate([ellipse(0, top, lip, 0.065, 180, 0), ellipse(0, top, lip - 0.03, 0.045, 0, 180)]),
        design.main.light(0.2),
        Flat(),
    )
    pen.part(
        np.concatenate([ellipse(0, top, lip, 0.065, 0, 180), ellipse(0, top, lip - 0.03, 0.045, 180, 0)]), design.accent
    )


def lamp(pen: Pen, design: Design) -> None:
    low, high, narrow = design.vary(0, 0.58, 0.74), design.vary(1, -0.95, -0.8), design.vary(2, 0.26, 0.46)
    foot = design.choose(3, 3)
    if foot == 0:
        profile = smooth([(0.08, -0.1), (0.3, 0.3), (0.32, 0.5), (0.14, BASE)], closed=False)
        pen.part(revolve(profile, 0, 0.03), design.accent, Round(profile))
    elif foot == 1:
        pole = points([(0.035, -0.1), (0.035, BASE - 0.06)])
        pen.part(revolve(pole), design.metal, Round(pole))
        plate = points([(0.32, BASE - 0.06), (0.35, BASE)])
        pen.part(revolve(plate, 0, 0.05), design.metal, Round(plate))
    else:
        for x in (-0.36, 0.36, 0.02):
            pen.part(stroke([(0.0, -0.1), (x, BASE)], (0.07, 0.045), soft=False), design.wood, Puff())
    shade = points([(narrow, high), (low, 0.06)])
    pen.part(ellipse(0, 0.06, low, 0.08), design.pale.dark(0.2), Flat())
    pen.part(revolve(shade, 0, 0.09), design.main, Round(shade, 0, 0.8), wrap=around(shade, 0, 0.09))
    pen.part(ellipse(0, high, narrow, 0.055), design.main.light(0.35), Flat())
    pen.glow(ellipse(0.0, -0.2, low * 0.5, 0.25), design.vary(4, 0.1, 0.4), 0.14)


def clock(pen: Pen, design: Design) -> None:
    radius = design.vary(0, 0.78, 0.9)
    rim = (design.wood, design.metal, design.dark)[design.choose(1, 3)]
    if design.choose(2, 4) == 0:
        frame, face = (
            rect(-radius, -radius, radius, radius, 0.2),
            rect(-radius + 0.09, -radius + 0.09, radius - 0.09, radius - 0.09, 0.13),
        )
    else:
        frame, face = ellipse(0, 0, radius, radius), ellipse(0, 0, radius - 0.1, radius - 0.1)
    pen.part(frame, rim, Puff(1.0, 0.4))
    pen.part(face, design.main, Flat(0.35))
    pen.shadow(moved(np.concatenate([face, face[:1], (face * 0.9)[::-1]]), 0, 0), 0.3, 0.03)
    dial = ellipse(0, 0, 0.44, 0.44)
    pen.part(dial, design.pale, Flat(0.25))
    ink = design.dark.colour
    for hour in range(12):
        a = np.radians(hour * 30)
        inner = 0.33 if hour % 3 == 0 else 0.37
        pen.line([(inner * np.sin(a), inner * np.cos(a)), (0.42 * np.sin(a), 0.42 * np.cos(a))], 0.035, ink, soft=False)
    hour_angle, minute_angle = np.radians(design.vary(3, 0, 360)), np.radians(design.vary(4, 0, 360))
    pen.line([(0, 0), (0.24 * np.sin(hour_angle), -0.24 * np.cos(hour_angle))], 0.05, ink, soft=False)
    pen.line([(0, 0), (0.36 * np.sin(minute_angle), -0.36 * np.cos(minute_angle))], 0.034, ink, soft=False)
    pen.part(ellipse(0, 0, 0.045, 0.045), design.accent, Puff())


def cushion(pen: Pen, design: Design) -> None:
    size, waist = design.vary(0, 0.82, 0.9), design.vary(1, 0.05, 0.12)
    height = size * (0.66 if design.choose(2, 3) == 0 else 1.0)
    quarter = [
        (size, -height),
        (size, -height),
        (size - waist, -height * 0.4),
        (size - waist, height * 0.4),
        (size, height),
        (size, height),
    ]
    across = [(size * 0.4, height - waist), (-size * 0.4, height - waist)]
    outline = smooth(quarter + across + [(-x, -y) for x, y in quarter] + [(-x, -y) for x, y in across])
    folds = [
        ([(size * sx, height * sy), (size * sx * 0.5, height * sy * 0.5)], 0.5) for sx in (-1, 1) for sy in (-1, 1)
    ]
    pen.part(outline * 1.025, design.accent, Puff(0.6))
    pen.part(outline, design.main, Puff(1.1, 1.2), folds=folds)
    if design.choose(3, 3) == 0:
        for sx in (-1, 1):
            for sy in (-1, 1):
                pen.part(ellipse(sx * size, sy * height, 0.07, 0.07), design.accent, Puff())
    elif design.choose(3, 3) == 1:
        pen.shadow(ellipse(0, 0, 0.1, 0.1), 0.6, 0.07)
        pen.part(ellipse(0, 0, 0.055, 0.055), design.accent, Puff())
