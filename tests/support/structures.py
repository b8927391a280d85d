"""Models of every call structure that Keras and TensorFlow have, exported by name in test_structures.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

RNG = np.random.default_rng(7)


def rows(*sizes: int) -> Any:
    return RNG.random((3, *sizes)).astype(np.float32)


class Positional(keras.Model):  # type: ignore[misc]  # has no types
    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def build(self, user_shape: Any, item_shape: Any) -> None:
        self.dense.build((None, user_shape[-1] + item_shape[-1]))
        self.built = True

    def call(self, user: Any, item: Any) -> Any:
        return self.dense(keras.ops.concatenate([user, item], -1))


def positional() -> Any:
    model = Positional()
    model(rows(2), rows(3))
    return model


class Joined(keras.Model):  # type: ignore[misc]  # has no types
    """Takes a list, or a dict, and joins what is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        values = [inputs[key] for key in sorted(inputs)] if isinstance(inputs, dict) else list(inputs)
        return self.dense(keras.ops.concatenate(values, -1) if len(values) > 1 else values[0])


def a_list() -> Any:
    model = Joined()
    model([rows(2), rows(3)])
    return model


def a_dict() -> Any:
    model = Joined()
    model({"left": rows(2), "right": rows(3)})
    return model


def a_dict_of_one() -> Any:
    model = Joined()
    model({"only": rows(2)})
    return model


def keys_unlike_names() -> Any:
    left, right = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    return keras.Model({"left": left, "right": right}, {"out": layers.Dense(1)(layers.Concatenate()([left, right]))})


def nested() -> Any:
    a, b, c = keras.Input((2,), name="a"), keras.Input((3,), name="b"), keras.Input((1,), name="c")
    joined = layers.Concatenate()([a, b, c])
    return keras.Model({"pair": [a, b], "one": c}, {"heads": [layers.Dense(1)(joined), layers.Dense(2)(joined)]})


class WithDefault(keras.Model):  # type: ignore[misc]  # has no types
    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x: Any, scale: float = 3.0) -> Any:
        return self.dense(x) * scale


def default_argument() -> Any:
    model = WithDefault()
    model(rows(4))
    return model


def stateful() -> Any:
    return keras.Sequential([keras.Input(batch_shape=(1, None, 3)), layers.LSTM(4, stateful=True), layers.Dense(1)])


def mixed_bfloat16() -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Dense(3, dtype="mixed_bfloat16", activation="softmax")(x))


def all_bfloat16() -> Any:
    x = keras.Input((4,), name="x", dtype="bfloat16")
    return keras.Model(x, layers.Dense(3, dtype="bfloat16")(x))


def lookup() -> Any:
    x = keras.Input((1,), name="color", dtype="string")
    numbers = layers.StringLookup(vocabulary=["red", "green"])(x)
    return keras.Model(x, layers.Dense(2)(layers.Embedding(4, 3)(numbers)[:, 0]))


def module(function: Any, *specs: Any) -> Any:
    """A tf.Module with this function, made in `__init__` as loaders of weights do."""
    made = tf.Module()
    made.serve = tf.function(function, input_signature=specs)
    return made


def spec(shape: list[int | None] | None, dtype: Any = tf.float32, name: str = "x") -> Any:
    return tf.TensorSpec(shape, dtype, name=name)


def ragged_input() -> Any:
    return module(lambda x: {"total": tf.reduce_sum(x, 1)}, tf.RaggedTensorSpec([None, None], tf.float32))


def ragged_output() -> Any:
    return module(lambda x: {"words": tf.strings.split(x)}, spec([None], tf.string))


def sparse_input() -> Any:
    return module(lambda x: {"total": tf.sparse.reduce_sum(x, 1)}, tf.SparseTensorSpec([None, 5], tf.float32))


def sparse_output() -> Any:
    return module(lambda x: {"some": tf.sparse.from_dense(x)}, spec([None, 3]))


def nested_module() -> Any:
    given = {"u": spec([None, 2], name="u"), "v": spec([None, 2], name="v")}
    return module(lambda x: {"out": {"sum": x["u"] + x["v"], "both": [x["u"], x["v"]]}}, given)


def no_inputs() -> Any:
    return module(lambda: {"names": tf.constant(["a", "b"])})


def scalar() -> Any:
    return module(
        lambda x, training: {"y": tf.where(training, x * 2.0, x)}, spec([None, 2]), spec([], tf.bool, "training")
    )


def fixed_batch() -> Any:
    return module(lambda x: {"y": tf.reduce_sum(x, 1)}, spec([4, 2]))


def rows_depend_on_each_other() -> Any:
    return module(lambda x: {"y": x - tf.reduce_mean(x, 0, keepdims=True)}, spec([None, 2]))


class Holder(tf.Module):  # type: ignore[misc]  # has no types
    """A Keras 3 model inside a tf.Module, with a variable of its own beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = lookup()
        self.offset = tf.Variable(3.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.string, name="color")])  # type: ignore[untyped-decorator]
    def __call__(self, color: Any) -> Any:
        return {"y": self.model(color) + self.offset}


def keras_in_a_module() -> Any:
    return Holder()


class Several(tf.Module):  # type: ignore[misc]  # has no types
    def __init__(self) -> None:
        super().__init__()
        names = tf.constant(["a", "b"])
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(names, tf.constant([1, 2])), 0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])  # type: ignore[untyped-decorator]
    def serving_default(self, word: Any) -> Any:
        return {"number": self.table.lookup(word)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def doubled(self, x: Any) -> Any:
        return {"y": x * 2.0}


def several_signatures() -> Any:
    return Several()


def returns_nothing() -> Any:
    return module(lambda x: None, spec([None, 2]))


class Untracked(tf.Module):  # type: ignore[misc]  # has no types
    def __init__(self) -> None:
        super().__init__()
        names = tf.constant(["a", "b"])
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(names, tf.constant([1, 2])), 0)
        self.look: Callable[[Any], Any] = lambda word: table.lookup(word)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])  # type: ignore[untyped-decorator]
    def __call__(self, word: Any) -> Any:
        return {"number": self.look(word)}


def untracked_table() -> Any:
    return Untracked()


def unbuilt() -> Any:
    return keras.Sequential([layers.Dense(3), layers.Dense(1)])
