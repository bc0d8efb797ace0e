"""Outlines in object space: x to the right, y down; a product fills about [-1, 1] in both.

Every function returns float64[n, 2]: the corners of a polygon, in order.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Path = Sequence[tuple[float, float]]


def points(path: Path | Points) -> Points:
    """Convert a path to an array."""
    return np.asarray(path, dtype=np.float64).reshape(-1, 2)


def ellipse(cx: float, cy: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0) -> Points:
    """Return an ellipse, or its arc from `start` to `stop` degrees (0 is to the right, 90 is down)."""
    count = max(8, int(44 * abs(stop - start) / 360))
    turn = np.radians(np.linspace(start, stop, count, endpoint=abs(stop - start) < 360))
    return np.stack([cx + rx * np.cos(turn), cy + ry * np.sin(turn)], axis=1)


def rect(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Points:
    """Return a rectangle with corners rounded by `radius`."""
    if radius <= 0:
        return points([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    corners = [(x1 - r, y0 + r, -90), (x1 - r, y1 - r, 0), (x0 + r, y1 - r, 90), (x0 + r, y0 + r, 180)]
    return np.concatenate([ellipse(cx, cy, r, r, start, start + 90) for cx, cy, start in corners])


def smooth(path: Path | Points, closed: bool = True, steps: int = 7) -> Points:
    """Return a smooth curve (uniform Catmull-Rom) through the points; a point that is repeated stays a sharp corner."""
    p = points(path)
    if closed:
        before, start, end, after = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        padded = np.concatenate([p[:1], p, p[-1:]])
        before, start, end, after = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    b, s, e, a = (q[:, None, :] for q in (before, start, end, after))
    curve = 0.5 * (2 * s + (e - b) * t + (2 * b - 5 * s + 4 * e - a) * t**2 + (3 * s - b - 3 * e + a) * t**3)
    # A repeated point is a segment of length 0: it stays in place, where the spline would loop around it.
    curve = np.where((s == e).all(axis=2, keepdims=True), s, curve)
    out = curve.reshape(-1, 2)
    return out if closed else np.concatenate([out, p[-1:]])


def mirrored(right: Path | Points) -> Points:
    """Return a symmetric outline from its right half, which runs from top to bottom."""
    half = points(right)
    return np.concatenate([half, half[::-1] * (-1, 1)])


def stroke(path: Path | Points, width: float | Sequence[float], soft: bool = True) -> Points:
    """Return the outline of a band along `path`; `width` is one number, or one for each point of the path."""
    p = points(path)
    widths = np.broadcast_to(np.asarray(width, dtype=np.float64), (len(p),))
    if soft:
        drawn = smooth(p, closed=False)
        widths = np.interp(np.linspace(0, 1, len(drawn)), np.linspace(0, 1, len(p)), widths)
        p = drawn
    along = np.gradient(p, axis=0)
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / length[:, None] * (widths[:, None] / 2)
    return np.concatenate([p + normal, (p - normal)[::-1]])


def revolve(profile: Path | Points, cx: float = 0.0, bulge: float = 0.0) -> Points:
    """Return a solid of revolution (vase, mug, bottle) from its (radius, y) profile, top to bottom.

    `bulge` is how far the bottom edge curves down in the middle, like a rim seen slightly from above.
    """
    half = points(profile)
    radius, bottom = half[-1]
    right = half + (cx, 0)
    left = (half * (-1, 1) + (cx, 0))[::-1]
    if bulge <= 0:
        return np.concatenate([right, left])
    return np.concatenate([right, ellipse(cx, bottom, radius, bulge, 0, 180), left])


def moved(outline: Points, dx: float = 0.0, dy: float = 0.0, turn: float = 0.0, size: float = 1.0) -> Points:
    """Return the outline scaled by `size`, rotated by `turn` degrees (clockwise on screen), then shifted."""
    angle = np.radians(turn)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return outline @ matrix * size + (dx, dy)


def flipped(outline: Points) -> Points:
    """Return the outline mirrored left to right."""
    return outline * (-1, 1)
