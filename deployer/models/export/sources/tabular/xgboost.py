"""XGBoost models: a file that `save_model` wrote, as JSON or UBJSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from deployer.errors import ExportError
from deployer.models.export.sources.tabular.forest import Forest, Tree
from deployer.models.export.sources.tabular.head import Head, Link, Tie
from deployer.models.export.sources.tabular.linear import linear
from deployer.models.export.sources.tabular.model import Column, Refuses, Tabular, extra, unsupported
from tfserving.wire.tensors import Array

BINARY, MULTI = "binary:logistic", ("multi:softprob", "multi:softmax")
VALUES = {
    "reg:squarederror": Link.IDENTITY,
    "reg:squaredlogerror": Link.IDENTITY,
    "reg:absoluteerror": Link.IDENTITY,
    "reg:pseudohubererror": Link.IDENTITY,
    "reg:quantileerror": Link.IDENTITY,
    "reg:logistic": Link.SIGMOID,
    "reg:gamma": Link.EXP,
    "reg:tweedie": Link.EXP,
    "count:poisson": Link.EXP,
    "survival:cox": Link.EXP,
    "survival:aft": Link.EXP,
    "binary:logitraw": Link.IDENTITY,
    "binary:hinge": Link.STEP,
    "rank:pairwise": Link.IDENTITY,
    "rank:ndcg": Link.IDENTITY,
    "rank:map": Link.IDENTITY,
}
"""Objectives whose prediction is a value, and what XGBoost makes of a sum there."""


def load(path: Path, *, trust: bool) -> Tabular:
    """The model in a file; XGBoost's formats run no code. Errors: ExportError."""
    with extra("xgboost"):
        import xgboost
    booster = xgboost.Booster()
    try:
        booster.load_model(path)
        booster = _as_its_interface_predicts(booster)
        document = json.loads(bytes(booster.save_raw("json")))
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise ExportError(
            f"{path} cannot be read as a model of XGBoost",
            cause=_reason(str(error)),
            hint="write it with model.save_model('model.json') or ('model.ubj'), with an XGBoost that is not newer",
        ) from error
    return _model(booster, document["learner"])


def _as_its_interface_predicts(booster: Any) -> Any:
    """A model of the scikit-learn interface stops at its best iteration; `Booster.predict` uses all trees."""
    best = booster.attr("best_iteration")
    if booster.attr("scikit_learn") is None or best is None:
        return booster
    return booster[: int(best) + 1]


def _model(booster: Any, learner: Any) -> Tabular:
    facts, objective = learner["learner_model_param"], learner["objective"]["name"]
    classes, targets = int(facts["num_class"]), int(facts.get("num_target", 1))
    head = _head(objective, classes, targets)
    outputs = max(classes, targets, 1)
    base = _base(facts["base_score"], objective, outputs)
    width = int(facts["num_feature"])
    ensemble = learner["gradient_booster"]
    types = learner.get("feature_types") or ["q"] * width
    if ensemble["name"] == "gblinear":
        weights = np.array(ensemble["model"]["weights"], np.float32).reshape(width + 1, outputs)
        # Which base an output of a linear model begins with is XGBoost's own matter: a row of missing values tells.
        empty = np.full((1, width), np.nan, np.float32)
        sums = linear(weights[:-1], _predicted(booster, empty, types, margin=True).reshape(outputs), nan_as=0.0)
        columns = [Column(missing=True) for _ in range(width)]
    else:
        forest = _forest(ensemble, width, base)
        cuts = forest.all_cuts()
        sums = forest.scores
        columns = [
            Column(cuts=cuts[at], categories=_categories(forest, at) if types[at] == "c" else None, missing=True)
            for at in range(width)
        ]
    return Tabular(
        dtype="float32",
        columns=columns,
        sums=sums,
        head=head,
        ask=lambda rows: _ask(booster, objective, rows, types),
        names=learner.get("feature_names") or (),
        refuses=Refuses.INFINITE,
    )


def _head(objective: str, classes: int, targets: int) -> Head:
    if objective == BINARY and targets == 1:
        return Head(link=Link.SIGMOID, labels=np.arange(2))
    if objective in MULTI:
        tie = Tie.ABOVE if objective == "multi:softmax" else Tie.PROBABILITY
        return Head(link=Link.SOFTMAX, labels=np.arange(classes), tie=tie)
    if objective in VALUES:
        return Head(link=VALUES[objective])
    if objective == BINARY:
        raise unsupported(f"a model of XGBoost with {targets} labels per row", "train one model for each label")
    raise unsupported(
        f"a model of XGBoost with the objective {objective}",
        f"these can be: {', '.join([BINARY, *MULTI, *sorted(VALUES)])}",
    )


def _base(text: str, objective: str, outputs: int) -> Array:
    """What sums begin with: the file has it as a prediction, and as a list since XGBoost 3.1."""
    found = json.loads(text)
    given = np.atleast_1d(np.array(found, np.float64))
    if objective in (BINARY, "reg:logistic"):
        given = np.log(given) - np.log1p(-given)
    elif VALUES.get(objective) is Link.EXP:
        given = np.log(given)
    return np.broadcast_to(given, outputs).astype(np.float32)


def _forest(ensemble: Any, width: int, base: Array) -> Forest:
    dropped = ensemble.get("weight_drop")
    model = (ensemble["gbtree"] if dropped is not None else ensemble)["model"]
    weights = np.ones(len(model["trees"]), np.float32) if dropped is None else np.array(dropped, np.float32)
    trees = [_tree(tree, weight) for tree, weight in zip(model["trees"], weights, strict=True)]
    groups: list[list[int]] = [[] for _ in base]
    for at, group in enumerate(model["tree_info"]):
        groups[group].append(at)
    return Forest(trees=trees, features=width, base=base, groups=groups, strict=True)


def _tree(tree: Any, weight: np.float32) -> Tree:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise unsupported(
            "a model of XGBoost with several outputs per tree", "train it with multi_strategy='one_output_per_tree'"
        )
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    nan_left = np.array(tree["default_left"]).astype(bool)
    conditions = np.array(tree["split_conditions"], np.float32)
    members = {}
    segments = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    for node, start, size in segments:
        # Members go right in XGBoost, and left in a Tree.
        members[node] = np.array(tree["categories"][start : start + size], np.int64)
        left[node], right[node], nan_left[node] = right[node], left[node], not nan_left[node]
    return Tree(
        feature=np.array(tree["split_indices"]),
        threshold=conditions,
        left=left,
        right=right,
        nan_left=nan_left,
        value=np.where(left < 0, conditions, 0)[:, None].astype(np.float32) * weight,
        members=members,
    )


def _categories(forest: Forest, feature: int) -> Array:
    """The numbers up to the largest that a split names, and one that none does."""
    return np.arange(int(forest.used_categories(feature).max(initial=0)) + 2)


def _ask(booster: Any, objective: str, rows: Array, types: list[str]) -> dict[str, Array]:
    found = _predicted(booster, rows, types)
    if objective == BINARY:
        return {"probabilities": np.stack([1 - found, found], 1), "classes": (found > 0.5).astype(np.int64)}
    if objective in MULTI:
        asked = booster.copy()
        asked.set_param({"objective": MULTI[0]})
        probabilities = _predicted(asked, rows, types)
        decided = found if objective == MULTI[1] else probabilities.argmax(axis=1)
        return {"probabilities": probabilities, "classes": decided.astype(np.int64)}
    return {"values": found}


def _predicted(booster: Any, rows: Array, types: list[str], *, margin: bool = False) -> Array:
    import xgboost

    data = xgboost.DMatrix(rows, feature_types=types, enable_categorical=True)
    return np.asarray(booster.predict(data, output_margin=margin, validate_features=False))


def _reason(text: str) -> str:
    """XGBoost's message without its time, its source line and its stack."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return line.rsplit(": ", 1)[-1] if line.startswith("[") else line
