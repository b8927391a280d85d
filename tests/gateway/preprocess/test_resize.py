"""The resize of TensorFlow against TensorFlow, and that it is another one than Pillow's."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gateway.preprocess import compile_spec
from gateway.preprocess.resize import Method, resize
from gateway.spec import parse_spec

NOISE = np.random.default_rng(3).integers(0, 256, (61, 83, 3), dtype=np.uint8)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(61, 83), (4, 4), (7, 30), (122, 166), (100, 20), (1, 1), (61, 5)])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
def test_every_method_gives_the_pixels_of_tensorflow(method: Method, size: tuple[int, int], antialias: bool) -> None:
    antialias = antialias and method != "nearest"
    expected = tf.image.resize(NOISE, size, method=method, antialias=antialias).numpy()
    made = resize(NOISE, *size, method, antialias=antialias)
    assert made.dtype == np.float32
    if method == "nearest":
        np.testing.assert_array_equal(made, expected)
    else:
        np.testing.assert_allclose(made, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("antialias", "far"), [("false", True), ("true", False)])
def test_a_spec_says_which_resize_it_means(antialias: str, far: bool) -> None:
    def tensor(more: str) -> Any:
        spec = (
            f"features: [{{name: photo, type: image, image: {{width: 8, height: 8, {more}}}}}]\n"
            "input: {name: a, dtype: float32, shape: [-1, 8, 8, 3]}\noutput: {name: b, kind: raw}\n"
        )
        return compile_spec(parse_spec(spec)).vectorize([{"photo": b64encode(buffer.getvalue()).decode()}])[0]

    buffer = BytesIO()
    Image.fromarray(NOISE).save(buffer, "PNG")
    expected = tf.image.resize(NOISE, (8, 8), antialias=antialias == "true").numpy()
    np.testing.assert_allclose(tensor(f"filter: tensorflow, antialias: {antialias}"), expected, atol=1e-3)
    difference = np.abs(tensor("filter: pillow") - expected).max()
    assert (difference > 20) == far, f"Pillow differs by {difference}"
