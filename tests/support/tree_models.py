"""Data, models and comparison of the tests of tree and linear models of other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from deployer.models.export.sources import open_source
from deployer.models.proof.parity import Tolerance, compare

IGNORED = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
"""What the libraries warn of while they are imported and train."""

ROWS = 240
CLOSE = Tolerance(rtol=1e-5, atol=1e-5)
FEATURES = ["is_male", "mother_age", "plurality", "gestation_weeks"]

RNG = np.random.default_rng(11)
X = RNG.random((ROWS, 4))
X[:, 3] = 3 * RNG.integers(0, 18, ROWS)
TARGET = X[:, 0] + (X[:, 3] % 4 == 0) + X[:, 1] * X[:, 2] + 0.1
GAPS = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
TWO = (TARGET > 1).astype(int)
THREE = (TARGET > 0.8).astype(int) + (TARGET > 1.2)
WORDS = np.array(["low", "mid", "höh"])[THREE]
BOTH = np.stack([TARGET, -TARGET], axis=1)

FEW: dict[str, Any] = {"random_state": 0, "n_estimators": 6}
"""Parameters of a small ensemble of scikit-learn."""


def targets(objective: str) -> Any:
    """What an objective is trained on."""
    if objective.startswith("binary") or objective == "rank:map":
        return TWO
    if objective.startswith(("multi", "rank", "lambda")):
        return THREE
    return TARGET / 4 if objective in ("reg:logistic", "cross_entropy", "cross_entropy_lambda") else TARGET


def same(path: Path, *, rows: int = 400, trust: bool = False, given: Any = None) -> dict[str, Any]:
    """The outputs of the graph and of the library on the same rows, which are compared; those of the graph."""
    import tensorflow as tf

    source: Any = open_source(str(path), trust=trust)
    model = source._model
    inputs = model.samples(rows, np.random.default_rng(5)) if given is None else np.array(given, model.dtype)
    graph = tf.function(model.graph(lambda array: tf.Variable(array, trainable=False)), autograph=False)
    found = {name: np.asarray(one.numpy()) for name, one in graph(tf.constant(inputs)).items()}
    asked = source.run("serving_default", {"inputs": inputs})
    compare(asked, found, CLOSE, rows=len(inputs))
    first = next(iter(asked.values()))
    assert given is not None or len(np.unique(first)) > 1, "a model that always says the same proves nothing"
    return found


def light(objective: str, path: Path, *, centred: bool = False, **parameters: Any) -> None:
    """A model in a file; `centred` has thresholds below and above 0."""
    given = {"objective": objective, "verbose": -1, "num_leaves": 8, "num_threads": 1, "min_data_per_group": 2}
    given |= {"cat_smooth": 1, "max_cat_to_onehot": 2, "min_data_in_leaf": 5} | parameters
    if objective.startswith("multi"):
        given["num_class"] = 3
    rows = np.where(RNG.random(GAPS.shape) < 0.1, 0, GAPS) if "zero_as_missing" in parameters else GAPS
    rows = rows - [0.5, 0.5, 0.5, 0] if centred else rows
    group = [30] * (ROWS // 30) if "rank" in objective else None
    data = lgb.Dataset(rows, targets(objective), categorical_feature=[3], feature_name=FEATURES, group=group)
    lgb.train(given, data, 8).save_model(path)
