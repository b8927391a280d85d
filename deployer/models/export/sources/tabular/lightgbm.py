"""LightGBM models: the text file that `save_model` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deployer.errors import ExportError
from deployer.models.export.sources.tabular.forest import Forest, Tree
from deployer.models.export.sources.tabular.head import Head, Link
from deployer.models.export.sources.tabular.model import Column, Tabular, extra, unsupported
from tfserving.wire.tensors import Array

ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: what is not larger is 0."""

CATEGORICAL, DEFAULT_LEFT = 1, 2
NONE, ZEROS = 0, 1
"""Bits of a node's decision_type, and the missing type in the two bits above them (NaN is the third)."""

INNER = ("decision_type", "threshold", "left_child", "right_child", "split_feature")
"""Fields of the inner nodes, which a tree of one leaf does not have."""

VALUES = {
    "regression": Link.IDENTITY,
    "regression_l1": Link.IDENTITY,
    "huber": Link.IDENTITY,
    "fair": Link.IDENTITY,
    "quantile": Link.IDENTITY,
    "mape": Link.IDENTITY,
    "poisson": Link.EXP,
    "gamma": Link.EXP,
    "tweedie": Link.EXP,
    "cross_entropy": Link.SIGMOID,
    "cross_entropy_lambda": Link.LOG1P_EXP,
    "lambdarank": Link.IDENTITY,
    "rank_xendcg": Link.IDENTITY,
}
CLASSES = ("binary", "multiclass", "multiclassova")


def load(path: Path, *, trust: bool) -> Tabular:
    """The model in a file; the format runs no code. Errors: ExportError."""
    with extra("lightgbm"):
        import lightgbm
    try:
        booster = lightgbm.Booster(model_file=path)
        text = booster.model_to_string(num_iteration=-1)
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ExportError(
            f"{path} cannot be read as a model of LightGBM",
            cause=str(error),
            hint="write it with booster.save_model('model.txt'); a copy of the file must be complete",
        ) from error
    return _model(booster, text)


def _model(booster: Any, text: str) -> Tabular:
    header, *blocks = text.split("\nend of trees")[0].split("\nTree=")
    facts = _fields(header)
    objective, *parameters = facts.get("objective", "").split() or [""]
    head = _head(objective, dict(one.partition(":")[::2] for one in parameters), int(facts["num_class"]))
    outputs = int(facts["num_tree_per_iteration"])
    trees = [_tree(_fields(block)) for block in blocks]
    average = "average_output" in facts
    names = facts["feature_names"].split()
    forest = Forest(
        trees=trees,
        features=len(names),
        base=np.zeros(outputs),
        groups=[list(range(first, len(trees), outputs)) for first in range(outputs)],
        floored=False,
        tiny=ZERO,
    )

    def sums(keep: Any) -> Any:
        scores, iterations = forest.scores(keep), max(len(trees) // outputs, 1)
        return (lambda rows: scores(rows) / iterations) if average else scores

    return Tabular(
        dtype="float64",
        columns=_columns(forest, facts["feature_infos"].split()),
        sums=sums,
        head=head,
        ask=lambda rows: _ask(booster, head, rows),
        names=() if all(name == f"Column_{at}" for at, name in enumerate(names)) else names,
    )


def _fields(block: str) -> dict[str, str]:
    """The lines `key=value` of a block; a line without '=' is a key with an empty value."""
    return {key: value for key, _, value in (line.partition("=") for line in block.splitlines()) if key}


def _head(objective: str, parameters: Mapping[str, str], classes: int) -> Head:
    scale = float(parameters.get("sigmoid") or 1)
    if objective == "binary":
        return Head(link=Link.SIGMOID, labels=np.arange(2), scale=scale)
    if objective == "multiclass":
        return Head(link=Link.SOFTMAX, labels=np.arange(classes))
    if objective == "multiclassova":
        return Head(link=Link.SIGMOID, labels=np.arange(classes), scale=scale)
    if objective == "regression" and "sqrt" in parameters:
        return Head(link=Link.SQUARE)
    if objective in VALUES:
        return Head(link=VALUES[objective])
    raise unsupported(
        f"a model of LightGBM with {f'the objective {objective}' if objective else 'an objective of its own'}",
        f"these can be: {', '.join([*CLASSES, *VALUES])}",
    )


def _tree(fields: Mapping[str, str]) -> Tree:
    """Inner nodes first, then leaves; LightGBM counts leaves down from -1."""
    if fields.get("is_linear") == "1":
        raise unsupported("a model of LightGBM with linear trees", "train it with linear_tree=false")
    leaves = np.array(fields["leaf_value"].split(), np.float64)
    inner = len(leaves) - 1
    if not inner:
        fields = {**fields, **dict.fromkeys(INNER, "")}
    kinds = np.array(fields["decision_type"].split(), np.int64)
    threshold = np.array(fields["threshold"].split(), np.float64)
    left, right = (_children(fields[side], inner) for side in ("left_child", "right_child"))
    categorical, default_left, missing = (kinds & CATEGORICAL) > 0, (kinds & DEFAULT_LEFT) > 0, (kinds >> 2) & 3
    # Without a missing type NaN is 0; with the type of zeros, 0 and NaN both go the default way.
    zero = np.where(missing == ZEROS, default_left, threshold >= 0)
    nan = np.where(missing == NONE, zero, default_left) & ~categorical
    members = {}
    if categorical.any():
        bounds = np.array(fields["cat_boundaries"].split(), np.int64)
        words = np.array(fields["cat_threshold"].split(), np.uint32)
        for node in np.flatnonzero(categorical):
            which = int(threshold[node])
            members[int(node)] = _members(words[bounds[which] : bounds[which + 1]])
    more = np.zeros(len(leaves))
    return Tree(
        feature=np.append(np.array(fields["split_feature"].split(), np.int64), more.astype(np.int64)),
        threshold=np.append(threshold, more),
        left=np.append(left, more - 1).astype(np.int64),
        right=np.append(right, more - 1).astype(np.int64),
        nan_left=np.append(nan, more > 0),
        zero_left=np.append(zero, more > 0),
        value=np.append(np.zeros(inner), leaves)[:, None],
        members=members,
    )


def _children(text: str, inner: int) -> Array:
    found = np.array(text.split(), np.int64)
    return np.where(found < 0, inner + ~found, found)


def _members(words: Array) -> Array:
    bits = (words[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.flatnonzero(bits.ravel())


def _columns(forest: Forest, infos: list[str]) -> list[Column]:
    """`infos` say of each feature `[least:greatest]`, its categories between colons, or `none`."""
    cuts = forest.all_cuts()
    found = []
    for at, info in enumerate(infos):
        if info.startswith("[") or info == "none":
            ends = np.array(info.strip("[]").split(":"), np.float64) if info != "none" else np.empty(0)
            found.append(Column(cuts=np.unique([*cuts[at], *ends, 0.0]), missing=True))
        else:
            known = np.array(info.split(":"), np.float64)
            found.append(Column(categories=np.array([*known, known.max() + 1, -1.0, 0.5, -0.5]), missing=True))
    return found


def _ask(booster: Any, head: Head, rows: Array) -> dict[str, Array]:
    found = np.asarray(booster.predict(rows, num_iteration=-1))
    if head.labels is None:
        return {"values": found}
    if found.ndim == 1:
        found = np.stack([1 - found, found], 1)
    return {"probabilities": found, "classes": found.argmax(axis=1).astype(np.int64)}
