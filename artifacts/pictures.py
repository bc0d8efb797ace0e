"""Decodes image files into upright RGB pictures, and encodes the JPEGs that are stored.

A catalog's pictures and a query's take the same path, so that the same file gives the same vector: the format is
checked against an allow-list and the size before a pixel is decoded; then the picture is rotated by its EXIF
orientation, transparency is put on white, and it is shrunk.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from artifacts.errors import PictureError
from artifacts.schema import Reason

#: Formats that are accepted. Pillow reads many more, with parsers that no shop needs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MIN_SIDE = 50  # px; smaller pictures show too little to be recognised
MAX_PIXELS = 100_000_000  # 300 MB as RGB
PICTURE_SIDE = 512  # px, longest side of the pictures that are stored and embedded
JPEG_QUALITY = 92

#: Modes with more than 8 bits a channel, which Pillow's own conversion to RGB would clip to white.
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def read_picture(content: bytes, *, max_pixels: int = MAX_PIXELS, side: int = PICTURE_SIDE) -> Image.Image:
    """Decode bytes into an upright RGB picture whose longest side is at most `side` px.

    An animation gives its first frame. Colour profiles are not applied.

    Args:
        content: an image file in one of FORMATS.
        max_pixels: limit of width x height, checked from the header alone.
        side: px; a larger picture is shrunk, a smaller one keeps its size.

    Raises:
        PictureError: with the Reason; the content is not an accepted picture.
    """
    if not content:
        raise PictureError(Reason.NOT_AN_IMAGE, "the file is empty")
    with warnings.catch_warnings():
        # Pillow warns from half of its own limit on; `max_pixels` is checked below, and is an error.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        except UnidentifiedImageError:
            raise PictureError(Reason.NOT_AN_IMAGE, f"not a picture in one of {', '.join(FORMATS)}") from None
        except Image.DecompressionBombError as error:
            raise PictureError(Reason.TOO_MANY_PIXELS, str(error)) from None
        except Exception as error:
            raise PictureError(Reason.NOT_AN_IMAGE, f"the header cannot be read: {error}") from None
        with image:
            return _decode(image, max_pixels=max_pixels, side=side)


def _decode(image: Image.Image, *, max_pixels: int, side: int) -> Image.Image:
    width, height = image.size
    if width * height > max_pixels:
        raise PictureError(Reason.TOO_MANY_PIXELS, f"{width}x{height} px is over the limit of {max_pixels} pixels")
    if min(width, height) < MIN_SIDE:
        raise PictureError(Reason.TOO_SMALL, f"{width}x{height} px; each side must be at least {MIN_SIDE} px")
    try:
        # JPEG can be decoded at 1/2, 1/4, 1/8 directly: much faster, and still at least twice the final size.
        image.draft("RGB", (2 * side, 2 * side))
        image.load()
        upright = ImageOps.exif_transpose(image)
        picture = _to_rgb(upright)
        picture.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    except Image.DecompressionBombError as error:
        raise PictureError(Reason.TOO_MANY_PIXELS, str(error)) from None
    except Exception as error:
        # On broken content Pillow's decoders raise any class of error: OSError, but also TypeError and struct.error.
        reason = Reason.TRUNCATED_IMAGE if "truncated" in str(error).lower() else Reason.NOT_AN_IMAGE
        raise PictureError(reason, f"the picture cannot be decoded: {error}") from None
    return picture


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_MODES:
        image = _to_eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey by its format's range, and 32-bit and float grey, which have no range, by their extremes."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    low, high = values.min(), values.max()
    if image.mode.startswith("I") and low >= 0 and high <= 65535:  # 16-bit PNGs may arrive as mode I
        low, high = 0.0, 65535.0
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(scaled.round().astype(np.uint8))


def encode_jpeg(picture: Image.Image, *, quality: int = JPEG_QUALITY) -> bytes:
    """Encode a picture as JPEG; the same picture gives the same bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def open_stored(jpeg: bytes) -> Image.Image:
    """Decode a JPEG that `encode_jpeg` wrote.

    `read_picture` could refuse it: shrinking may have left a long, narrow picture with a side under MIN_SIDE.
    """
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        return image.convert("RGB")


def thumbnail(jpeg: bytes, side: int) -> bytes:
    """Shrink a stored JPEG to at most `side` px, for a result grid; return it as JPEG."""
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        image.draft("RGB", (2 * side, 2 * side))
        picture = image.convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return encode_jpeg(picture, quality=85)
