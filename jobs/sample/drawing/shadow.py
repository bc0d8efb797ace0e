"""The shadow that a product casts on the surface it stands on, or on the background it lies on or hangs from."""

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from jobs.sample.drawing.pen import Light


def cast_shadow(
    picture: Image.Image, alpha: Image.Image, light: Light, foot: float | None, softness: float, strength: float
) -> None:
    """Darken `picture`, in place, where the product blocks the light.

    Args:
        picture: the background, RGB.
        alpha: the product's coverage, of any size.
        light: of the scene.
        foot: the row the product stands on, as a share of the height; None if it touches the background, where the
            shadow is only shifted and blurred.
        softness: width of the blur; 1 is ordinary.
        strength: darkness; 1 is ordinary.
    """
    size = (96, round(96 * picture.size[1] / picture.size[0]))
    small = alpha.resize(size, Image.Resampling.BOX)
    if foot is None:
        veil = _lying_shadow(small, light, softness, strength)
    else:
        veil = _standing_shadow(small, light, foot * size[1], softness, strength)
    picture.paste((18, 14, 26), (0, 0), veil.resize(picture.size, Image.Resampling.BICUBIC))


def _scaled(picture: Image.Image, factor: float) -> Image.Image:
    """Multiply a grey picture by a factor of at most 1."""
    return Image.fromarray((np.asarray(picture) * min(factor, 1.0)).astype(np.uint8))


def _lying_shadow(small: Image.Image, light: Light, softness: float, strength: float) -> Image.Image:
    """Shift the outline away from the light: once close and sharp, once farther and soft."""
    near = ImageChops.offset(small, round(-light.x * 3 * softness), round(-light.y * 3 * softness))
    far = ImageChops.offset(small, round(-light.x * 7 * softness), round(-light.y * 7 * softness))
    return ImageChops.add(
        _scaled(near.filter(ImageFilter.GaussianBlur(1.4)), 0.42 * strength),
        _scaled(far.filter(ImageFilter.GaussianBlur(1.5 + 3 * softness)), 0.34 * strength),
    )


def _standing_shadow(small: Image.Image, light: Light, foot: float, softness: float, strength: float) -> Image.Image:
    """Project the outline on the surface, away from the light, and add a dark contact line under it."""
    squash = 0.2
    lean = -light.x * 0.9
    # A shadow pixel (x, y) comes from the outline at height (foot - y) / squash.
    laid = small.transform(
        small.size,
        Image.Transform.AFFINE,
        (1, lean / squash, -lean / squash * foot, 0, 1 / squash, foot - foot / squash),
        Image.Resampling.BILINEAR,
    )
    laid = _scaled(laid.filter(ImageFilter.GaussianBlur(1.2 + 1.8 * softness)), 0.4 * strength)
    band = np.asarray(small, dtype=np.float64).copy()
    rows = np.arange(band.shape[0])[:, None]
    band *= np.exp(np.minimum(rows + 1.0 - foot, 0) / 2.2)  # only parts close to the surface touch it
    across = band.max(axis=0)
    contact = across[None, :] * np.exp(-(((rows + 1.6 - foot) / 1.3) ** 2)) * 0.85 * strength
    wide = across[None, :] * np.exp(-(((rows + 1.0 - foot) / 3.4) ** 2)) * 0.42 * strength
    dark = Image.fromarray(np.clip(contact, 0, 235).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.0))
    soft = Image.fromarray(np.clip(wide, 0, 235).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2.4))
    return ImageChops.lighter(ImageChops.add(laid, soft), dark)
