"""From sums to what a library returns: probabilities and classes, or values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from deployer.models.export.sources.library import tensorflow
from tfserving.wire.tensors import Array


class Link(StrEnum):
    """What makes a value or a probability of a sum."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    SHARES = "shares"  # sigmoids that are divided by their sum
    EXP = "exp"
    SQUARE = "square"  # with the sign kept
    LOG1P_EXP = "log1p_exp"
    STEP = "step"  # 1 above 0, else 0


class Tie(StrEnum):
    """How a classifier of two classes decides: the second class wins when … Several compare the same numbers."""

    PROBABILITY = "its probability is above 1/2"
    ABOVE = "its sum is above 0"
    FROM = "its sum is 0 or above"


@dataclass(frozen=True, kw_only=True)
class Head:
    """`labels` are the classes of a classifier in their order, None for values. Sums are multiplied by `scale` first.

    A classifier gives `probabilities` [n, classes] and `classes` [n]; otherwise there are `values`, [n] of one output,
    else [n, outputs].
    """

    link: Link = Link.IDENTITY
    labels: Array | None = None
    scale: float = 1.0
    tie: Tie = Tie.PROBABILITY

    def outputs(self, sums: Any) -> dict[str, Any]:
        """Named tensors of sums [n, outputs]."""
        tf = tensorflow()
        linked = _linked(sums * self.scale if self.scale != 1 else sums, self.link)
        if self.labels is None:
            return {"values": linked[:, 0] if linked.shape[1] == 1 else linked}
        if sums.shape[1] == 1 and len(self.labels) == 2:
            second = linked[:, 0]
            linked = tf.stack([1 - second, second], axis=1)
            index = tf.cast(self._second(second, sums[:, 0]), tf.int64)
        else:
            # Two probabilities may be rounded to the same number where the sums differ.
            index = tf.argmax(linked if self.tie is Tie.PROBABILITY else sums, axis=1)
        return {"probabilities": linked, "classes": tf.gather(tf.constant(self.labels), index)}

    def _second(self, probability: Any, total: Any) -> Any:
        if self.tie is Tie.PROBABILITY:
            return probability > 0.5
        return total > 0 if self.tie is Tie.ABOVE else total >= 0


def _linked(sums: Any, link: Link) -> Any:
    tf = tensorflow()
    match link:
        case Link.SIGMOID:
            return tf.sigmoid(sums)
        case Link.SOFTMAX:
            return tf.nn.softmax(sums)
        case Link.SHARES:
            each = tf.sigmoid(sums)
            total = tf.reduce_sum(each, axis=1, keepdims=True)
            none = total == 0  # then all classes are equally likely
            return tf.where(none, tf.ones_like(each) / each.shape[1], each / tf.where(none, tf.ones_like(total), total))
        case Link.EXP:
            return tf.exp(sums)
        case Link.SQUARE:
            return tf.sign(sums) * sums * sums
        case Link.LOG1P_EXP:
            return tf.math.log1p(tf.exp(sums))
        case Link.STEP:
            return tf.cast(sums > 0, sums.dtype)
        case Link.IDENTITY:
            return sums


def plain_labels(labels: Array) -> Array:
    """Class labels in a type that a tensor has: int64, bool, float64 or text as bytes."""
    labels = np.asarray(labels)
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    if labels.dtype.kind in "US" or (labels.dtype.kind == "O" and all(isinstance(one, str) for one in labels.ravel())):
        encoded = [one.encode() if isinstance(one, str) else bytes(one) for one in labels.ravel().tolist()]
        found = np.empty(labels.shape, object)
        found.ravel()[:] = encoded
        return found
    return labels.astype(np.float64) if labels.dtype.kind == "f" else labels
