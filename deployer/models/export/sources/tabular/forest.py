"""Decision trees of any library as arrays of nodes, walked by all rows and trees at once.

Each library compares in its own way at the same threshold: with `<` or `<=`, in 32 or 64 bits, and with a direction of
its own for missing values and for zeros. A forest holds what its library does, so that a row on a threshold takes the
same way here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deployer.errors import ExportError
from deployer.models.export.sources.library import tensorflow
from tfserving.wire.tensors import Array

Keep = Callable[[Array], Any]
"""Puts an array into the model as a variable, so that large ones stay out of the graph."""

MOST_CATEGORIES = 1 << 24
"""Category numbers from here on belong to no split (XGBoost's limit; no library comes near it)."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The nodes of one tree; node 0 is the root, and a leaf has the child -1.

    feature, threshold, left, right: [nodes]. nan_left: [nodes], whether a missing value goes left. zero_left: the same
    for zeros, None where they are numbers like others. value: [nodes, outputs], meant at leaves. members: of a
    categorical node, the category numbers that go left.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    nan_left: Array
    value: Array
    zero_left: Array | None = None
    members: Mapping[int, Array] = field(default_factory=dict)

    def depth(self, features: int) -> int:
        """Steps from the root to the deepest leaf. Errors: ExportError for nodes that make no tree."""
        nodes, depth, seen = np.array([0]), 0, 0
        while True:
            seen += len(nodes)
            inner = nodes[self.left[nodes] >= 0]
            if not len(inner):
                return depth
            nodes = np.concatenate([self.left[inner], self.right[inner]])
            bad = (nodes < 0) | (nodes >= len(self.left))
            outside = (self.feature[inner] < 0) | (self.feature[inner] >= features)
            if bad.any() or outside.any() or seen + len(nodes) > len(self.left):
                raise ExportError("the nodes of a tree are damaged", hint="save the model again")
            depth += 1


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Trees, and which output each adds to.

    `groups` lists for every output its trees in the order of summing; None when each leaf holds all outputs. `base` is
    what the sums begin with: [outputs]. `strict` compares with `<`, else `<=`, in the type of the thresholds; `rounded`
    says that the library takes rows as 32-bit numbers first. `floored` says how a fraction becomes a category number:
    by the floor or cut off towards 0. `tiny` is the largest absolute value that counts as 0.
    Errors at construction: ExportError for damaged nodes.
    """

    trees: Sequence[Tree]
    features: int
    base: Array
    groups: Sequence[Sequence[int]] | None = None
    strict: bool = False
    rounded: bool = False
    floored: bool = True
    tiny: float = 0.0

    def __post_init__(self) -> None:
        for tree in self.trees:
            tree.depth(self.features)

    def all_cuts(self) -> list[Array]:
        """The thresholds on each feature, ascending, without infinite ones."""
        if not self.trees:
            return [np.empty(0)] * self.features
        inner = [tree.left >= 0 for tree in self.trees]
        for tree, mask in zip(self.trees, inner, strict=True):
            mask[list(tree.members)] = False
        feature = np.concatenate([tree.feature[mask] for tree, mask in zip(self.trees, inner, strict=True)])
        threshold = np.concatenate([tree.threshold[mask] for tree, mask in zip(self.trees, inner, strict=True)])
        finite = np.isfinite(threshold)
        return [np.unique(threshold[finite & (feature == one)]) for one in range(self.features)]

    def used_categories(self, feature: int) -> Array:
        """Category numbers that splits on one feature name, ascending."""
        found = [m for tree in self.trees for node, m in tree.members.items() if tree.feature[node] == feature]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def scores(self, keep: Keep) -> Callable[[Any], Any]:
        """The function from rows [n, features] to sums [n, outputs], in the type of the leaf values."""
        tf = tensorflow()
        if not self.trees:
            return lambda rows: tf.tile(tf.constant(self.base[None, :]), [tf.shape(rows)[0], 1])
        steps = max(tree.depth(self.features) for tree in self.trees)
        starts = np.cumsum([0, *(len(tree.left) for tree in self.trees)])[:-1]
        walk = self._walk(keep, starts, steps)
        values = keep(np.concatenate([tree.value for tree in self.trees]))
        base = keep(self.base)
        groups = None if self.groups is None else keep(_padded(self.groups, len(self.trees)))

        def call(rows: Any) -> Any:
            leaves = tf.gather(values, walk(rows))  # [n, trees, outputs or 1]
            if groups is not None:
                # One more tree of zeros fills up the outputs that have fewer trees.
                leaves = tf.pad(leaves[:, :, 0], [[0, 0], [0, 1]])
                leaves = tf.transpose(tf.gather(leaves, groups, axis=1), [0, 2, 1])  # [n, trees of one, outputs]
            first = tf.tile(base[None, None, :], [tf.shape(rows)[0], 1, 1])
            # A running sum adds in the order of the trees, as the libraries do; a plain sum does not, and rounds
            # otherwise, which turns a tie of two classes.
            return tf.cumsum(tf.concat([first, leaves], 1), axis=1)[:, -1]

        return call

    def _walk(self, keep: Keep, starts: Array, steps: int) -> Callable[[Any], Any]:
        """The function from rows to the leaf that each reaches in each tree: [n, trees] of node numbers."""
        tf = tensorflow()
        joined = _joined(self.trees, starts)
        feature, threshold = keep(joined.feature), keep(joined.threshold)
        children, nan_left = keep(joined.children), keep(joined.nan_left)
        zero_left = None if joined.zero_left is None else keep(joined.zero_left)
        sets = None if joined.sets is None else tuple(keep(one) for one in joined.sets)
        kind = tf.as_dtype(joined.threshold.dtype)
        roots = tf.constant(starts, tf.int32)

        def left_of(node: Any, x: Any) -> Any:
            limit = tf.gather(threshold, node)
            left = x < limit if self.strict else x <= limit
            if zero_left is not None:
                left = tf.where(x == 0, tf.gather(zero_left, node), left)
            if sets is not None:
                start, size, words = (tf.gather(sets[0], node), tf.gather(sets[1], node), sets[2])
                left = tf.where(start >= 0, _member(x, start, size, words, floored=self.floored), left)
            return tf.where(tf.math.is_nan(x), tf.gather(nan_left, node), left)

        def walk(rows: Any) -> Any:
            rows = tf.cast(tf.cast(rows, tf.float32), kind) if self.rounded else tf.cast(rows, kind)
            if self.tiny:
                rows = tf.where(tf.abs(rows) <= self.tiny, tf.zeros([], kind), rows)

            def step(at: Any, node: Any) -> Any:
                x = tf.gather(rows, tf.gather(feature, node), batch_dims=1)
                right = 1 - tf.cast(left_of(node, x), tf.int32)
                return at + 1, tf.gather(children, 2 * node + right)

            first = tf.tile(roots[None, :], [tf.shape(rows)[0], 1])
            shapes = (tf.TensorShape([]), tf.TensorShape([None, len(self.trees)]))
            return tf.while_loop(lambda at, _: at < steps, step, (tf.constant(0), first), shape_invariants=shapes)[1]

        return walk


@dataclass(frozen=True, kw_only=True)
class _Joined:
    """The nodes of all trees one after another; `children` holds left and right of node i at 2i and 2i + 1."""

    feature: Array
    threshold: Array
    children: Array
    nan_left: Array
    zero_left: Array | None
    sets: tuple[Array, Array, Array] | None


def _joined(trees: Sequence[Tree], starts: Array) -> _Joined:
    children = []
    for tree, start in zip(trees, starts, strict=True):
        own = np.arange(len(tree.left))
        leaf = tree.left < 0  # which stays where it is
        pair = [np.where(leaf, own, side) + start for side in (tree.left, tree.right)]
        children.append(np.stack(pair, 1).ravel())
    special = any(tree.zero_left is not None for tree in trees)
    return _Joined(
        feature=np.concatenate([np.where(tree.left < 0, 0, tree.feature) for tree in trees]).astype(np.int32),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        children=np.concatenate(children).astype(np.int32),
        nan_left=np.concatenate([tree.nan_left for tree in trees]).astype(bool),
        zero_left=np.concatenate([tree.zero_left for tree in trees if tree.zero_left is not None]).astype(bool)
        if special
        else None,
        sets=_sets(trees, starts),
    )


def _sets(trees: Sequence[Tree], starts: Array) -> tuple[Array, Array, Array] | None:
    """Of every node where its bits begin (-1 for a numeric node) and how many words they have, and all words."""
    nodes = sum(len(tree.left) for tree in trees)
    start, size = np.full(nodes, -1, np.int32), np.zeros(nodes, np.int32)
    words: list[Array] = []
    used = 0
    for tree, first in zip(trees, starts, strict=True):
        for node, members in tree.members.items():
            bits = np.zeros(int(members.max(initial=-1)) // 32 + 1 or 1, np.uint32)
            np.bitwise_or.at(bits, members // 32, np.uint32(1) << (members % 32).astype(np.uint32))
            start[first + node], size[first + node] = used, len(bits)
            words.append(bits)
            used += len(bits)
    return (start, size, np.concatenate(words).view(np.int32)) if words else None


def _member(x: Any, start: Any, size: Any, words: Any, *, floored: bool) -> Any:
    """Whether the category number x is in the set of its node."""
    tf = tensorflow()
    safe = tf.clip_by_value(tf.where(tf.math.is_nan(x), tf.zeros_like(x), x), -1.0, float(MOST_CATEGORIES))
    number = tf.cast(tf.floor(safe) if floored else safe, tf.int32)
    in_range = (start >= 0) & (number >= 0) & (number < 32 * size)
    number = tf.where(in_range, number, 0)
    word = tf.gather(words, tf.where(in_range, start + number // 32, 0))
    return in_range & (tf.bitwise.bitwise_and(tf.bitwise.right_shift(word, number % 32), 1) == 1)


def _padded(groups: Sequence[Sequence[int]], filler: int) -> Array:
    most = max(len(group) for group in groups)
    return np.array([[*group, *[filler] * (most - len(group))] for group in groups], np.int32)
