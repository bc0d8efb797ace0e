"""The scene of a picture: background, surface and light, drawn at half the picture's size."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from jobs.sample.drawing.palette import RGB, WOODS, darker, distance, lighter, mix
from jobs.sample.drawing.pen import Light

# Quiet colours for walls behind a product, most of them light.
_WALLS: tuple[RGB, ...] = (
    (246, 243, 237), (238, 232, 222), (226, 232, 234), (240, 220, 206), (214, 228, 212), (204, 222, 238),
    (248, 222, 222), (250, 234, 196), (228, 218, 240), (208, 214, 216), (224, 190, 164), (176, 204, 194),
    (160, 184, 208), (236, 182, 160), (96, 112, 130), (104, 124, 112),
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A background and the light that falls on it."""

    picture: Image.Image
    light: Light
    ground: float  # the row on which a standing product stands, as a share of the height


def _stretch(field: NDArray[np.float64], size: tuple[int, int]) -> Image.Image:
    """Enlarge a coarse field of 0..255 to a full-size grey picture."""
    small = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def _wash(picture: Image.Image, light: Light, depth: float) -> None:
    """Let the light fall off across the picture, and darken the corners."""
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    toward = x * light.x + y * light.y
    dark = np.clip(42 * depth * (0.3 - toward) + 15 * (x**2 + y**2), 0, 110)
    picture.paste((30, 26, 40), (0, 0), _stretch(dark * 0.8, picture.size))
    picture.paste((255, 252, 244), (0, 0), _stretch(np.clip(toward - 0.1, 0, 1) * 90 * depth, picture.size))


def _grain(
    picture: Image.Image,
    rng: np.random.Generator,
    cells: tuple[int, int],
    amount: float,
    box: tuple[int, int, int, int],
) -> None:
    """Add soft irregularity: plaster, weave or wood, depending on the shape of the cells."""
    noise = rng.normal(0, amount, size=(cells[1], cells[0]))
    size = (box[2] - box[0], box[3] - box[1])
    picture.paste((20, 14, 10), box, _stretch(np.clip(noise, 0, None) * 255, size))
    picture.paste((255, 250, 240), box, _stretch(np.clip(-noise, 0, None) * 255, size))


def _wall_colour(rng: np.random.Generator, product: RGB) -> RGB:
    """Draw three walls and return the first one that clearly differs in colour from the product."""
    picks = [_WALLS[int(i)] for i in rng.choice(len(_WALLS), size=3, replace=False)]
    clear = [wall for wall in picks if distance(wall, product) > 0.22]
    return clear[0] if clear else max(picks, key=lambda wall: distance(wall, product))


def _planks(picture: Image.Image, rng: np.random.Generator, top: int, colour: RGB, across: bool) -> None:
    """Cover the picture from row `top` down with boards, from left to right if `across`."""
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    box = (0, top, width, height)
    draw.rectangle(box, fill=colour)
    count = int(rng.integers(4, 8))
    edges = np.linspace(top, height, count + 1) if across else np.linspace(0, width, count + 1)
    for start, stop in pairwise(edges.tolist()):
        tone = darker(colour, float(rng.uniform(0, 0.14)))
        area = (0, start, width, stop) if across else (start, top, stop, height)
        draw.rectangle(area, fill=tone)
        seam = (0, stop, width, stop) if across else (stop, top, stop, height)
        draw.line(seam, fill=darker(colour, 0.4), width=max(1, width // 256))
    cells = (6, max(8, 90 * (height - top) // height)) if across else (90, 6)
    _grain(picture, rng, cells, 0.07, box)


def _surface(picture: Image.Image, rng: np.random.Generator, top: int, wall: RGB) -> None:
    """Draw a table top or a floor from row `top` down."""
    width, height = picture.size
    style = int(rng.integers(4))
    box = (0, top, width, height)
    if style == 0:
        _planks(picture, rng, top, WOODS[int(rng.integers(len(WOODS)))], across=bool(rng.random() < 0.7))
    elif style == 1:  # stone
        picture.paste((226, 224, 220), box)
        _grain(picture, rng, (10, 5), 0.07, box)
        _grain(picture, rng, (5, 14), 0.04, box)
    else:
        colour = lighter(wall, 0.3) if style == 2 else mix(wall, (250, 246, 240), 0.75)
        picture.paste(darker(colour, 0.06), box)
        _grain(picture, rng, (24, 12), 0.025, box)
    # The surface is lightest in front, and a thin shadow lies along the wall.
    fade = np.linspace(70, 0, 12)[:, None] ** 1.2 * np.ones((1, 4))
    picture.paste((26, 20, 24), box, _stretch(fade * 0.5, (width, height - top)))


def _studio(picture: Image.Image, wall: RGB, horizon: int | None) -> None:
    """Draw a seamless paper background, where the wall blends into the floor."""
    width, height = picture.size
    picture.paste(wall, (0, 0, width, height))
    if horizon is not None:
        y = np.linspace(0, 1, 48)[:, None]
        bend = horizon / height
        shade = 60 * np.exp(-(((y - bend - 0.02) / 0.1) ** 2)) * np.ones((1, 4))
        picture.paste(darker(wall, 0.5), (0, 0), _stretch(shade, picture.size))
        lit = 110 * np.clip((y - bend) / (1 - bend), 0, 1) * np.ones((1, 4))
        picture.paste(lighter(wall, 0.7), (0, 0), _stretch(lit, picture.size))


def _room(picture: Image.Image, rng: np.random.Generator, wall: RGB, horizon: int) -> None:
    """Draw the corner of a room, or a wall with panelling, and a skirting board."""
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width, height), fill=wall)
    unit = max(width, height)
    if rng.random() < 0.5:
        corner = float(rng.uniform(0.1, 0.35)) * width
        corner = corner if rng.random() < 0.5 else width - corner
        side = (0, 0, corner, height) if corner < width / 2 else (corner, 0, width, height)
        draw.rectangle(side, fill=darker(wall, 0.14))
    elif rng.random() < 0.6:
        step = unit * float(rng.uniform(0.22, 0.36))
        x = float(rng.uniform(-step, 0))
        line = max(1, unit // 200)
        while x < width:
            frame = (x + step * 0.1, -unit * 0.1, x + step * 0.9, horizon - unit * 0.1)
            draw.rectangle(frame, outline=darker(wall, 0.13), width=line)
            draw.rectangle(tuple(v + line for v in frame), outline=lighter(wall, 0.5), width=line)
            x += step
    _grain(picture, rng, (16, 16), 0.02, (0, 0, width, horizon))
    board = unit * 0.035
    draw.rectangle((0, horizon - board, width, horizon), fill=lighter(wall, 0.6))
    draw.line((0, horizon - board, width, horizon - board), fill=darker(wall, 0.2), width=max(1, unit // 300))


def _window_light(picture: Image.Image, rng: np.random.Generator) -> None:
    """Add sunlight through a window: slanted, soft panes."""
    size = 64
    panes = Image.new("L", (size, size))
    draw = ImageDraw.Draw(panes)
    x, y, slant = float(rng.uniform(0, 30)), float(rng.uniform(-6, 16)), float(rng.uniform(-12, 12))
    for column in range(2):
        for row in range(2):
            left, top = x + column * 17, y + row * 19
            pane = [(left, top), (left + 14, top), (left + 14 + slant, top + 16), (left + slant, top + 16)]
            draw.polygon([(px + slant * row, py) for px, py in pane], fill=70)
    panes = panes.filter(ImageFilter.GaussianBlur(1.6)).resize(picture.size, Image.Resampling.BICUBIC)
    picture.paste((255, 246, 222), (0, 0), panes)


def _bokeh(picture: Image.Image, rng: np.random.Generator, wall: RGB) -> None:
    """Draw a background far out of focus: soft discs of light."""
    size = 96
    small = Image.new("RGB", (size, size), darker(wall, 0.25))
    draw = ImageDraw.Draw(small)
    for _ in range(int(rng.integers(8, 16))):
        x, y, radius = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(4, 13)
        tone = mix(wall, (255, 244, 214) if rng.random() < 0.6 else (150, 170, 150), float(rng.uniform(0.2, 0.7)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tone)
    blurred = small.filter(ImageFilter.GaussianBlur(float(rng.uniform(2.2, 4))))
    picture.paste(blurred.resize(picture.size, Image.Resampling.BICUBIC))


def _arch(picture: Image.Image, rng: np.random.Generator, wall: RGB, horizon: int) -> None:
    """Paint an arch or a disc behind the product."""
    width, height = picture.size
    radius = float(rng.uniform(0.3, 0.42)) * min(width, height)
    tone = lighter(wall, 0.4) if rng.random() < 0.5 else darker(wall, 0.14)
    big = Image.new("L", (width * 2, height * 2))
    draw = ImageDraw.Draw(big)
    cx, cy = width, 2 * (horizon - radius * float(rng.uniform(0.7, 1.2)))
    draw.ellipse((cx - 2 * radius, cy - 2 * radius, cx + 2 * radius, cy + 2 * radius), fill=255)
    if rng.random() < 0.6:
        draw.rectangle((cx - 2 * radius, cy, cx + 2 * radius, 2 * horizon), fill=255)
    picture.paste(tone, (0, 0), big.reduce(2))


def draw_scene(rng: np.random.Generator, size: tuple[int, int], stance: str, colour: RGB) -> Scene:
    """Draw a background.

    Args:
        rng: decides everything else.
        size: (width, height) in pixels.
        stance: lies, stands or hangs; see `jobs.sample.kinds.registry.Kind`.
        colour: of the product, which has to stand out from the wall.
    """
    width, height = size
    picture = Image.new("RGB", size)
    side = -1.0 if rng.random() < 0.5 else 1.0
    slant = float(rng.uniform(0.35, 1.0))
    light = Light(side * float(np.sin(slant)), -float(np.cos(slant)), float(rng.uniform(0.75, 1.15)))
    wall = _wall_colour(rng, colour)
    ground = float(rng.uniform(0.84, 0.92))
    horizon = ground - float(rng.uniform(0.1, 0.3))
    row = round(horizon * height)
    choice = float(rng.random())
    if stance == "stands":
        if choice < 0.3:
            _studio(picture, wall, row)
        elif choice < 0.75:
            _room(picture, rng, wall, row)
            _surface(picture, rng, row, wall)
        elif choice < 0.9:
            picture.paste(wall, (0, 0, width, height))
            _arch(picture, rng, wall, row)
            _surface(picture, rng, row, wall)
        else:
            _bokeh(picture, rng, wall)
            _surface(picture, rng, row, wall)
    else:
        _lying(picture, rng, wall, choice, stance)
    if rng.random() < 0.25:
        _window_light(picture, rng)
    _wash(picture, light, float(rng.uniform(0.4, 1.0)))
    return Scene(picture, light, ground)


def _lying(picture: Image.Image, rng: np.random.Generator, wall: RGB, choice: float, stance: str) -> None:
    """Draw the surface on which a product lies or hangs, seen straight on."""
    width, height = picture.size
    full = (0, 0, width, height)
    picture.paste(wall, full)
    if choice < 0.3:
        _studio(picture, wall, None)
    elif choice < 0.5 and stance == "lies":
        _planks(picture, rng, 0, WOODS[int(rng.integers(len(WOODS)))], across=bool(rng.random() < 0.5))
    elif choice < 0.65:  # linen
        _grain(picture, rng, (width // 5, 10), 0.02, full)
        _grain(picture, rng, (10, height // 5), 0.02, full)
        _grain(picture, rng, (6, 6), 0.05, full)
    elif choice < 0.85:  # two sheets of paper
        tone = _WALLS[int(rng.integers(10))]
        cut = float(rng.uniform(0.2, 0.8)) * width
        lean = float(rng.uniform(-0.3, 0.3)) * width
        big = Image.new("L", (width * 2, height * 2))
        ImageDraw.Draw(big).polygon([(0, 0), (2 * cut, 0), (2 * (cut + lean), 2 * height), (0, 2 * height)], fill=255)
        edge = big.reduce(2)
        picture.paste(
            darker(wall, 0.4), full, edge.filter(ImageFilter.GaussianBlur(max(width, height) / 60)).point(_half)
        )
        picture.paste(tone, full, edge)
    else:
        _grain(picture, rng, (20, 20), 0.03, full)
        _grain(picture, rng, (70, 70), 0.015, full)


def _half(value: int) -> int:
    return value // 2
