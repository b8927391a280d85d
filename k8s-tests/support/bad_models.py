"""`python bad_models.py STORE FEATURES`: exports the versions of `digits` that are bad by what they compute.

Version numbers are in `variants`. All take what `digits` takes, and answer with ten probabilities.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from variants import DEADLY, SLOW, WRONG

from deployer.demo.samples import digits
from deployer.models.export.export import ExportRequest, export

PICTURES = tf.TensorSpec([None, 8, 8, 1], tf.float32, name=digits.INPUT)
FLOATS = 200_000_000
"""800 MB: more than a replica of the tests may use."""


class Bad(tf.Module):  # type: ignore[misc]  # has no types
    """A version that does `work` before it responds; what that returns is added, and is 0."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        super().__init__()
        self._work = work

    @tf.function(input_signature=[PICTURES])  # type: ignore[untyped-decorator]
    def serve(self, pixels: Any) -> Any:
        scores = tf.reshape(pixels, [-1, 64])[:, 10:20] + self._work(pixels)
        return {digits.OUTPUT: tf.nn.softmax(scores)}


def calculate(pixels: Any) -> Any:
    """Some tenths of a second on one CPU, whatever is asked."""
    start = tf.fill([256, 256], tf.reduce_mean(pixels) * 1e-3)
    multiplied = tf.while_loop(lambda i, _: i < 300, lambda i, m: (i + 1, tf.matmul(m, m)), (0, start))[1]
    return tf.nn.relu(tf.reduce_mean(multiplied) - 1e9)


def fill(rows: Any) -> Any:
    """As many floats from 0 to 1 as `rows` says, held at once."""
    return tf.nn.relu(tf.reduce_max(tf.random.uniform([rows])) - 2)


def slow() -> Any:
    """Answers late."""
    return Bad(calculate)


def deadly() -> Any:
    """Takes more memory than there is when it is asked, and a server asks it while it loads it: to warm up."""
    return Bad(lambda pixels: fill(FLOATS + tf.shape(pixels)[0]))


def main(store: Path, features: Path) -> None:
    """Export them all with one import of TensorFlow."""
    models = {SLOW: slow, DEADLY: deadly}
    sources = {version: f"{Path(__file__).stem}:{function.__name__}" for version, function in models.items()}
    sources[WRONG] = "deployer.demo.samples:digits_bad"
    for version, source in sources.items():
        request = ExportRequest(
            source=source,
            store=store,
            model="digits",
            version=version,
            features=features,
            sample_rows=1,
            warmup_batch_sizes=(1,),
        )
        export(request, progress=lambda _: None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
