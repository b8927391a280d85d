"""Writes the SavedModels of the server's tests. Runs in a process of its own: the tests never import tensorflow."""

import sys
from pathlib import Path

import keras
import tensorflow as tf

OUT = Path(sys.argv[1])


class Scale(tf.Module):
    """y = x / 2 + add, with a classify and a regress signature on Examples that have a feature x."""

    def __init__(self, add):
        super().__init__()
        self.add = tf.Variable(float(add))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serve(self, x):
        return {"y": x * 0.5 + self.add}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        return {"scores": x * 0.5 + self.add}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs):
        return {"outputs": self.classify(inputs)["scores"]}


class Slow(tf.Module):
    """y = x, after about a millisecond of work for each unit of the largest x."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serve(self, x):
        product = tf.ones([64, 64]) / 64.0
        for _ in tf.range(tf.cast(tf.reduce_max(x), tf.int32) * 100):
            product = tf.matmul(product, product)
        return {"y": x + 0.0 * product[0, 0]}


class Gated(tf.Module):
    """y = x: leaves the file `gate`/entered, and answers once there is the file `gate`/go-0."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([], tf.string, "gate")])
    def serve(self, x, gate):
        tf.io.write_file(tf.strings.join([gate, "/entered"]), "")
        # The name depends on the turn, so that no optimizer looks for the file once and for all.
        turn = tf.constant(0)
        while tf.size(tf.io.matching_files(tf.strings.join([gate, "/go-", tf.strings.as_string(turn % 1)]))) == 0:
            turn += 1
        with tf.control_dependencies([turn]):
            return {"y": tf.identity(x)}


class Words(tf.Module):
    """Looks words up in a table that is filled from an asset, and echoes them."""

    def __init__(self):
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

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")])
    def serve(self, word):
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
