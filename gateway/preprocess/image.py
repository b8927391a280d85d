"""Pictures as base64 text into pixels: decode, turn, bring to the model's channels and size, scale.

Pillow is imported when a spec with an image is compiled, not before.
"""

from __future__ import annotations

import binascii
import struct
import zlib
from base64 import b64decode
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np

from gateway.preprocess.batch import ABSENT, Array, Batch, Reader
from gateway.preprocess.findings import MISSING, kind_name
from gateway.preprocess.resize import resize
from gateway.spec import ImageFeature, ImageSize, SpecProblem

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS_MAX = 1 << 22
"""Pixels of a picture, as sent or as the model takes it, whichever is more. A few kilobytes of PNG can hold a hundred
million pixels, so the size of the body bounds nothing."""
PICTURES_MAX = 16
"""All pictures of a request may have together as many pixels as so many of the largest."""

_EXIF_ORIENTATION = 0x0112
_ON_THEIR_SIDE = frozenset({5, 6, 7, 8})
"""Orientations in EXIF that change width and height with each other."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_URL_SAFE = str.maketrans("-_", "+/")
_FORMATS = {
    b"GIF8": "a GIF", b"RIFF": "a WebP", b"BM": "a bitmap", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"%PDF": "a PDF",
    b"<svg": "an SVG", b"<?xm": "an SVG",
}  # fmt: skip
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, OverflowError, MemoryError)


class ImageProblem(Exception):
    """Bytes that are not a picture that can be used; the message is the reason, for the client."""


class ImageBlock:
    """The picture of each record as height x width x channels, in rows of as many columns."""

    def __init__(self, feature: ImageFeature, pixels_max: int) -> None:
        """`pixels_max` bounds one picture. Errors: SpecProblem when Pillow is not installed."""
        try:
            import PIL.Image  # noqa: F401
        except ImportError as error:
            raise SpecProblem(
                f"features: {feature.name}", "type image needs Pillow; install the extra [images] of this package"
            ) from error
        self._key = feature.key
        self._size = feature.image
        self._reader = Reader([feature.key])
        self._pixels_max = max(pixels_max, feature.image.width * feature.image.height)

    def fill(self, batch: Batch, out: Array) -> None:
        left = PICTURES_MAX * self._pixels_max
        for record, value in enumerate(self._reader.read(batch)):
            try:
                if left <= 0:
                    raise ImageProblem(
                        f"the pictures of a request may have {PICTURES_MAX * self._pixels_max:,} pixels in all"
                    )
                pixels, used = decode(_payload(value), self._size, self._pixels_max)
                left -= used
                out[record] = scale(pixels, self._size).reshape(-1)
            except ImageProblem as problem:
                batch.findings.add(record, self._key, str(problem))


def decode(data: bytes, size: ImageSize, pixels_max: int) -> tuple[Array, int]:
    """A PNG or JPEG as height x width x channels, and how many pixels were unpacked or made for it.

    The size is judged from the header, before anything is unpacked. Errors: PictureProblem.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG")) as image:
            pixels = max(image.width * image.height, size.width * size.height)
            if pixels > pixels_max:
                raise ImageProblem(
                    f"{image.width} x {image.height} pixels are too many; a picture may have {pixels_max:,} "
                    "(limits.image_pixels)"
                )
            if size.resize == "none" and _upright(image, size) != (size.width, size.height):
                raise ImageProblem(
                    f"{image.width} x {image.height} pixels, the model takes {size.width} x {size.height}"
                )
            image.load()
            return fit(image, size).reshape(size.height, size.width, size.channels), pixels
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageProblem(f"too many pixels; a picture may have {pixels_max:,} (limits.image_pixels)") from error
    except UnidentifiedImageError as error:
        raise ImageProblem(f"{_looks_like(data)}, expected a PNG or JPEG") from error
    except _BROKEN as error:
        raise ImageProblem(f"damaged image: {error}") from error


def _upright(image: Image, size: ImageSize) -> tuple[int, int]:
    """Width and height after the picture has been turned as its EXIF says, if it shall be."""
    if size.orientation == "exif" and image.getexif().get(_EXIF_ORIENTATION, 1) in _ON_THEIR_SIDE:
        return image.height, image.width
    return image.size


def fit(image: Image, size: ImageSize) -> Array:
    """The picture in the model's channels and size. Transparency is dropped, 16 bits a pixel become 8.

    uint8, or float32 where TensorFlow's resize is meant, which does not round.
    """
    from PIL import Image, ImageOps

    if size.orientation == "exif":
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode == "P":
        image = image.convert("RGBA")  # Pillow warns when a transparent palette becomes RGB in one step
    image = image.convert(_MODES[size.channels])
    if image.size == (size.width, size.height) or size.resize == "none":
        return np.asarray(image)
    if size.filter == "pillow":
        return np.asarray(image.resize((size.width, size.height), Image.Resampling[size.resize.upper()]))
    pixels = np.asarray(image).reshape(image.height, image.width, size.channels)
    return resize(pixels, size.height, size.width, size.resize, antialias=size.antialiased)


def scale(pixels: Array, size: ImageSize) -> Array:
    """pixel * scale + offset, then (value - mean) / std, as float32, in the order of the model's channels.

    Pixels of which nothing changes stay as they are.
    """
    if size.order == "bgr":
        pixels = pixels[..., [2, 1, 0, *range(3, size.channels)]]
    if size.plain:
        return pixels
    values = pixels.astype(np.float32) * np.float32(size.scale) + np.float32(size.offset)
    if size.mean is not None:
        values -= np.array(size.mean, dtype=np.float32)
    if size.std is not None:
        values /= np.array(size.std, dtype=np.float32)
    return values


def _looks_like(data: bytes) -> str:
    return next((name for start, name in _FORMATS.items() if data.startswith(start)), "not an image")


def _payload(value: object) -> bytes:
    if value is ABSENT:
        raise ImageProblem(MISSING)
    if not isinstance(value, str):
        raise ImageProblem(f"expected a base64 string, got {kind_name(value)}")
    if value[:5].lower() == "data:":
        head, _, value = value.partition(",")
        if not head.lower().endswith(";base64"):
            raise ImageProblem("a data: URL must hold base64, as data:image/png;base64,…")
        if not value:
            raise ImageProblem("the data: URL ends before the picture")
        value = unquote(value) if "%" in value else value
    try:
        text = "".join(value.split()).translate(_URL_SAFE).rstrip("=")
        data = b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageProblem("not valid base64") from error
    if not data:
        raise ImageProblem("empty, expected a PNG or JPEG")
    return data
