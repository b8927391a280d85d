"""The hash of strings against TensorFlow's own, so that Keras' Hashing and HashedCrossing layers can be matched."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tensorflow as tf

from gateway.preprocess import compile_spec, farmhash
from gateway.spec import parse_spec

LENGTHS = [*range(70), 127, 128, 129, 191, 192, 193, 1000, 4096]


def words() -> list[str]:
    """Texts whose UTF-8 has every length at which the algorithm changes, three of each."""
    chance = random.Random(7)
    ascii_only = ["".join(chance.choices("abcXYZ 0189-_", k=size)) for size in LENGTHS for _ in range(3)]
    return [*ascii_only, "café", "Zürich", "東京都", "🦊" * 9, "é" * 33]


@pytest.mark.parametrize("buckets", [2, 1000, 2**31 - 1])
def test_a_bucket_is_the_one_of_to_hash_bucket_fast(buckets: int) -> None:
    expected = tf.strings.to_hash_bucket_fast(words(), buckets).numpy().tolist()
    assert [farmhash.bucket(word, buckets) for word in words()] == expected


def test_a_cross_is_the_one_of_cross_hashed() -> None:
    chance = random.Random(11)
    first, second, third = (chance.choices(words(), k=60) for _ in range(3))
    crossed = tf.sparse.to_dense(
        tf.sparse.cross_hashed(
            [tf.constant([[word] for word in some]) for some in (first, second, third)], num_buckets=997
        )
    )
    mine = [farmhash.cross_bucket(some, 997) for some in zip(first, second, third, strict=True)]
    assert mine == crossed.numpy()[:, 0].tolist()


@pytest.mark.filterwarnings("ignore")
def test_features_are_what_the_layers_of_keras_make_of_the_same_words() -> None:
    import keras

    spec = parse_spec(
        "features:\n"
        "  - {name: city, type: category, encoding: hash_bucket, hash: farmhash, buckets: 50}\n"
        "  - {name: both, type: cross, of: [city, shop], hash: farmhash, buckets: 60}\n"
        "input: {name: a, dtype: int64, shape: [-1, 2]}\noutput: {name: b, kind: raw}\n"
    )
    cities, shops = ["Rome", "Zürich", "Paris"], ["x", "", "corner shop"]
    tensor = compile_spec(spec).vectorize(
        [{"city": city, "shop": shop} for city, shop in zip(cities, shops, strict=True)]
    )
    hashing = keras.layers.Hashing(num_bins=50)(tf.constant(cities)[:, tf.newaxis])
    crossing = keras.layers.HashedCrossing(num_bins=60)(
        (tf.constant(cities)[:, tf.newaxis], tf.constant(shops)[:, tf.newaxis])
    )
    np.testing.assert_array_equal(tensor, np.hstack([np.asarray(hashing), np.asarray(crossing)]))
