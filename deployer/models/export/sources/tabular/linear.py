"""Linear models: one matrix product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deployer.models.export.sources.library import tensorflow
from deployer.models.export.sources.tabular.forest import Keep
from tfserving.wire.tensors import Array


def linear(weights: Array, intercept: Array, *, nan_as: float | None = None) -> Callable[[Keep], Callable[[Any], Any]]:
    """The builder of rows @ weights + intercept: [features, outputs] and [outputs].

    `nan_as` stands for missing values.
    """
    tf = tensorflow()

    def build(keep: Keep) -> Callable[[Any], Any]:
        factors, offset = keep(weights), keep(intercept)

        def call(rows: Any) -> Any:
            given = rows if nan_as is None else tf.where(tf.math.is_nan(rows), tf.constant(nan_as, rows.dtype), rows)
            return tf.matmul(given, factors) + offset

        return call

    return build
