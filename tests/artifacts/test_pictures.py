"""Decoding pictures: any bytes give an upright RGB picture or a PictureError."""

from __future__ import annotations

import io
import resource
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from artifacts.errors import PictureError
from artifacts.pictures import FORMATS, MAX_PIXELS, PICTURE_SIDE, encode_jpeg, open_stored, read_picture, thumbnail
from artifacts.schema import Reason


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Draw red at the top left, green at the top right, blue below: all its rotations and reflections differ."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (230, 30, 30)
    pixels[: height // 2, width // 2 :] = (30, 200, 30)
    pixels[height // 2 :] = (30, 30, 210)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures of the same size, 0-255."""
    assert one.size == other.size
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())


def reason_of(content: bytes, **options: Any) -> Reason:
    with pytest.raises(PictureError) as caught:
        read_picture(content, **options)
    return caught.value.reason


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("format", FORMATS)
def test_accepted_formats_are_decoded(format: str):
    picture = read_picture(encoded(scene(), format))
    assert picture.mode == "RGB"
    assert mean_difference(picture, scene()) < 12  # GIF's palette and the codecs' losses


@pytest.mark.parametrize("format", ["PDF", "PPM", "TGA", "ICO", "PCX", "EPS", "JPEG2000"])
def test_other_formats_of_pillow_are_refused(format: str):
    assert reason_of(encoded(scene(), format)) == Reason.NOT_AN_IMAGE


@pytest.mark.parametrize(
    "content",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><rect width="9" height="9"/></svg>',
        b"8BPS\x00\x01" + bytes(6) + struct.pack(">HIIHH", 3, 64, 64, 8, 3) + bytes(12) + bytes(64 * 64 * 3 + 2),
        b"SIMPLE  =                    T" + b" " * 2850,
        b"<!doctype html><title>404</title>",
        "just text, grün".encode(),
        b"\x00",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"BM",
        b"II*\x00",
        b"RIFF\x00\x00\x00\x00WEBP",
    ],
)
def test_other_content_is_not_a_picture(content: bytes):
    assert reason_of(content) == Reason.NOT_AN_IMAGE


def test_an_empty_file_is_not_a_picture():
    assert reason_of(b"") == Reason.NOT_AN_IMAGE


# ── orientation and colour ───────────────────────────────────────────────────────────────────────────────────────

#: How an upright picture is transposed when it is stored with an EXIF orientation.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_exif_orientations_give_the_same_upright_picture(orientation: int, format: str):
    transpose = STORED_AS[orientation]
    stored = scene() if transpose is None else scene().transpose(transpose)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if format in ("JPEG", "WEBP") else {}
    picture = read_picture(encoded(stored, format, exif=exif, **options))
    assert mean_difference(picture, scene()) < (6 if options else 1e-9)


def test_a_cmyk_jpeg_keeps_its_colours():
    picture = read_picture(encoded(scene().convert("CMYK"), "JPEG", quality=95))
    assert mean_difference(picture, scene()) < 6


def test_an_adobe_ycck_jpeg_keeps_its_colours():
    """Adobe's programs write four components, YCCK by the marker, and inverted."""
    inverted = Image.merge(
        "CMYK", [channel.point(lambda value: 255 - value) for channel in scene().convert("CMYK").split()]
    )
    red, green, blue, black = inverted.split()
    converted = Image.merge("RGB", (red, green, blue)).convert("YCbCr")
    content = encoded(Image.merge("CMYK", (*converted.split(), black)), "JPEG", quality=95)
    marker = content.index(b"Adobe")
    assert content[marker + 11] in (0, 2)
    # Pillow inverts what it writes as CMYK; the same components marked as YCCK are what an Adobe encoder writes.
    ycck = content[: marker + 11] + b"\x02" + content[marker + 12 :]
    with Image.open(io.BytesIO(ycck)) as plain:
        expected = plain.convert("RGB")
    picture = read_picture(ycck)
    assert picture.mode == "RGB"
    assert mean_difference(picture, expected) == 0


def test_sixteen_bit_grey_png_keeps_its_greys():
    ramp = np.linspace(0, 65535, 96 * 64).reshape(64, 96).astype(np.uint16)
    picture = read_picture(encoded(Image.fromarray(ramp), "PNG"))
    expected = Image.fromarray((ramp / 257).round().astype(np.uint8)).convert("RGB")
    assert mean_difference(picture, expected) <= 1


def test_float_and_32_bit_grey_are_scaled_by_their_extremes():
    ramp = np.linspace(-3, 7, 96 * 64, dtype=np.float32).reshape(64, 96)
    ramp[0, 0] = np.nan
    values = np.asarray(read_picture(encoded(Image.fromarray(ramp), "TIFF")))
    assert (values.min(), values.max()) == (0, 255)
    wide = Image.fromarray((ramp[1:] * 1e6).astype(np.int32))
    values = np.asarray(read_picture(encoded(wide, "TIFF")))
    assert (values.min(), values.max()) == (0, 255)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_sixteen_bit_rgb_png_keeps_its_colours():
    wide = np.asarray(scene()).astype(">u2") * 257
    rows = b"".join(b"\x00" + row.tobytes() for row in wide)
    assert mean_difference(read_picture(raw_png(96, 64, 16, 2, rows)), scene()) == 0


def test_palette_with_transparency_is_put_on_white():
    image = Image.new("P", (64, 64), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 0, 32, 64))
    for codec in ("PNG", "GIF"):
        picture = read_picture(encoded(image, codec, transparency=0))
        assert picture.getpixel((5, 5)) == (0, 0, 255)
        assert picture.getpixel((50, 5)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_put_on_white(mode: str):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 32, 64))
    image.paste((0, 0, 0, 128), (0, 32, 64, 64))
    picture = read_picture(encoded(image.convert(mode), "PNG"))
    assert picture.getpixel((5, 5)) == (0, 0, 0)
    assert picture.getpixel((50, 5)) == (255, 255, 255)
    assert picture.getpixel((50, 50)) == (127, 127, 127)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_and_bilevel_pictures_become_rgb(mode: str):
    picture = read_picture(encoded(scene().convert(mode), "PNG"))
    assert mean_difference(picture, scene().convert(mode).convert("RGB")) == 0


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(format: str):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    options = {"lossless": True} if format == "WEBP" else {}
    content = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(content)) as animation:
        assert getattr(animation, "n_frames", 1) == 3
    assert mean_difference(read_picture(content), frames[0]) <= 3


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [(1, 1), (49, 400), (400, 49)])
def test_small_pictures_are_refused(size: tuple[int, int]):
    assert reason_of(encoded(Image.new("RGB", size), "PNG")) == Reason.TOO_SMALL


def test_the_minimum_size_is_accepted():
    assert read_picture(encoded(Image.new("RGB", (50, 50)), "PNG")).size == (50, 50)


@pytest.mark.parametrize("size", [(50, 20_000), (20_000, 50)])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_extreme_aspect_ratios_are_accepted(size: tuple[int, int], format: str):
    picture = read_picture(encoded(Image.new("RGB", size, (9, 99, 199)), format))
    assert sorted(picture.size) == [1, PICTURE_SIDE]
    small = open_stored(thumbnail(encode_jpeg(picture), 100))
    assert max(small.size) == 100


@pytest.mark.parametrize("size", [(1600, 900), (900, 1600), (513, 512)])
def test_large_pictures_are_shrunk(size: tuple[int, int]):
    picture = read_picture(encoded(scene(*size), "JPEG", quality=95))
    assert max(picture.size) == PICTURE_SIDE
    assert mean_difference(picture, scene(*picture.size)) < 6


def test_a_small_picture_keeps_its_size_and_pixels():
    assert read_picture(encoded(scene(), "PNG")).tobytes() == scene().tobytes()


def bomb(side: int) -> bytes:
    """A PNG whose header declares side x side pixels, with content of a few bytes a row."""
    packer = zlib.compressobj(9)
    rows = [packer.compress(bytes(side * 50)) for _ in range(8)]
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"".join(rows) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def test_a_bomb_is_refused_from_its_header(monkeypatch: pytest.MonkeyPatch):
    content = bomb(30_000)
    assert len(content) < 100_000
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("a pixel was decoded"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reason_of(content) == Reason.TOO_MANY_PIXELS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; decoded it would be 2.7 GB


@pytest.mark.parametrize("side", [10_001, 13_000, 13_400, 60_000])
def test_bombs_of_every_size_are_refused_without_a_warning(side: int):
    assert side * side > MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reason_of(bomb(side)) == Reason.TOO_MANY_PIXELS


def test_max_pixels_is_exact():
    content = encoded(scene(100, 60), "PNG")
    assert read_picture(content, max_pixels=6000).size == (100, 60)
    assert reason_of(content, max_pixels=5999) == Reason.TOO_MANY_PIXELS


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_truncated_picture_is_named_so(format: str):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    content = encoded(noise, format)
    assert reason_of(content[: len(content) // 2]) == Reason.TRUNCATED_IMAGE


SOURCES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(scene(), "JPEG", exif=rotated_exif()),
    "cmyk": lambda: encoded(scene().convert("CMYK"), "JPEG"),
    "png": lambda: encoded(scene(), "PNG", exif=rotated_exif()),
    "palette": lambda: encoded(scene().quantize(8), "PNG", transparency=1),
    "apng": lambda: encoded(scene(), "PNG", save_all=True, append_images=[scene(96, 60)]),
    "webp": lambda: encoded(scene(), "WEBP", exif=rotated_exif()),
    "gif": lambda: encoded(scene(), "GIF", save_all=True, append_images=[scene().rotate(90)]),
    "bmp": lambda: encoded(scene(), "BMP"),
    "tiff": lambda: encoded(scene(), "TIFF", compression="tiff_adobe_deflate", exif=rotated_exif()),
    "lzw": lambda: encoded(scene(), "TIFF", compression="tiff_lzw"),
    "float": lambda: encoded(scene().convert("F"), "TIFF"),
}


def rotated_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    return exif


CONTENTS = {name: encode() for name, encode in SOURCES.items()}


def assert_picture_or_error(content: bytes, side: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata
        try:
            picture = read_picture(content, side=side, max_pixels=1_000_000)
        except PictureError:
            return
    assert picture.mode == "RGB"
    assert min(picture.size) >= 1
    assert max(picture.size) <= side


@given(content=st.binary(max_size=200), magic=st.sampled_from([b"", *(content[:40] for content in CONTENTS.values())]))
@settings(max_examples=200, deadline=None)
def test_random_bytes_give_a_picture_or_an_error(content: bytes, magic: bytes):
    assert_picture_or_error(magic + content, 64)


@given(
    name=st.sampled_from(sorted(CONTENTS)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.booleans()), max_size=5),
    length=st.one_of(st.just(1.0), st.floats(0, 1)),
    side=st.sampled_from([32, 64, 512]),
)
@settings(max_examples=400, deadline=None)
def test_damaged_files_give_a_picture_or_an_error(
    name: str, flips: list[tuple[float, int, bool]], length: float, side: int
):
    content = bytearray(CONTENTS[name])
    for share, value, structural in flips:
        # Half of the damage goes where formats keep their structure: the head, and TIFF's tail.
        reach = min(len(content), 250)
        offset = int(share * reach) if structural else int(share * len(content))
        content[-1 - offset if structural and content.startswith(b"II") else offset] = value
    assert_picture_or_error(bytes(content[: round(length * len(content))]), side)


@pytest.mark.parametrize("error", [TypeError("float"), struct.error("short"), RecursionError("deep"), MemoryError()])
def test_any_error_of_a_decoder_is_a_picture_error(error: Exception, monkeypatch: pytest.MonkeyPatch):
    """A TIFF with a flipped bit was seen to raise TypeError; Pillow guarantees nothing."""
    content = encoded(scene(), "PNG")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    assert reason_of(content) == Reason.NOT_AN_IMAGE


def test_a_tiff_with_a_fractional_offset_is_not_a_picture():
    content = bytearray(encoded(scene(), "TIFF"))
    entry = content.rindex(struct.pack("<HHI", 273, 4, 1))  # StripOffsets: an integer
    content[entry + 2 : entry + 4] = struct.pack("<H", 11)  # now a float
    assert reason_of(bytes(content)) == Reason.NOT_AN_IMAGE


# ── reproducibility ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(CONTENTS))
def test_reading_twice_gives_the_same_pixels(name: str):
    content = CONTENTS[name]
    assert read_picture(content).tobytes() == read_picture(content).tobytes()


@pytest.mark.parametrize("size", [(96, 64), (1600, 900)])
def test_the_stored_picture_is_that_of_a_query(size: tuple[int, int]):
    """The catalog's picture is stored as JPEG: decoded, it is the query's picture, apart from JPEG's own losses."""
    query = read_picture(encoded(scene(*size), "PNG"))
    stored = encode_jpeg(query)
    assert stored == encode_jpeg(query)
    assert mean_difference(open_stored(stored), query) < 3
    assert open_stored(stored).tobytes() == read_picture(stored).tobytes()


def test_a_thumbnail_fits_its_side_and_is_never_enlarged():
    large, small = encode_jpeg(scene(500, 300)), encode_jpeg(scene(96, 64))
    assert open_stored(thumbnail(large, 320)).size == (320, 192)
    assert open_stored(thumbnail(small, 320)).size == (96, 64)
