"""Trees, forests and gradient boosting of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deployer.models.export.sources.library import tensorflow
from deployer.models.export.sources.tabular.forest import Forest, Keep, Tree
from deployer.models.export.sources.tabular.head import Head, Link, Tie, plain_labels
from deployer.models.export.sources.tabular.model import Column, Refuses, Tabular, unsupported
from tfserving.wire.tensors import Array


def _averaged(model: Any) -> Tabular:
    """A tree, or a forest, whose response is the mean of its trees'."""
    trees = [one.tree_ for one in getattr(model, "estimators_", [model])]
    classifier = hasattr(model, "classes_")
    if classifier and model.n_outputs_ > 1:
        raise unsupported(
            f"a {type(model).__name__} with {model.n_outputs_} labels per row", "train one model for each label"
        )
    values = [tree.value[:, 0, :] if classifier else tree.value[:, :, 0] for tree in trees]
    forest = Forest(
        trees=[_tree(tree, value) for tree, value in zip(trees, values, strict=True)],
        features=int(model.n_features_in_),
        base=np.zeros(values[0].shape[1]),
        rounded=True,
    )

    def sums(keep: Keep) -> Callable[[Any], Any]:
        scores = forest.scores(keep)
        return lambda rows: scores(rows) / len(trees)

    missing = bool(model.__sklearn_tags__().input_tags.allow_nan)
    return Tabular(
        dtype="float32",
        columns=[Column(cuts=cuts, missing=missing) for cuts in forest.all_cuts()],
        sums=sums,
        head=Head(labels=plain_labels(model.classes_) if classifier else None),
        ask=lambda rows: {},
        refuses=Refuses.INFINITE if missing else Refuses.MISSING,
    )


def _boosted(model: Any) -> Tabular:
    """Gradient boosting on trees of exact thresholds."""
    initial = model.init_
    if not (isinstance(initial, str) or type(initial).__name__ in ("DummyClassifier", "DummyRegressor")):
        raise unsupported(
            f"a {type(model).__name__} that begins with a {type(initial).__name__}", "train it with init=None or 'zero'"
        )
    width = int(model.n_features_in_)
    stages, outputs = model.estimators_.shape
    nodes = [model.estimators_[stage, output].tree_ for stage in range(stages) for output in range(outputs)]
    forest = Forest(
        trees=[_tree(tree, tree.value[:, 0, :] * model.learning_rate) for tree in nodes],
        features=width,
        base=np.asarray(model._raw_predict_init(np.zeros((1, width), np.float32))[0], np.float64),
        groups=_in_turns(len(nodes), outputs),
        rounded=True,
    )
    head = Head()
    if hasattr(model, "classes_"):
        # The exponential loss has half the log-odds as its sum.
        scale = 2.0 if model.loss == "exponential" else 1.0
        link = Link.SIGMOID if outputs == 1 else Link.SOFTMAX
        head = Head(link=link, labels=plain_labels(model.classes_), scale=scale, tie=Tie.FROM)
    return Tabular(
        dtype="float32",
        columns=[Column(cuts=cuts) for cuts in forest.all_cuts()],
        sums=forest.scores,
        head=head,
        ask=lambda rows: {},
        refuses=Refuses.MISSING,
    )


def _tree(tree: Any, value: Array) -> Tree:
    return Tree(
        feature=np.asarray(tree.feature),
        threshold=np.asarray(tree.threshold, np.float64),
        left=np.asarray(tree.children_left),
        right=np.asarray(tree.children_right),
        nan_left=np.asarray(tree.missing_go_to_left).astype(bool),
        value=np.asarray(value, np.float64),
    )


def _histogram(model: Any) -> Tabular:
    """Histogram gradient boosting: missing values and categories, on 64-bit numbers."""
    predictors = [one for stage in model._predictors for one in stage]
    outputs = int(model.n_trees_per_iteration_)
    width = int(model.n_features_in_)
    forest = Forest(
        trees=[_predictor(one) for one in predictors],
        features=width,
        base=np.broadcast_to(np.asarray(model._baseline_prediction, np.float64).ravel(), outputs).copy(),
        groups=_in_turns(len(predictors), outputs),
    )
    cuts = forest.all_cuts()
    known = _known_categories(model)
    order = list(known) + [at for at in range(width) if at not in known]
    columns = [Column(missing=True) for _ in range(width)]
    for inner, at in enumerate(order):
        if at in known:
            numbers = known[at]
            foreign = float(numbers.max()) + 1 if len(numbers) else 0.0
            columns[at] = Column(categories=np.array([*numbers, foreign, -1.0]), missing=True)
        else:
            columns[at] = Column(cuts=cuts[inner], missing=True)

    def sums(keep: Keep) -> Callable[[Any], Any]:
        scores = forest.scores(keep)
        return (lambda rows: scores(_encoded(rows, known, order))) if known else scores

    return Tabular(
        dtype="float64",
        columns=columns,
        sums=sums,
        head=_histogram_head(model, outputs),
        ask=lambda rows: {},
    )


def _histogram_head(model: Any, outputs: int) -> Head:
    if hasattr(model, "classes_"):
        link = Link.SIGMOID if outputs == 1 else Link.SOFTMAX
        return Head(link=link, labels=plain_labels(model.classes_), tie=Tie.ABOVE)
    return Head(link=Link.EXP if model.loss in ("poisson", "gamma") else Link.IDENTITY)


def _predictor(one: Any) -> Tree:
    nodes = one.nodes
    leaf = nodes["is_leaf"].astype(bool)
    members = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf):
        words = one.raw_left_cat_bitsets[nodes["bitset_idx"][node]].astype(np.uint32)
        bits = (words[:, None] >> np.arange(32, dtype=np.uint32)) & 1
        members[int(node)] = np.flatnonzero(bits.ravel())
    return Tree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        nan_left=nodes["missing_go_to_left"].astype(bool),
        value=nodes["value"].astype(np.float64)[:, None],
        members=members,
    )


def _known_categories(model: Any) -> dict[int, Array]:
    """Of each categorical feature the categories that training saw, in the order of their numbers inside; NaN for one
    that the trees do not know."""
    if model._preprocessor is None:
        return {}
    encoder = model._preprocessor.named_transformers_["encoder"]
    bitsets, place = model._bin_mapper.make_known_categories_bitsets()
    found = {}
    for inner, (at, categories) in enumerate(
        zip(np.flatnonzero(model.is_categorical_), encoder.categories_, strict=True)
    ):
        if categories.dtype.kind not in "iufb":
            raise unsupported(
                f"a {type(model).__name__} with categories that are text",
                "encode them as numbers before training, and do the same in the feature spec",
            )
        words = np.asarray(bitsets[place[inner]], np.uint32)
        bits = ((words[:, None] >> np.arange(32, dtype=np.uint32)) & 1).ravel().astype(bool)
        numbers = np.arange(len(categories))
        seen = (numbers < len(bits)) & bits[np.minimum(numbers, len(bits) - 1)]
        found[int(at)] = np.where(seen, categories.astype(np.float64), np.nan)
    return found


def _encoded(rows: Any, known: dict[int, Array], order: Sequence[int]) -> Any:
    """Rows as the trees see them: categorical features first, their categories numbered, unknown ones missing."""
    tf = tensorflow()
    columns = []
    for at in order:
        column = rows[:, at]
        if at in known:
            same = column[:, None] == tf.constant(known[at], rows.dtype)[None, :]
            number = tf.cast(tf.argmax(tf.cast(same, tf.int32), axis=1), rows.dtype)
            column = tf.where(tf.reduce_any(same, axis=1), number, tf.constant(np.nan, rows.dtype))
        columns.append(column)
    return tf.stack(columns, axis=1)


def _in_turns(trees: int, outputs: int) -> list[list[int]]:
    return [list(range(first, trees, outputs)) for first in range(outputs)]


KINDS: dict[str, Callable[[Any], Tabular]] = {
    **dict.fromkeys(
        (
            "DecisionTreeClassifier",
            "DecisionTreeRegressor",
            "ExtraTreeClassifier",
            "ExtraTreeRegressor",
            "RandomForestClassifier",
            "RandomForestRegressor",
            "ExtraTreesClassifier",
            "ExtraTreesRegressor",
        ),
        _averaged,
    ),
    "GradientBoostingClassifier": _boosted,
    "GradientBoostingRegressor": _boosted,
    "HistGradientBoostingClassifier": _histogram,
    "HistGradientBoostingRegressor": _histogram,
}
