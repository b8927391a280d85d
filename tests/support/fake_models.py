"""`python fake_models.py STORE`: what `FakeModelServer` computes, as versions 1 and 2 of a real model `scale`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf


class Scale(tf.Module):  # type: ignore[misc]  # has no types
    """y = 10 * version * sum(x), shape [rows]; x is float [-1, 2]."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.fill([2, 1], 10.0 * version))

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(self, x: Any) -> Any:
        return {"y": tf.squeeze(x @ self.weights, axis=1)}


if __name__ == "__main__":
    for version in (1, 2):
        model = Scale(version)
        path = Path(sys.argv[1]) / "scale" / str(version)
        tf.saved_model.save(model, str(path), signatures={"serving_default": model.serve})
