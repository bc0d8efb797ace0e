"""Renders one picture of a product: scene, pose, drawing, shadow, and reduction to the final size."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from jobs.sample.drawing.pen import Pen
from jobs.sample.drawing.scene import draw_scene
from jobs.sample.drawing.shadow import cast_shadow
from jobs.sample.kinds.registry import KINDS
from jobs.sample.product import VIEW, Product, generator

# The approximate outline of a product: a rounded square in object space, float64[3, 8], homogeneous.
_RING = np.array(
    [[1, 0.9, 0, -0.9, -1, -0.9, 0, 0.9], [0, 0.9, 1, 0.9, 0, -0.9, -1, -0.9], [1, 1, 1, 1, 1, 1, 1, 1]],
    dtype=np.float64,
)
_ASPECTS = ((1.0, 1.0), (0.8, 1.0), (1.0, 0.8), (0.75, 1.0))  # width and height, as shares of the longer edge


def render(product: Product, view: int, side: int = 512) -> Image.Image:
    """Render picture number `view` of the product, in RGB.

    The same product and view show the same scene at every size.

    Args:
        view: 0 or more; every view has another scene and pose.
        side: pixels along the longer edge, 32 or more.

    Raises:
        ValueError: `view` or `side` is out of range.
    """
    if side < 32:
        raise ValueError(f"a picture needs at least 32 pixels a side, not {side}")
    if view < 0:
        raise ValueError(f"a view must be 0 or more, not {view}")
    rng = generator(product.seed, VIEW, product.index, view)
    kind = KINDS[product.kind]
    aspect = _ASPECTS[int(rng.choice(len(_ASPECTS), p=(0.55, 0.2, 0.15, 0.1)))]
    size = (round(side * aspect[0]), round(side * aspect[1]))
    # The background is out of focus, as behind a real product, so half the size is enough.
    scene_size = (max(16, size[0] // 2), max(16, size[1] // 2))
    scene = draw_scene(rng, scene_size, kind.stance, product.shade)

    matrix, foot = _pose(rng, size, kind.stance, kind.foot, scene.ground)
    supersampling = 2 if side >= 160 else 3  # smooths the edges
    enlarge = np.diag([supersampling, supersampling, 1.0])
    pen = Pen((size[0] * supersampling, size[1] * supersampling), enlarge @ matrix, scene.light)
    kind.draw(pen, product.design())

    alpha = pen.alpha.reduce(supersampling)
    softness, strength = float(rng.uniform(0.5, 1.3)), float(rng.uniform(0.75, 1.15))
    cast_shadow(scene.picture, alpha, scene.light, foot, softness, strength)
    # The drawing is black outside its outline, so its reduced edge pixels are already weighted by their coverage.
    picture = scene.picture.resize(size, Image.Resampling.BILINEAR)
    picture = ImageChops.multiply(picture, Image.merge("RGB", [ImageChops.invert(alpha)] * 3))
    picture = ImageChops.add(picture, pen.rgb.reduce(supersampling))
    return _apply_camera(rng, picture)


def _pose(
    rng: np.random.Generator, size: tuple[int, int], stance: str, foot: float, ground: float
) -> tuple[NDArray[np.float64], float | None]:
    """Draw a pose that keeps the product inside the picture.

    Returns:
        float64[3, 3], the homogeneous map from object space to pixels; and the row the product stands on as a share of
        the height, None if it does not stand.
    """
    width, height = size
    zoom = float(rng.uniform(0.36, 0.45)) * min(width, height)
    reach = 0.24 if stance == "lies" else 0.1 if stance == "hangs" else 0.03
    turn = float(rng.normal(0, reach))
    if stance == "lies" and rng.random() < 0.12:
        turn += float(rng.uniform(-0.7, 0.7))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    lean_x, lean_y = (float(v) for v in rng.uniform(-0.09, 0.09, size=2))
    if stance == "stands":
        lean_y = abs(lean_y) * 0.6
    scale = np.array([[zoom * flip * float(rng.uniform(0.93, 1.05)), 0, 0], [0, zoom, 0], [0, 0, 1]])
    lean = np.array([[1, 0, 0], [0, 1, 0], [lean_x, lean_y, 1]])
    rotate = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    matrix = rotate @ scale @ lean
    frame = matrix @ _RING
    frame = frame[:2] / frame[2]
    room = 0.95 * np.array([width, ground * height if stance == "stands" else height])
    shrink = min(1.0, float((room / np.ptp(frame, axis=1)).min()))
    matrix, frame = np.diag([shrink, shrink, 1.0]) @ matrix, frame * shrink
    spare = np.array([width, height]) / 2 - np.ptp(frame, axis=1) / 2
    middle = (frame.min(axis=1) + frame.max(axis=1)) / 2
    drift = np.clip(rng.uniform(-0.07, 0.07, size=2) * (width, height), -np.maximum(spare, 0), np.maximum(spare, 0))
    cx, cy = (np.array([width, height]) / 2 - middle + drift).tolist()
    if stance == "stands":
        low = matrix @ (0, foot, 1)
        cy = ground * height - low[1] / low[2]
    shift = np.array([[1, 0, cx], [0, 1, cy], [0, 0, 1]])
    return shift @ matrix, (ground if stance == "stands" else None)


def _apply_camera(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Vary exposure and white balance slightly, as a camera does."""
    gains = float(rng.uniform(0.94, 1.05)) * (1 + rng.uniform(-0.025, 0.025, size=3))
    table = np.minimum(np.rint(np.outer(gains, np.arange(256))), 255).astype(int)
    return picture.point(table.ravel().tolist())
