"""The relief of a part, which decides where it catches the light.

A form turns a coarse grid of cells into two fields of the same shape: `slope`, how much more (+) or less (-) light a
cell receives than a surface that faces the viewer, about -1 to 1; and `shine`, the specular highlight, 0 to 1.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from jobs.sample.drawing.patterns import Wrap
from jobs.sample.drawing.shapes import Points, points

Field = NDArray[np.float64]


class Grid(NamedTuple):
    """Cell centres in object space, the part's coverage of each cell, and the light on screen and in object space."""

    x: Field
    y: Field
    cover: Image.Image
    light: tuple[float, float]
    local_light: tuple[float, float]


class Form(Protocol):
    """The relief of a part."""

    def relief(self, grid: Grid) -> tuple[Field, Field]:
        """Return slope and shine, each float64 of the grid's shape."""
        ...


@dataclass(frozen=True)
class Flat:
    """A flat board: a gradual gradient away from the light."""

    depth: float = 0.3

    def relief(self, grid: Grid) -> tuple[Field, Field]:
        lx, ly = grid.local_light
        toward = grid.x * lx + grid.y * ly
        slope = self.depth * (toward - toward.mean()) / max(float(np.ptp(toward)), 1e-6)
        shine = np.exp(-(((toward - toward.mean() - 0.15) / 0.22) ** 2)) * 0.25
        return slope - 0.02, shine


@dataclass(frozen=True)
class Puff:
    """A padded shape, inflated like a cushion. `soft` is the width of the rounded rim; 1 rounds the whole shape."""

    depth: float = 1.0
    soft: float = 1.0

    def relief(self, grid: Grid) -> tuple[Field, Field]:
        rows, columns = grid.x.shape
        reach = max(1.0, min(rows, columns) * 0.28 * self.soft)
        pad = int(reach * 2) + 2
        height = np.zeros((rows + 2 * pad, columns + 2 * pad))
        padded = Image.new("L", (columns + 2 * pad, rows + 2 * pad))
        padded.paste(grid.cover, (pad, pad))
        for radius, weight in ((reach, 0.6), (reach * 0.4, 0.4)):
            blurred = np.asarray(padded.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float64)
            height += weight * radius * blurred / 255
        down, right = np.gradient(height)
        inner = (slice(pad, pad + rows), slice(pad, pad + columns))
        nx, ny = -right[inner] * 1.6, -down[inner] * 1.6
        return _lit(nx, ny, grid.light, self.depth)


@dataclass(frozen=True)
class Round:
    """A solid of revolution around the vertical axis x = `cx`; `profile` is (radius, y), top to bottom."""

    profile: Points
    cx: float = 0.0
    depth: float = 1.0

    def relief(self, grid: Grid) -> tuple[Field, Field]:
        radius = np.interp(grid.y, self.profile[:, 1], self.profile[:, 0])
        u = np.clip((grid.x - self.cx) / np.maximum(radius, 1e-3), -1, 1)
        lx, ly = grid.local_light
        slope_y = np.gradient(radius, axis=0)
        steep = slope_y / max(float(np.abs(grid.y[1:] - grid.y[:-1]).mean()), 1e-6)
        face = np.sqrt(1 - u**2 * 0.96)
        slope = (0.85 * u * lx - 0.5 * u**4 + 0.28 * np.clip(-steep, -1, 1) * ly * face) * self.depth
        side = -0.42 if lx < 0 else 0.42
        shine = np.exp(-(((u - side) / 0.13) ** 2)) * 0.75 + np.exp(-(((u + side * 1.75) / 0.1) ** 2)) * 0.25
        return slope, shine


@dataclass(frozen=True)
class Ball:
    """A ball, or the visible part of one."""

    cx: float
    cy: float
    radius: float
    depth: float = 1.0

    def relief(self, grid: Grid) -> tuple[Field, Field]:
        u, v = (grid.x - self.cx) / self.radius, (grid.y - self.cy) / self.radius
        far = np.minimum(u**2 + v**2, 1.0)
        lx, ly = grid.local_light
        slope = (0.75 * (u * lx + v * ly) + 0.1 - 0.42 * far**3) * self.depth
        spot = (u - 0.42 * lx) ** 2 + (v - 0.42 * ly) ** 2
        return slope, np.exp(-spot / 0.035)


def _lit(nx: Field, ny: Field, light: tuple[float, float], depth: float) -> tuple[Field, Field]:
    """Return slope and shine of a relief whose normals are tilted by (nx, ny)."""
    norm = np.sqrt(nx**2 + ny**2 + 1)
    toward = (nx * light[0] + ny * light[1]) / norm
    slope = (0.95 * toward - 0.28 * (1 - 1 / norm)) * depth
    shine = np.clip((toward - 0.22) / 0.4, 0, 1) ** 2 * np.clip((0.85 - toward) / 0.3, 0, 1)
    return slope, shine * 0.5


def around(profile: Points, cx: float = 0.0, bow: float = 0.05) -> Wrap:
    """Return a function that bends a flat sheet around a solid of revolution.

    The sheet gets narrower at the sides, and every row sags by `bow` in the middle.
    """
    radius = float(points(profile)[:, 0].max())

    def wrap(sheet: Points) -> Points:
        angle = np.clip((sheet[:, 0] - cx) / radius, -np.pi / 2, np.pi / 2)
        return np.stack([cx + radius * np.sin(angle), sheet[:, 1] + bow * np.cos(angle)], axis=1)

    return wrap


def over_ball(cx: float, cy: float, radius: float) -> Wrap:
    """Return a function that bends a flat sheet over a ball, its middle towards the viewer."""

    def wrap(sheet: Points) -> Points:
        away = (sheet - (cx, cy)) / radius
        far = np.maximum(np.hypot(away[:, 0], away[:, 1]), 1e-9)
        bent = np.sin(np.minimum(far, np.pi / 2)) / far
        return away * bent[:, None] * radius + (cx, cy)

    return wrap
