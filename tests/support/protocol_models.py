"""`python protocol_models.py STORE`: models for the tests of protocols.

`scale` N answers `y` = N * x, and classifies and regresses Examples with a feature `x`: N * x. `types` echoes a tensor
of each element type under `echo_NAME`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf

TYPES = {
    "bool": tf.bool, "uint8": tf.uint8, "uint16": tf.uint16, "uint32": tf.uint32, "uint64": tf.uint64, "int8": tf.int8,
    "int16": tf.int16, "int32": tf.int32, "int64": tf.int64, "fp16": tf.float16, "bf16": tf.bfloat16,
    "fp32": tf.float32, "fp64": tf.float64, "bytes": tf.string,
}  # fmt: skip


class Scale(tf.Module):  # type: ignore[misc]  # has no types
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = float(factor)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(self, x: Any) -> Any:
        return {"y": self.factor * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])  # type: ignore[untyped-decorator]
    def classify(self, inputs: Any) -> Any:
        return {"scores": self.regress(inputs)["outputs"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])  # type: ignore[untyped-decorator]
    def regress(self, inputs: Any) -> Any:
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        return {"outputs": self.factor * x}


class Types(tf.Module):  # type: ignore[misc]  # has no types
    @tf.function(input_signature=[tf.TensorSpec([None], dtype, name=name) for name, dtype in TYPES.items()])  # type: ignore[untyped-decorator]
    def serve(self, *given: Any) -> Any:
        return {f"echo_{name}": tf.identity(value) for name, value in zip(TYPES, given, strict=True)}


class Strange(tf.Module):  # type: ignore[misc]  # has no types
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(self, x: Any) -> Any:
        return {"complex": tf.complex(x, x), "bytes": tf.fill(tf.shape(x), b"\xff\x00"), "root": tf.sqrt(x)}


def write(store: Path) -> None:
    for version in (1, 2):
        scale = Scale(version)
        signatures = {"serving_default": scale.serve, "classify": scale.classify, "regress": scale.regress}
        tf.saved_model.save(scale, str(store / "scale" / str(version)), signatures=signatures)
    for name, model in (("types", Types()), ("strange", Strange())):
        tf.saved_model.save(model, str(store / name / "1"), signatures={"serving_default": model.serve})


if __name__ == "__main__":
    write(Path(sys.argv[1]))
