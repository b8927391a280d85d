"""Models of XGBoost respond as the library does: on thresholds, for missing values and for categories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from tree_models import BOTH, GAPS, IGNORED, ROWS, TARGET, THREE, X, same, targets

pytestmark = IGNORED


def trained(objective: str, path: Path, **parameters: Any) -> xgb.Booster:
    data = GAPS.astype(np.float32)
    linear = parameters.get("booster") == "gblinear"
    types = None if linear else ["q", "q", "q", "c"]
    matrix = xgb.DMatrix(data, targets(objective), feature_types=types, enable_categorical=True)
    if objective == "survival:aft":
        matrix.set_float_info("label_lower_bound", TARGET)
        matrix.set_float_info("label_upper_bound", TARGET)
    if objective.startswith("rank"):
        matrix.set_group([30] * (ROWS // 30))
    given: dict[str, Any] = {"objective": objective, "nthread": 1, "verbosity": 0} | parameters
    if not linear:
        given |= {"max_depth": 4, "max_cat_to_onehot": 2}
    if objective.startswith("multi"):
        given["num_class"] = 3
    booster = xgb.train(given, matrix, 8)
    booster.save_model(path)
    return booster


XGBOOST: list[tuple[str, dict[str, Any]]] = [
    ("binary:logistic", {}),
    ("binary:logistic", {"booster": "dart", "rate_drop": 0.5, "one_drop": 1}),
    ("binary:logistic", {"booster": "gblinear"}),
    ("binary:logistic", {"base_score": 0.2}),
    ("binary:logistic", {"num_parallel_tree": 3, "subsample": 0.6}),
    ("binary:logitraw", {}),
    ("binary:hinge", {}),
    ("multi:softprob", {}),
    ("multi:softprob", {"booster": "gblinear"}),
    ("multi:softmax", {}),
    ("reg:squarederror", {}),
    ("reg:squarederror", {"booster": "gblinear"}),
    ("reg:squarederror", {"grow_policy": "lossguide", "max_leaves": 9}),
    ("reg:squaredlogerror", {}),
    ("reg:absoluteerror", {}),
    ("reg:pseudohubererror", {}),
    ("reg:quantileerror", {"quantile_alpha": 0.3}),
    ("reg:quantileerror", {"quantile_alpha": [0.2, 0.8]}),
    ("reg:logistic", {}),
    ("reg:gamma", {}),
    ("reg:tweedie", {}),
    ("count:poisson", {}),
    ("survival:cox", {}),
    ("survival:aft", {}),
    ("rank:ndcg", {}),
    ("rank:pairwise", {}),
    ("rank:map", {}),
]


@pytest.mark.parametrize(("objective", "parameters"), XGBOOST, ids=str)
def test_xgboost(objective: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    trained(objective, tmp_path / "model.ubj", **parameters)
    same(tmp_path / "model.ubj")


def test_xgboost_on_a_threshold_beside_it_and_without_a_value(tmp_path: Path) -> None:
    """The branch that a row takes is that of 32-bit `<`, and a missing value has a branch of its own."""
    column = np.repeat(np.array([0.1, 0.2, 0.3, np.nan], np.float32), 20)[:, None]
    labels = np.repeat([0.0, 5.0, 1.0, 9.0], 20)
    booster = xgb.train({"max_depth": 3, "nthread": 1}, xgb.DMatrix(column, labels), 3)
    booster.save_model(tmp_path / "model.json")
    split = [tree["split_conditions"] for tree in json.loads(booster.save_raw("json"))["learner"]["gradient_booster"][
        "model"]["trees"]]  # fmt: skip
    cuts = np.unique(np.array([value for one in split for value in one if 0.1 < value <= 0.3], np.float32))
    assert len(cuts)
    beside = [np.nextafter(cuts, np.float32(side)) for side in (-np.inf, np.inf)]
    rows = np.concatenate([cuts, *beside, [np.float32(np.nan)]])[:, None]
    found = same(tmp_path / "model.json", given=rows)["values"]
    on, under = found[: len(cuts)], found[len(cuts) : 2 * len(cuts)]
    assert (on != under).any(), "a row on a threshold goes right, the next smaller number left"
    assert len(np.unique(found)) >= 3


def test_xgboost_categories_that_no_split_names_fractions_and_negative_ones(tmp_path: Path) -> None:
    trained("reg:squarederror", tmp_path / "model.json")
    numbers = [*range(0, 80, 3), 999, 20_000_000, 3.5, -1, -0.5, np.nan]
    same(tmp_path / "model.json", given=[[0.5, 0.5, 0.5, number] for number in numbers])


def test_a_xgboost_category_number_just_below_0_is_not_category_0(tmp_path: Path) -> None:
    codes = np.repeat(np.arange(3, dtype=np.float32), 20)[:, None]
    data = xgb.DMatrix(codes, np.repeat([9.0, 1.0, 1.0], 20), feature_types=["c"], enable_categorical=True)
    xgb.train({"max_depth": 1, "nthread": 1}, data, 2).save_model(tmp_path / "model.json")
    found = same(tmp_path / "model.json", given=[[0], [0.5], [-0.5], [1]])["values"]
    assert found[0] == found[1] != found[2] == found[3]


def test_xgboost_of_the_scikit_learn_interface_stops_at_its_best_iteration(tmp_path: Path) -> None:
    model = xgb.XGBClassifier(n_estimators=80, early_stopping_rounds=2, learning_rate=0.9, n_jobs=1)
    model.fit(X[:120], THREE[:120], eval_set=[(X[120:], THREE[120:])], verbose=False)
    model.save_model(tmp_path / "model.json")
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    found = same(tmp_path / "model.json", given=X)
    assert found["probabilities"] == pytest.approx(model.predict_proba(X), abs=1e-6)
    assert found["classes"].tolist() == model.predict(X).tolist()


def test_xgboost_with_several_targets(tmp_path: Path) -> None:
    xgb.XGBRegressor(n_estimators=5, n_jobs=1).fit(X, BOTH).save_model(tmp_path / "model.json")
    assert same(tmp_path / "model.json")["values"].shape == (400, 2)
