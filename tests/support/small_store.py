"""`python small_store.py STORE`: a store with model `scale`; version N answers N times the sum of a row."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

FEATURES = """
features:
  - {name: a, type: float}
  - {name: b, type: float}
  - {name: c, type: float, default: 0}
input: {name: x, dtype: float32, shape: [-1, 3]}
output: {name: y, kind: regression}
"""


class Scale(tf.Module):  # type: ignore[misc]  # has no types
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = float(factor)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(self, x: Any) -> Any:
        return {"y": self.factor * tf.reduce_sum(x, axis=1, keepdims=True)}


def write(store: Path) -> None:
    for version in (1, 2):
        model, path = Scale(version), store / "scale" / str(version)
        tf.saved_model.save(model, str(path), signatures={"serving_default": model.serve})
        (path / "assets.extra").mkdir()
        (path / "assets.extra" / "features.yaml").write_text(FEATURES, "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
