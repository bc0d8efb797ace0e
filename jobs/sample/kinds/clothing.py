"""Clothing: t-shirt, sweater, jacket, dress, skirt, trousers; laid flat, seen from above."""

import numpy as np

from jobs.sample.drawing.design import Design
from jobs.sample.drawing.forms import Flat, Puff
from jobs.sample.drawing.pen import Pen
from jobs.sample.drawing.shapes import Path, Points, ellipse, flipped, mirrored, points, rect, smooth

_CLOTH = Puff(0.62, 0.42)


def _mirrored_pair(
    pen: Pen, outline: Points, design: Design, folds: list[tuple[Path, float]], turn: float, scale: float
) -> None:
    """Draw a sleeve, a leg or a front and its mirror image."""
    pen.part(outline, design.main, _CLOTH, folds=folds, turn=turn, scale=scale)
    mirrored_folds: list[tuple[Path, float]] = [([(-x, y) for x, y in path], strength) for path, strength in folds]
    pen.part(flipped(outline), design.main, _CLOTH, folds=mirrored_folds, turn=-turn, scale=scale)


def _top_body(width: float, bottom: float, neck: float, depth: float, boxy: float) -> Points:
    """Return the outline of a top without its sleeves: shoulders, armholes, hem."""
    return mirrored(
        np.concatenate(
            [
                ellipse(0, -0.74, neck, depth, 90, 0),
                points([(neck, -0.76), (0.5, -0.62), (width + 0.02, -0.2)]),
                smooth([(width + 0.02, -0.2), (width - 0.03 + boxy, 0.3), (width + boxy, bottom)], closed=False),
                smooth([(width + boxy, bottom), (width * 0.5, bottom + 0.03), (0, bottom + 0.035)], closed=False),
            ]
        )
    )


def _body_folds(width: float, bottom: float) -> list[tuple[Path, float]]:
    """Return the creases of a top laid flat."""
    return [
        ([(width, -0.16), (0.1, 0.12)], 0.3),
        ([(-width, -0.12), (-0.08, 0.2)], 0.3),
        ([(0.16, bottom), (0.22, 0.15)], 0.26),
        ([(-0.26, bottom), (-0.2, 0.3)], 0.24),
        ([(width - 0.08, bottom - 0.1), (width - 0.2, 0.1)], 0.2),
    ]


def t_shirt(pen: Pen, design: Design) -> None:
    width, bottom = design.vary(0, 0.48, 0.56), design.vary(1, 0.74, 0.86)
    reach = design.vary(2, 0.0, 0.12)
    sleeve = points([(0.44, -0.66), (0.56, -0.6), (0.97, -0.16 + reach), (0.71, 0.08 + reach), (0.46, -0.2)])
    pen.part(ellipse(0, -0.72, 0.25, 0.12), design.main.dark(0.5), Flat())
    _mirrored_pair(pen, sleeve, design, [([(0.52, -0.3), (0.8, -0.22)], 0.3)], 38, 1.0)
    pen.part(_top_body(width, bottom, 0.23, 0.2, 0.0), design.main, _CLOTH, folds=_body_folds(width, bottom))
    band = np.concatenate([ellipse(0, -0.75, 0.26, 0.24, 180, 0), ellipse(0, -0.75, 0.215, 0.185, 0, 180)])
    collar = design.accent if design.choose(3, 2) else design.main.dark(0.14)
    pen.part(band, collar, Puff(0.5))
    hem = design.main.dark(0.3).colour
    pen.line([(-width + 0.03, bottom - 0.05), (0, bottom - 0.02), (width - 0.03, bottom - 0.05)], 0.01, hem)
    for side in (-1, 1):
        pen.line([(side * 0.49, -0.6), (side * 0.5, -0.4), (side * 0.475, -0.18)], 0.01, hem)


def sweater(pen: Pen, design: Design) -> None:
    width, bottom = design.vary(0, 0.5, 0.58), design.vary(1, 0.62, 0.72)
    sleeve = smooth(
        [(0.44, -0.66), (0.44, -0.66), (0.64, -0.56), (0.82, -0.1), (0.97, 0.56), (0.97, 0.56), (0.73, 0.62)]
        + [(0.73, 0.62), (0.64, 0.1), (0.5, -0.16), (0.5, -0.16)]
    )
    cuff = points([(0.74, 0.56), (0.965, 0.5), (0.985, 0.66), (0.765, 0.72)])
    pen.part(ellipse(0, -0.73, 0.24, 0.11), design.main.dark(0.55), Flat())
    folds: list[tuple[Path, float]] = [([(0.62, 0.0), (0.86, 0.1)], 0.45), ([(0.66, 0.26), (0.9, 0.3)], 0.4)]
    _mirrored_pair(pen, sleeve, design, folds, 14, 1.0)
    rib = design.accent if design.choose(3, 3) == 0 else design.main.dark(0.2)
    pen.part(cuff, rib, Puff(0.6))
    pen.part(flipped(cuff), rib, Puff(0.6))
    body = _top_body(width, bottom, 0.22, 0.13, 0.0)
    pen.part(body, design.main, Puff(0.75, 0.5), folds=_body_folds(width, bottom))
    pen.part(rect(-width + 0.01, bottom - 0.01, width - 0.01, bottom + 0.15, 0.05), rib, Puff(0.6))
    band = np.concatenate([ellipse(0, -0.76, 0.27, 0.2, 180, 0), ellipse(0, -0.76, 0.19, 0.1, 0, 180)])
    pen.part(band, rib, Puff(0.6))
    seam = rib.dark(0.22).colour
    for x in np.linspace(-width + 0.06, width - 0.06, 17):
        pen.line([(x, bottom + 0.02), (x, bottom + 0.13)], 0.009, seam)


def jacket(pen: Pen, design: Design) -> None:
    width, bottom = design.vary(0, 0.52, 0.58), design.vary(1, 0.62, 0.84)
    sleeve = smooth(
        [(0.44, -0.66), (0.44, -0.66), (0.66, -0.54), (0.84, -0.1), (0.98, 0.6), (0.98, 0.6), (0.74, 0.66)]
        + [(0.74, 0.66), (0.64, 0.1), (0.5, -0.16), (0.5, -0.16)]
    )
    folds: list[tuple[Path, float]] = [([(0.64, 0.0), (0.88, 0.12)], 0.5), ([(0.66, -0.3), (0.8, -0.2)], 0.4)]
    _mirrored_pair(pen, sleeve, design, folds, 14, 1.0)
    lining = points([(-0.26, -0.78), (0.26, -0.78), (0.16, bottom), (-0.16, bottom)])
    pen.part(lining, design.accent.dark(0.35), Flat())
    half = np.concatenate(
        [
            points([(0.27, -0.78), (0.5, -0.64), (width, -0.2)]),
            smooth([(width, -0.2), (width - 0.03, 0.3), (width, bottom)], closed=False),
            points([(0.02, bottom + 0.03), (0.02, -0.28)]),
        ]
    )
    front: list[tuple[Path, float]] = [([(width, -0.15), (0.16, 0.15)], 0.35), ([(0.3, bottom), (0.34, 0.2)], 0.3)]
    _mirrored_pair(pen, half, design, front, 0, 1.0)
    lapel = points([(0.13, -0.84), (0.3, -0.76), (0.37, -0.42), (0.27, -0.36), (0.02, -0.2)])
    trim = design.main.dark(0.28) if design.choose(3, 3) else design.accent
    pen.shadow(lapel + (0.02, 0.03), 0.4, 0.03)
    for outline in (lapel, flipped(lapel)):
        pen.part(outline, trim, Puff(0.6, 0.5))
    seam = design.main.dark(0.45).colour
    for side in (-1, 1):
        pen.line([(side * 0.22, 0.34), (side * 0.44, 0.28)], 0.022, seam, soft=False)
    if design.choose(4, 2):
        pen.line([(0, -0.2), (0, bottom)], 0.03, design.metal.colour, soft=False)
    else:
        for y in np.linspace(-0.12, bottom - 0.14, 4):
            pen.part(ellipse(0.07, float(y), 0.032, 0.032), design.dark, Puff())


def dress(pen: Pen, design: Design) -> None:
    waist, flare = design.vary(0, 0.24, 0.29), design.vary(1, 0.56, 0.74)
    hem = design.vary(2, 0.82, 0.95)
    if design.choose(3, 2):
        sleeve = smooth([(0.27, -0.84), (0.4, -0.8), (0.56, -0.54), (0.5, -0.46), (0.31, -0.54), (0.26, -0.7)])
        _mirrored_pair(pen, sleeve, design, [([(0.34, -0.7), (0.48, -0.56)], 0.4)], 30, 0.85)
    pen.part(ellipse(0, -0.84, 0.2, 0.09), design.main.dark(0.55), Flat())
    skirt = mirrored(
        np.concatenate(
            [
                points([(0, -0.16), (waist, -0.16)]),
                smooth([(waist, -0.16), (waist + 0.16, 0.24), (flare, hem - 0.08)], closed=False),
                smooth([(flare, hem - 0.08), (flare * 0.72, hem + 0.02), (flare * 0.4, hem), (0, hem + 0.04)], False),
            ]
        )
    )
    pleats: list[tuple[Path, float]] = [
        ([(s * waist * 0.7, -0.16), (s * flare * 0.95, hem)], 0.65) for s in (-0.75, -0.4, -0.05, 0.3, 0.62)
    ]
    pen.part(skirt, design.main, Puff(0.6, 0.4), folds=pleats)
    top = mirrored(
        np.concatenate(
            [
                ellipse(0, -0.86, 0.19, design.vary(4, 0.14, 0.3), 90, 0),
                points([(0.19, -0.88), (0.3, -0.86)]),
                smooth([(0.3, -0.86), (0.29, -0.62), (0.35, -0.46), (waist, -0.14)], closed=False),
                points([(0, -0.13)]),
            ]
        )
    )
    pen.part(
        top, design.main, Puff(0.6, 0.5), folds=[([(0.3, -0.44), (0.1, -0.2)], 0.35), ([(-0.3, -0.4), (0, -0.3)], 0.3)]
    )
    belt = design.accent if design.choose(5, 2) else design.main.dark(0.3)
    pen.part(rect(-waist - 0.01, -0.19, waist + 0.01, -0.1, 0.03), belt, Puff(0.6))


def skirt(pen: Pen, design: Design) -> None:
    waist, flare, hem = design.vary(0, 0.38, 0.44), design.vary(1, 0.72, 0.92), design.vary(2, 0.5, 0.72)
    pen.part(ellipse(0, -0.64, waist, 0.06), design.main.dark(0.55), Flat())
    half = np.concatenate(
        [
            points([(0, -0.58), (waist, -0.62)]),
            smooth([(waist, -0.62), (waist + 0.14, -0.2), (flare, hem - 0.1)], closed=False),
            smooth([(flare, hem - 0.1), (flare * 0.76, hem), (flare * 0.5, hem - 0.01), (0, hem + 0.05)], closed=False),
        ]
    )
    folds: list[tuple[Path, float]] = [
        ([(s * waist, -0.5), (s * flare, hem)], 0.7) for s in (-0.82, -0.5, -0.2, 0.12, 0.42, 0.74)
    ]
    pen.part(mirrored(half), design.main, Puff(0.55, 0.35), folds=folds)
    band = design.accent if design.choose(3, 2) else design.main.dark(0.25)
    pen.part(
        smooth([(-waist, -0.68), (0, -0.62), (waist, -0.68), (waist + 0.01, -0.54), (0, -0.48), (-waist, -0.54)]), band
    )
    if design.choose(4, 2):
        for y in (-0.38, -0.2, -0.02):
            pen.part(ellipse(0.0, y, 0.035, 0.035), design.pale, Puff())


def trousers(pen: Pen, design: Design) -> None:
    waist, cuff, splay = design.vary(0, 0.36, 0.42), design.vary(1, 0.15, 0.27), design.vary(2, 0.2, 0.32)
    pen.part(ellipse(0, -0.9, waist, 0.05), design.main.dark(0.55), Flat())
    leg = np.concatenate(
        [
            points([(-0.015, -0.87), (waist, -0.9)]),
            smooth([(waist, -0.9), (waist + 0.09, -0.45), (splay + cuff, 0.2), (splay + cuff, 0.93)], closed=False),
            smooth([(splay + cuff, 0.93), (splay, 0.95), (splay - cuff, 0.93)], closed=False),
            smooth([(splay - cuff, 0.93), (splay - cuff - 0.02, 0.2), (0.0, -0.3)], closed=False),
        ]
    )
    folds: list[tuple[Path, float]] = [
        ([(0.05, -0.3), (0.4, -0.42)], 0.45),
        ([(splay, 0.9), (splay - 0.02, -0.4)], 0.35),
        ([(splay - 0.1, 0.1), (splay + 0.16, 0.02)], 0.4),
        ([(splay - 0.1, 0.62), (splay + 0.14, 0.7)], 0.3),
    ]
    _mirrored_pair(pen, leg, design, folds, 4, 1.0)
    seam = design.main.dark(0.42).colour
    pen.line([(0, -0.86), (0, -0.34)], 0.016, seam, soft=False)
    pen.part(
        smooth(
            [(-waist, -0.93), (0, -0.87), (waist, -0.93), (waist + 0.015, -0.8), (0, -0.74), (-waist - 0.015, -0.8)]
        ),
        design.accent if design.choose(3, 3) == 0 else design.main.dark(0.22),
        Puff(0.5),
    )
    for side in (-1, 1):
        pen.line([(side * 0.24, -0.76), (side * 0.3, -0.6), (side * (waist + 0.05), -0.54)], 0.014, seam)
    pen.part(ellipse(0.0, -0.81, 0.032, 0.032), design.metal, Puff())
