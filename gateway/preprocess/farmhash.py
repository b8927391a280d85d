"""TensorFlow's hash of strings: FarmHash's Fingerprint64, and how crosses of categories are hashed with it.

The algorithm is public (github.com/google/farmhash, farmhashna::Hash64); it is what `tf.strings.to_hash_bucket_fast`
and Keras' Hashing layer take modulo the number of buckets. `tests/gateway/preprocess/test_farmhash.py` compares both.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_MASK = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_CAT = 0xC6A4A7935BD1E995
_CROSS_KEY = 0xDECAFCAFFE
"""The key with which TensorFlow begins the hash of a cross if none is given."""

_CACHED_LENGTH = 64
"""Longer words are hashed each time, so that the cache is bounded in bytes too."""


def bucket(word: str, buckets: int) -> int:
    """The bucket of a word, 0 to buckets - 1."""
    return _fingerprint(word) % buckets


def cross_bucket(words: Iterable[str], buckets: int) -> int:
    """The bucket of several words together, in their order: what `tf.sparse.cross_hashed` gives for strings."""
    hashed = _CROSS_KEY
    for word in words:
        hashed = _concatenated(hashed, _fingerprint(word))
    return hashed % buckets


def _fingerprint(word: str) -> int:
    return _remembered(word) if len(word) <= _CACHED_LENGTH else fingerprint64(word.encode())


@lru_cache(maxsize=1 << 16)
def _remembered(word: str) -> int:
    return fingerprint64(word.encode())


def fingerprint64(data: bytes) -> int:
    """Fingerprint64 of bytes of any length, as an unsigned number."""
    size = len(data)
    if size <= 16:
        return _up_to_16(data, size)
    if size <= 32:
        return _up_to_32(data, size)
    if size <= 64:
        return _up_to_64(data, size)
    return _longer(data, size)


def _concatenated(first: int, second: int) -> int:
    result = first ^ _CAT
    result ^= (_shift_mix(second * _CAT & _MASK) * _CAT) & _MASK
    result = result * _CAT & _MASK
    result = _shift_mix(result) * _CAT & _MASK
    return _shift_mix(result)


def _word64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _word32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _rotate(value: int, by: int) -> int:
    value &= _MASK
    return (value >> by | value << 64 - by) & _MASK


def _shift_mix(value: int) -> int:
    return value ^ value >> 47


def _pair(u: int, v: int, multiplier: int) -> int:
    a = _shift_mix(((u ^ v) & _MASK) * multiplier & _MASK)
    b = _shift_mix(((v ^ a) & _MASK) * multiplier & _MASK)
    return b * multiplier & _MASK


def _up_to_16(data: bytes, size: int) -> int:
    if size >= 8:
        multiplier = _K2 + size * 2
        a = _word64(data, 0) + _K2
        b = _word64(data, size - 8)
        c = _rotate(b, 37) * multiplier + a
        d = (_rotate(a, 25) + b) * multiplier
        return _pair(c & _MASK, d & _MASK, multiplier)
    if size >= 4:
        return _pair(size + (_word32(data, 0) << 3), _word32(data, size - 4), _K2 + size * 2)
    if size > 0:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[size - 1] << 2)
        return _shift_mix((y * _K2 ^ z * _K0) & _MASK) * _K2 & _MASK
    return _K2


def _up_to_32(data: bytes, size: int) -> int:
    multiplier = _K2 + size * 2
    a = _word64(data, 0) * _K1
    b = _word64(data, 8)
    c = _word64(data, size - 8) * multiplier
    d = _word64(data, size - 16) * _K2
    u = _rotate(a + b, 43) + _rotate(c, 30) + d
    v = a + _rotate(b + _K2, 18) + c
    return _pair(u & _MASK, v & _MASK, multiplier)


def _up_to_64(data: bytes, size: int) -> int:
    multiplier = _K2 + size * 2
    a = _word64(data, 0) * _K2
    b = _word64(data, 8)
    c = _word64(data, size - 8) * multiplier
    d = _word64(data, size - 16) * _K2
    y = (_rotate(a + b, 43) + _rotate(c, 30) + d) & _MASK
    z = _pair(y, (a + _rotate(b + _K2, 18) + c) & _MASK, multiplier)
    e = _word64(data, 16) * multiplier
    f = _word64(data, 24)
    g = (y + _word64(data, size - 32)) * multiplier
    h = (z + _word64(data, size - 24)) * multiplier
    u = _rotate(e + f, 43) + _rotate(g, 30) + h
    v = e + _rotate(f + a, 18) + g
    return _pair(u & _MASK, v & _MASK, multiplier)


def _longer(data: bytes, size: int) -> int:
    x, y = 81, 81 * _K1 + 113 & _MASK
    z = _shift_mix(y * _K2 + 113 & _MASK) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    x = x * _K2 + _word64(data, 0) & _MASK
    end = (size - 1) // 64 * 64
    for at in range(0, end, 64):
        x, y, z, v, w = _round(data, at, x, y, z, v, w, _K1, (1, 1))
    multiplier = _K1 + ((z & 0xFF) << 1)
    w = (w[0] + (size - 1 & 63) & _MASK, w[1])
    v = (v[0] + w[0] & _MASK, v[1])
    w = (w[0] + v[0] & _MASK, w[1])
    x, y, z, v, w = _round(data, size - 64, x, y, z, v, w, multiplier, (9, 9))
    first = _pair(v[0], w[0], multiplier) + _shift_mix(y) * _K0 + z
    second = _pair(v[1], w[1], multiplier) + x
    return _pair(first & _MASK, second & _MASK, multiplier)


def _round(
    data: bytes,
    at: int,
    x: int,
    y: int,
    z: int,
    v: tuple[int, int],
    w: tuple[int, int],
    multiplier: int,
    weight: tuple[int, int],
) -> tuple[int, int, int, tuple[int, int], tuple[int, int]]:
    """64 bytes; x and z change places at the end."""
    x = _rotate(x + y + v[0] + _word64(data, at + 8), 37) * multiplier & _MASK
    y = _rotate(y + v[1] + _word64(data, at + 48), 42) * multiplier & _MASK
    x ^= w[1] * weight[0] & _MASK
    y = y + v[0] * weight[1] + _word64(data, at + 40) & _MASK
    z = _rotate(z + w[0], 33) * multiplier & _MASK
    v = _weak(data, at, v[1] * multiplier, x + w[0])
    w = _weak(data, at + 32, z + w[1], y + _word64(data, at + 16))
    return z, y, x, v, w


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    last = _word64(data, at + 24)
    a = a + _word64(data, at) & _MASK
    b = _rotate(b + a + last, 21)
    c = a
    a = a + _word64(data, at + 8) + _word64(data, at + 16) & _MASK
    b += _rotate(a, 44)
    return a + last & _MASK, b + c & _MASK
