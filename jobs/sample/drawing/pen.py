"""The drawing surface: turns outlines in object space into shaded, patterned, perspective-correct pixels.

Colours are drawn at the full (supersampled) size. Light and shade change slowly, so they are computed on a grid about
sixteen times coarser and enlarged; therefore a picture takes milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from jobs.sample.drawing.forms import Form, Grid, Puff
from jobs.sample.drawing.palette import RGB, darker, lighter
from jobs.sample.drawing.patterns import Pattern, Wrap
from jobs.sample.drawing.shapes import Path, Points, stroke

_CELLS = 96  # shade cells along the longer side of the picture
_DEEP, _BRIGHT = 0.72, 0.86  # how far full shadow and full glow change a colour


@dataclass(frozen=True)
class Paint:
    """The surface of a part."""

    colour: RGB
    pattern: Pattern | None = None
    gloss: float = 0.0  # 0: cloth; 1: glazed or polished

    def plain(self) -> "Paint":
        """Return the same paint without its pattern."""
        return replace(self, pattern=None)

    def dark(self, share: float = 0.25) -> "Paint":
        """Return a darker paint without a pattern."""
        return Paint(darker(self.colour, share), None, self.gloss)

    def light(self, share: float = 0.3) -> "Paint":
        """Return a lighter paint without a pattern."""
        return Paint(lighter(self.colour, share), None, self.gloss)


@dataclass(frozen=True)
class Light:
    """The light of a scene; (x, y) is the unit vector on screen towards its source, y down."""

    x: float
    y: float
    power: float  # 1: ordinary


class Pen:
    """Draws parts, back to front.

    `rgb` stays black where `alpha` is 0, so that shrinking both gives clean edges.

    Args:
        size: (width, height) of the canvas in pixels.
        matrix: float64[3, 3], the homogeneous map from object space to pixels.
        light: of the scene.
    """

    def __init__(self, size: tuple[int, int], matrix: NDArray[np.float64], light: Light) -> None:
        self.size = size
        self.light = light
        self.rgb = Image.new("RGB", size)
        self.alpha = Image.new("L", size)
        self._matrix = matrix
        self._inverse = np.linalg.inv(matrix)
        self._cell = max(size) / _CELLS
        axis = matrix[:2, 0] / np.hypot(*matrix[:2, 0])
        up = matrix[:2, 1] / np.hypot(*matrix[:2, 1])
        # The light in object space, so that a rotated or mirrored body is lit from the same side of the picture.
        self._local_light = (float(axis @ (light.x, light.y)), float(up @ (light.x, light.y)))
        self._unit = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))

    def to_pixels(self, outline: Points) -> Points:
        """Map float64[n, 2] in object space to float64[n, 2] in pixels of the canvas."""
        flat = outline @ self._matrix[:2, :2].T + self._matrix[:2, 2]
        return flat / (outline @ self._matrix[2, :2] + self._matrix[2, 2])[:, None]

    def _to_object(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        m = self._inverse
        w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
        return (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w

    def _box(self, pixels: Points) -> tuple[int, int, int, int] | None:
        x0, y0 = np.floor(pixels.min(axis=0)).astype(int).tolist()
        x1, y1 = np.ceil(pixels.max(axis=0)).astype(int).tolist()
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1 + 1, self.size[0]), min(y1 + 1, self.size[1])
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def part(
        self,
        outline: Points,
        paint: Paint,
        form: Form | None = None,
        *,
        holes: Sequence[Points] = (),
        folds: Sequence[tuple[Path, float]] = (),
        scale: float = 1.0,
        wrap: Wrap | None = None,
        turn: float = 0.0,
    ) -> None:
        """Draw one shaded part.

        Args:
            outline: in object space.
            paint: colour, pattern and gloss.
            form: the relief; `Puff()` by default.
            holes: outlines that are cut out.
            folds: creases of the cloth, each a two-point path and a strength (negative: a ridge).
            scale: size of the pattern on this part.
            wrap: bends the pattern around the body.
            turn: rotation of the pattern in degrees.
        """
        pixels = self.to_pixels(outline)
        box = self._box(pixels)
        if box is None:
            return
        x0, y0, x1, y1 = box
        size = (x1 - x0, y1 - y0)
        mask = Image.new("L", size)
        draw = ImageDraw.Draw(mask)
        draw.polygon((pixels - (x0, y0)).ravel().tolist(), fill=255)
        for hole in holes:
            draw.polygon((self.to_pixels(hole) - (x0, y0)).ravel().tolist(), fill=0)
        shadow, glow = self._relief(size, mask, (x0, y0), paint, form or Puff(), folds)
        share, colours = _veils(paint, shadow, glow)
        if paint.pattern is None:
            tile = _spread(Image.fromarray(colours), size)
        else:
            tile = Image.new("RGB", size, paint.colour)
            self._draw_pattern(tile, outline, paint.colour, paint.pattern, scale, wrap, turn, (x0, y0))
            tile.paste(_spread(Image.fromarray(colours), size), (0, 0), _spread(Image.fromarray(share), size))
        self.rgb.paste(tile, (x0, y0), mask)
        self.alpha.paste(255, box, mask)

    def _draw_pattern(
        self,
        tile: Image.Image,
        outline: Points,
        ground: RGB,
        pattern: Pattern,
        scale: float,
        wrap: Wrap | None,
        turn: float,
        corner: tuple[int, int],
    ) -> None:
        angle = np.radians(turn)
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        sheet = outline @ rotation.T
        (x0, y0), (x1, y1) = sheet.min(axis=0).tolist(), sheet.max(axis=0).tolist()
        if wrap is not None:  # a wrapped sheet is wider than the body that it covers
            width, height = (x1 - x0) * 0.3, (y1 - y0) * 0.12
            x0, x1, y0, y1 = x0 - width, x1 + width, y0 - height, y1 + height
        draw = ImageDraw.Draw(tile)
        polygons = list(pattern.polygons(ground, (x0, y0, x1, y1), scale))
        if not polygons:
            return
        # Mapped in one call: a pattern may have hundreds of polygons.
        corners = np.concatenate([polygon for polygon, _ in polygons]) @ rotation
        corners = self.to_pixels(wrap(corners) if wrap is not None else corners) - corner
        start = 0
        for polygon, colour in polygons:
            stop = start + len(polygon)
            draw.polygon(corners[start:stop].ravel().tolist(), fill=colour)
            start = stop

    def _relief(
        self,
        size: tuple[int, int],
        mask: Image.Image,
        corner: tuple[int, int],
        paint: Paint,
        form: Form,
        folds: Sequence[tuple[Path, float]],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return shadow and glow of each cell of a coarse grid over the part, 0 to 1."""
        cell = min(self._cell, max(size) / 7)
        cells = (max(4, round(size[0] / cell)), max(4, round(size[1] / cell)))
        px = corner[0] + (np.arange(cells[0]) + 0.5) * size[0] / cells[0]
        py = corner[1] + (np.arange(cells[1]) + 0.5) * size[1] / cells[1]
        ox, oy = self._to_object(*np.meshgrid(px, py))
        small = mask.resize(cells, Image.Resampling.BOX)
        grid = Grid(ox, oy, small, (self.light.x, self.light.y), self._local_light)
        slope, shine = form.relief(grid)
        for path, strength in folds:
            slope = slope + _crease(ox, oy, path, strength, self._local_light)
        slope = slope * self.light.power
        shadow = np.clip(-slope * 0.95, 0, 0.78)
        glow = np.clip(slope * (0.34 + 0.1 * paint.gloss), 0, 0.4) + np.clip(shine, 0, 1) * paint.gloss * 0.85
        return shadow, np.minimum(glow, 1)

    def line(self, path: Path | Points, width: float, colour: RGB, soft: bool = True) -> None:
        """Draw an unshaded line, `width` in object units: seams, stitches, hands of a clock."""
        thick = max(width, 1.2 / self._unit)
        polygon = self.to_pixels(stroke(path, thick, soft)).ravel().tolist()
        ImageDraw.Draw(self.rgb).polygon(polygon, fill=colour)
        ImageDraw.Draw(self.alpha).polygon(polygon, fill=255)

    def fill(self, outline: Points, colour: RGB) -> None:
        """Draw a small part of one flat colour: buttons, eyelets."""
        polygon = self.to_pixels(outline).ravel().tolist()
        ImageDraw.Draw(self.rgb).polygon(polygon, fill=colour)
        ImageDraw.Draw(self.alpha).polygon(polygon, fill=255)

    def shadow(self, outline: Points, strength: float, blur: float = 0.05) -> None:
        """Cast a soft shadow on the parts drawn so far; `blur` in object units."""
        self._veil(outline, (14, 12, 26), strength, blur)

    def glow(self, outline: Points, strength: float, blur: float = 0.03) -> None:
        """Put a soft highlight on the parts drawn so far; `blur` in object units."""
        self._veil(outline, (255, 255, 255), strength, blur)

    def _veil(self, outline: Points, colour: RGB, strength: float, blur: float) -> None:
        pixels = self.to_pixels(outline)
        margin = blur * self._unit * 2.5
        box = self._box(np.concatenate([pixels - margin, pixels + margin]))
        if box is None:
            return
        x0, y0, x1, y1 = box
        cell = min(self._cell / 2, max(x1 - x0, y1 - y0) / 16)
        cells = (max(3, round((x1 - x0) / cell)), max(3, round((y1 - y0) / cell)))
        small = Image.new("L", cells)
        scale = np.array([cells[0] / (x1 - x0), cells[1] / (y1 - y0)])
        polygon = ((pixels - (x0, y0)) * scale).ravel().tolist()
        ImageDraw.Draw(small).polygon(polygon, fill=round(strength * 255))
        small = small.filter(ImageFilter.GaussianBlur(blur * self._unit / cell))
        veil = _spread(small, (x1 - x0, y1 - y0))
        self.rgb.paste(colour, box, ImageChops.multiply(veil, self.alpha.crop(box)))


def _veils(
    paint: Paint, shadow: NDArray[np.float64], glow: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Combine shadow and glow in one veil: its opacity (uint8[h, w]) and its colour (uint8[h, w, 3]).

    On a plain part the veil is the whole picture, so its colour already contains the part's own.
    """
    deep, bright = np.array(darker(paint.colour, _DEEP)), np.array(lighter(paint.colour, _BRIGHT))
    share = 1 - (1 - shadow) * (1 - glow)
    light = deep * (shadow * (1 - glow))[..., None] + bright * glow[..., None]
    if paint.pattern is None:
        colours = light + np.array(paint.colour) * (1 - share)[..., None]
    else:
        colours = light / np.maximum(share, 1e-6)[..., None]
    return np.rint(share * 255).astype(np.uint8), np.rint(np.clip(colours, 0, 255)).astype(np.uint8)


def _spread(cells: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Enlarge a coarse picture to `size`. The last doubling only repeats pixels, since the result is shrunk later."""
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    return cells.resize(half, Image.Resampling.BILINEAR).resize(size, Image.Resampling.NEAREST)


def _crease(
    x: NDArray[np.float64], y: NDArray[np.float64], path: Path, strength: float, light: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the slope of a bell curve across a crease: light on one side, shade on the other."""
    (ax, ay), (bx, by) = path[0], path[-1]
    dx, dy = bx - ax, by - ay
    length = float(np.hypot(dx, dy)) or 1e-6
    along = np.clip(((x - ax) * dx + (y - ay) * dy) / length**2, 0, 1)
    across = ((x - ax) * dy - (y - ay) * dx) / length
    away = np.hypot(x - ax - along * dx, y - ay - along * dy)
    width = 0.055
    lit = 1.0 if (dy * light[0] - dx * light[1]) >= 0 else -1.0
    return strength * lit * across / width * np.exp(-((away / width) ** 2)) * np.sin(np.pi * np.clip(along, 0.06, 0.94))
