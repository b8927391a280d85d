"""`tf.image.resize` without tensorflow: pixels of another size, as float32, by the weights that TensorFlow uses.

The kernels are those of its public source (resize_nearest_neighbor, resize_bilinear, resize_bicubic with half pixel
centers, and scale_and_translate for antialiasing). `tests/gateway/preprocess/test_resize.py` compares both.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np

from gateway.preprocess.batch import Array

Method = Literal["nearest", "bilinear", "bicubic"]

_TABLE = 1024
"""TensorFlow rounds the weights of a bicubic resize to so many places between two pixels."""


def resize(pixels: Array, height: int, width: int, method: Method, *, antialias: bool) -> Array:
    """`pixels` (height x width x channels, uint8) in another size, as float32, not rounded."""
    if method == "nearest":
        rows, columns = (_nearest(new, old) for new, old in ((height, pixels.shape[0]), (width, pixels.shape[1])))
        chosen: Array = pixels[rows][:, columns]
        return chosen.astype(np.float32)
    made = _along(pixels.astype(np.float32), *_taps(height, pixels.shape[0], method, antialias))
    turned = _along(made.swapaxes(0, 1), *_taps(width, pixels.shape[1], method, antialias))
    upright: Array = turned.swapaxes(0, 1)
    return upright


def _along(pixels: Array, sources: Array, weights: Array) -> Array:
    """Each new row is the weighted sum of old ones: `sources` and `weights` are new rows x taps."""
    made = np.zeros((len(sources), *pixels.shape[1:]), dtype=np.float32)
    for tap in range(sources.shape[1]):
        made += pixels[sources[:, tap]] * weights[:, tap, np.newaxis, np.newaxis]
    return made


def _nearest(new: int, old: int) -> Array:
    places = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new)
    below: Array = np.floor(places).astype(np.intp)
    return np.minimum(below, old - 1)


@lru_cache(maxsize=256)
def _taps(new: int, old: int, method: Method, antialias: bool) -> tuple[Array, Array]:
    """The old rows of each new one and their weights. The same sizes come again and again, so they are kept."""
    if new == old:
        return np.arange(old)[:, np.newaxis], np.ones((old, 1), dtype=np.float32)
    if antialias:
        return _antialiased(new, old, method)
    places = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5)
    below = np.floor(places).astype(np.intp)
    part = places - below.astype(np.float32)
    if method == "bilinear":
        sources = np.stack([np.maximum(below, 0), np.minimum(np.ceil(places).astype(np.intp), old - 1)], axis=1)
        return sources, np.stack([1 - part, part], axis=1).astype(np.float32)
    return _bicubic(below, part, old)


def _bicubic(below: Array, part: Array, old: int) -> tuple[Array, Array]:
    step = np.rint(part * _TABLE).astype(np.intp)
    near, far = _cubic_table()
    weights = np.stack([far[step], near[step], near[_TABLE - step], far[_TABLE - step]], axis=1)
    sources = below[:, np.newaxis] + np.array([-1, 0, 1, 2])
    weights = np.where((sources < 0) | (sources >= old), np.float32(0), weights)
    return np.clip(sources, 0, old - 1), (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=1)
def _cubic_table() -> tuple[Array, Array]:
    """Keys' cubic kernel within one pixel and from one to two, at each place between two pixels."""
    distance = np.arange(_TABLE + 1) / _TABLE
    return _cubic(distance).astype(np.float32), _cubic(distance + 1).astype(np.float32)


def _cubic(distance: Array) -> Array:
    near = ((1.5 * distance - 2.5) * distance) * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, np.where(distance <= 2, far, 0.0))


def _antialiased(new: int, old: int, method: Method) -> tuple[Array, Array]:
    """A kernel as wide as the old pixels that become one new pixel."""
    stretch = old / new
    width = max(stretch, 1.0)
    reach = (1.0 if method == "bilinear" else 2.0) * width
    centers = (np.arange(new) + 0.5) * stretch
    first = np.maximum(np.ceil(centers - reach - 0.5).astype(np.intp), 0)
    last = np.minimum(np.floor(centers + reach - 0.5).astype(np.intp), old - 1)
    sources = first[:, np.newaxis] + np.arange(min(2 * math.ceil(reach) + 1, old))
    distance = np.abs(sources + 0.5 - centers[:, np.newaxis]) / width
    weights = np.maximum(1 - distance, 0) if method == "bilinear" else _cubic(distance)
    weights = np.where(sources <= last[:, np.newaxis], weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.minimum(sources, old - 1), weights.astype(np.float32)
