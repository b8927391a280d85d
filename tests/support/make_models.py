"""Writes the SavedModels of the server's tests. Runs in a process of its own: the tests never import tensorflow."""

import sys
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

OUT = Path(sys.argv[1])


class Scale(tf.Module):  # type: ignore[misc]  # has no types
    """y = x / 2 + add, with a classify and a regress signature on Examples that have a feature x."""

    def __init__(self, add: int) -> None:
        super().__init__()
        self.add = tf.Variable(float(add))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])  # type: ignore[untyped-decorator]
    def serve(self, x: Any) -> Any:
        return {"y": x * 0.5 + self.add}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])  # type: ignore[untyped-decorator]
    def classify(self, inputs: Any) -> Any:
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        return {"scores": x * 0.5 + self.add}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])  # type: ignore[untyped-decorator]
    def regress(self, inputs: Any) -> Any:
        return {"outputs": self.classify(inputs)["scores"]}


class Slow(tf.Module):  # type: ignore[misc]  # has no types
    """y = x, after about a millisecond of work for each unit of the largest x."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])  # type: ignore[untyped-decorator]
    def serve(self, x: Any) -> Any:
        product = tf.ones([64, 64]) / 64.0
        for _ in tf.range(tf.cast(tf.reduce_max(x), tf.int32) * 100):
            product = tf.matmul(product, product)
        return {"y": x + 0.0 * product[0, 0]}


class Gated(tf.Module):  # type: ignore[misc]  # has no types
    """y = x: leaves the file `gate`/entered, and responses once there is the file `gate`/go-0."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([], tf.string, "gate")])  # type: ignore[untyped-decorator]
    def serve(self, x: Any, gate: Any) -> Any:
        tf.io.write_file(tf.strings.join([gate, "/entered"]), "")
        # The name depends on the turn, so that no optimizer looks for the file once and for all.
        turn = tf.constant(0)
        while tf.size(tf.io.matching_files(tf.strings.join([gate, "/go-", tf.strings.as_string(turn % 1)]))) == 0:
            turn += 1
        with tf.control_dependencies([turn]):
            return {"y": tf.identity(x)}


class Words(tf.Module):  # type: ignore[misc]  # has no types
    """Looks words up in a table that is filled from an asset, and echoes them."""

    def __init__(self) -> None:
        super().__init__()
        vocabulary = OUT / "vocabulary.txt"
        vocabulary.write_text("car\nhome\n")
        init = tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticHashTable(init, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])  # type: ignore[untyped-decorator]
    def serve(self, word: Any) -> Any:
        return {"index": self.table.lookup(word), "echo": tf.identity(word)}


for version in (1, 2, 3):
    scale = Scale(10 * version)
    tf.saved_model.save(
        scale,
        str(OUT / "scale" / str(version)),
        {"serving_default": scale.serve, "classify": scale.classify, "regress": scale.regress},
    )
slow, gated, words = Slow(), Gated(), Words()
tf.saved_model.save(slow, str(OUT / "slow" / "1"), {"serving_default": slow.serve})
tf.saved_model.save(gated, str(OUT / "gated" / "1"), {"serving_default": gated.serve})
tf.saved_model.save(words, str(OUT / "words" / "1"), {"serving_default": words.serve})

keras.utils.set_random_seed(7)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)])
model.export(str(OUT / "keras" / "1"), verbose=False)
(OUT / "keras_expected.txt").write_text(" ".join(map(str, model(tf.constant([[1.0, 2.0, 3.0, 4.0]])).numpy()[0])))
