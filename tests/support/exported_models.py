"""Functions that return small models, as a user's module would; exported by name in test_export_*.py."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import tensorflow as tf

CALLS = itertools.count()


def linear() -> Any:
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    return keras.Model(x, keras.layers.Dense(3, activation="softmax", name="scores")(x))


def wide() -> Any:
    """Layers large enough for TFLite to quantize their weights."""
    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(128, activation="relu")(keras.layers.Dense(128, activation="relu")(x))
    return keras.Model(x, keras.layers.Dense(3, activation="softmax", name="scores")(hidden))


def two_inputs() -> Any:
    keras.utils.set_random_seed(1)
    amount, kind = keras.Input((2,), name="amount"), keras.Input((1,), name="kind", dtype="int32")
    joined = keras.layers.Concatenate()([amount, keras.layers.Embedding(2, 3)(kind)[:, 0]])
    return keras.Model({"amount": amount, "kind": kind}, {"score": keras.layers.Dense(1)(joined), "kind": kind})


class Doubler(tf.Module):  # type: ignore[misc]  # has no types
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="numbers")])  # type: ignore[untyped-decorator]
    def __call__(self, numbers: Any) -> Any:
        return {"doubled": numbers * 2.0}


def doubler() -> Any:
    return Doubler()


class OneRow(tf.Module):  # type: ignore[misc]  # has no types
    @tf.function(input_signature=[tf.TensorSpec([1, 2], tf.float32, name="numbers")])  # type: ignore[untyped-decorator]
    def serving_default(self, numbers: Any) -> Any:
        return {"total": tf.reduce_sum(numbers)}


def one_row() -> Any:
    return OneRow()


class Counting(keras.layers.Layer):  # type: ignore[misc]  # has no types
    """Adds how often Python has run it: the number is frozen in the written graph, and goes on in the source."""

    def call(self, numbers: Any) -> Any:
        return numbers + float(next(CALLS))


def counting() -> Any:
    numbers = keras.Input((2,), name="numbers")
    return keras.Model(numbers, {"counted": Counting()(numbers)})


class Words(tf.Module):  # type: ignore[misc]  # has no types
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word"), tf.TensorSpec([None], tf.int64, "n")])  # type: ignore[untyped-decorator]
    def __call__(self, word: Any, n: Any) -> Any:
        return {"upper": tf.strings.upper(word), "n": n + 1}


def words() -> Any:
    return Words()


class Ambiguous(tf.Module):  # type: ignore[misc]  # has no types
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])  # type: ignore[untyped-decorator]
    def first(self, x: Any) -> Any:
        return x

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])  # type: ignore[untyped-decorator]
    def second(self, x: Any) -> Any:
        return x


def ambiguous() -> Any:
    return Ambiguous()


def not_a_model() -> Any:
    return 42


def broken() -> Any:
    raise RuntimeError("the training data is gone")
