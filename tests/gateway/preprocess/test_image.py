"""Pictures: pixels as the model takes them, and a reason for everything that is no picture."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from gateway.preprocess import Array, Compiled, compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.spec import SpecProblem, parse_spec

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def compiled(image: str, shape: str, dtype: str = "float32", image_pixels: int = 1 << 22) -> Compiled:
    return compile_spec(
        parse_spec(
            f"features: [{{name: photo, type: image, image: {{{image}}}}}]\n"
            f"input: {{name: a, dtype: {dtype}, shape: {shape}}}\noutput: {{name: b, kind: raw}}\n"
        ),
        image_pixels=image_pixels,
    )


DIGITS = compiled("width: 8, height: 8, channels: 1, scale: 0.0625, resize: none", "[-1, 8, 8, 1]")
PHOTO = compiled("width: 2, height: 2", "[-1, 2, 2, 3]")


def encoded(image: Image.Image | Array, kind: str = "PNG") -> str:
    buffer = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind)
    return b64encode(buffer.getvalue()).decode()


def problems(compiled: Compiled, *values: object) -> list[str]:
    with pytest.raises(RecordProblems) as raised:
        compiled.vectorize([{"photo": value} for value in values])
    return [problem.problem for problem in raised.value.problems]


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has one chunk of pixels that do not fill it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


def test_grey_pixels_arrive_exactly() -> None:
    tensor = DIGITS.vectorize([{"photo": encoded(GREY)}, {"photo": encoded(GREY.T.copy())}])
    np.testing.assert_array_equal(tensor[..., 0], np.stack([GREY, GREY.T]) / 16)
    assert tensor.dtype == np.float32


def test_flat_and_integer_tensors() -> None:
    flat = compiled("width: 8, height: 8, channels: 1", "[-1, 64]", "uint8")
    np.testing.assert_array_equal(flat.vectorize([{"photo": encoded(GREY)}]), GREY.reshape(1, 64))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_becomes_rgb(mode: str) -> None:
    white = Image.new("RGB", (2, 2), "white").convert("L").convert(mode) if mode != "I;16" else None
    image = white or Image.fromarray(np.full((2, 2), 65535, dtype=np.uint16))
    np.testing.assert_array_equal(PHOTO.vectorize([{"photo": encoded(image)}]), np.full((1, 2, 2, 3), 255))


def test_a_palette_with_transparency_needs_no_warning() -> None:
    image = Image.new("RGBA", (2, 2), (10, 20, 30, 128)).quantize()
    image.info["transparency"] = bytes([128, 255])
    assert PHOTO.vectorize([{"photo": encoded(image)}]).shape == (1, 2, 2, 3)


def test_jpeg_and_resize() -> None:
    red = Image.new("RGB", (100, 60), (200, 0, 0))
    tensor = PHOTO.vectorize([{"photo": encoded(red, "JPEG")}])
    np.testing.assert_allclose(tensor[0, :, :, 0], 200, atol=3)
    centred = compiled("width: 2, height: 2, scale: 0.01, offset: -1, resize: nearest", "[-1, 2, 2, 3]")
    np.testing.assert_allclose(centred.vectorize([{"photo": encoded(red)}])[..., 0], 1, atol=1e-6)


def test_what_is_not_an_image_is_reported() -> None:
    whole = encoded(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8))
    gif = encoded(GREY, "GIF")
    told = problems(DIGITS, "not base64!", 5, None, "", "aGVsbG8=", gif, "é", whole[: len(whole) // 8 * 4])
    assert told[:-1] == [
        "not valid base64",
        "expected a base64 string, got number",
        "expected a base64 string, got null",
        "empty, expected a PNG or JPEG",
        "not an image, expected a PNG or JPEG",
        "a GIF, expected a PNG or JPEG",
        "not valid base64",
    ]
    assert told[-1].startswith("damaged image: ")
    with pytest.raises(RecordProblems, match="record 1: feature 'photo': missing required feature"):
        DIGITS.vectorize([{"photo": whole}, {}])


def test_any_truncation_is_a_problem_and_nothing_worse() -> None:
    for kind in ("PNG", "JPEG"):
        buffer = BytesIO()
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, kind)
        data = buffer.getvalue()
        cut = [b64encode(data[:length]).decode() for length in range(0, len(data) - 20, 7)]
        assert len(problems(DIGITS, *cut)) == min(len(cut), 100)


def test_the_wrong_size_without_resize() -> None:
    assert problems(DIGITS, encoded(np.zeros((9, 7), np.uint8))) == ["7 x 9 pixels, the model takes 8 x 8"]


def test_huge_pictures_are_refused_by_their_header() -> None:
    sizes = [(9000, 9000), (10_000, 10_000), (60_000, 60_000)]  # below, at and above Pillow's own limits
    told = problems(PHOTO, *(b64encode(png_header(*size)).decode() for size in sizes))
    assert told == [
        "9000 x 9000 pixels are too many; a picture may have 4,194,304 (limits.image_pixels)",
        "too many pixels; a picture may have 4,194,304 (limits.image_pixels)",
        "too many pixels; a picture may have 4,194,304 (limits.image_pixels)",
    ]


def test_many_large_pictures_share_one_budget() -> None:
    blank = encoded(Image.new("1", (1000, 1000)))
    small = compiled("width: 2, height: 2", "[-1, 2, 2, 3]", image_pixels=1_000_000)
    assert problems(small, *[blank] * 18) == ["the pictures of a request may have 16,000,000 pixels in all"] * 2
    assert problems(small, encoded(Image.new("1", (1001, 1000)))) == [
        "1001 x 1000 pixels are too many; a picture may have 1,000,000 (limits.image_pixels)"
    ]


def test_pillow_is_not_loaded_for_a_spec_without_pictures() -> None:
    code = (
        "import sys; from gateway.preprocess import compile_spec; from gateway.spec import parse_spec\n"
        "compile_spec(parse_spec('features: [{name: x, type: float}]\\n"
        "input: {name: a, dtype: float32, shape: [-1, 1]}\\noutput: {name: b, kind: raw}')).vectorize([{'x': 1}])\n"
        "assert 'PIL' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_data_urls_and_wrapped_base64() -> None:
    text = encoded(GREY)
    wrapped = "\r\n".join(text[at : at + 20] for at in range(0, len(text), 20))
    tensor = DIGITS.vectorize([{"photo": one} for one in (f"data:image/png;base64,{text}", wrapped, text)])
    assert (tensor == tensor[0]).all()
    assert problems(DIGITS, "data:image/png,abc") == ["a data: URL must hold base64, as data:image/png;base64,…"]


def test_base64_as_programs_write_it() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (8, 8), dtype=np.uint8)
    plain = encoded(noise)
    url_safe = plain.replace("+", "-").replace("/", "_")
    assert url_safe != plain
    percent = plain.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    for text in [url_safe, plain.rstrip("="), f"DATA:image/png;name=a.png;BASE64,{plain}",
                 f"data:image/png;base64,{percent}"]:  # fmt: skip
        np.testing.assert_array_equal(DIGITS.vectorize([{"photo": text}])[0, :, :, 0], noise * 0.0625)


def test_a_picture_is_turned_as_its_exif_says_where_the_spec_asks_for_it() -> None:
    wide = Image.fromarray(np.arange(8, dtype=np.uint8).reshape(2, 4) * 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn the picture by 90 degrees, clockwise
    buffer = BytesIO()
    wide.save(buffer, "PNG", exif=exif)
    record = {"photo": b64encode(buffer.getvalue()).decode()}
    upright = compiled("width: 2, height: 4, channels: 1, resize: none, orientation: exif", "[-1, 4, 2]")
    np.testing.assert_array_equal(upright.vectorize([record])[0], np.rot90(np.asarray(wide), -1))
    ignored = compiled("width: 4, height: 2, channels: 1, resize: none", "[-1, 2, 4]")
    np.testing.assert_array_equal(ignored.vectorize([record])[0], np.asarray(wide))


def test_mean_and_std_of_each_channel_and_their_order() -> None:
    colours = np.array([[[10, 20, 30], [40, 50, 60]]], dtype=np.uint8)
    rules = "width: 2, height: 1, resize: none, order: bgr, mean: [1, 2, 3], std: [1, 2, 4], scale: 0.5"
    tensor = compiled(rules, "[-1, 1, 2, 3]").vectorize([{"photo": encoded(colours)}])
    np.testing.assert_array_equal(tensor[0], (colours[..., ::-1] * 0.5 - [1, 2, 3]) / [1, 2, 4])


def test_pixels_stay_bytes_in_a_tensor_of_bytes() -> None:
    bytes_ = compiled("width: 2, height: 2, resize: nearest, filter: tensorflow", "[-1, 2, 2, 3]", "uint8")
    assert bytes_.vectorize([{"photo": encoded(GREY)}]).dtype == np.uint8
    with pytest.raises(SpecProblem, match=r"gives fractions and input\.dtype is uint8"):
        compiled("width: 2, height: 2, filter: tensorflow", "[-1, 2, 2, 3]", "uint8")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("mean: [1, 2]", "mean has 2 numbers, the picture has 3 channels"),
        ("std: [1, 0, 1]", "std must be above 0 in every channel"),
        ("channels: 1, order: bgr", "order bgr needs 3 or 4 channels"),
        ("antialias: false", "Pillow always smooths; filter tensorflow has antialias false"),
        ("resize: nearest, antialias: true", "antialias does not apply to resize nearest"),
    ],
)
def test_rules_of_pictures_that_contradict(rules: str, message: str) -> None:
    with pytest.raises(SpecProblem, match=message):
        compiled(f"width: 2, height: 2, {rules}", "[-1, 2, 2, 3]")
