"""Models of LightGBM respond as the library does: for zeros, missing values and foreign categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from tree_models import IGNORED, TARGET, X, light, same

pytestmark = IGNORED

LIGHTGBM: list[tuple[str, dict[str, Any]]] = [
    ("binary", {}),
    ("binary", {"sigmoid": 1.7}),
    ("binary", {"boosting": "dart", "drop_rate": 0.5}),
    ("binary", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}),
    ("multiclass", {}),
    ("multiclass", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}),
    ("multiclassova", {"sigmoid": 1.3}),
    ("regression", {}),
    ("regression", {"zero_as_missing": True}),
    ("regression", {"use_missing": False}),
    ("regression", {"reg_sqrt": True}),
    ("regression", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}),
    ("regression_l1", {}),
    ("huber", {}),
    ("fair", {}),
    ("quantile", {}),
    ("mape", {}),
    ("poisson", {}),
    ("gamma", {}),
    ("tweedie", {}),
    ("cross_entropy", {}),
    ("cross_entropy_lambda", {}),
    ("lambdarank", {}),
    ("rank_xendcg", {}),
]


@pytest.mark.parametrize(("objective", "parameters"), LIGHTGBM, ids=str)
def test_lightgbm(objective: str, parameters: dict[str, Any], tmp_path: Path) -> None:
    light(objective, tmp_path / "model.txt", **parameters)
    same(tmp_path / "model.txt")


@pytest.mark.parametrize("missing", [{}, {"zero_as_missing": True}, {"use_missing": False}], ids=str)
def test_lightgbm_zeros_tiny_numbers_missing_values_and_foreign_categories(
    missing: dict[str, Any], tmp_path: Path
) -> None:
    light("regression", tmp_path / "model.lgb", centred=True, **missing)
    numbers = [0.0, -0.0, 1e-36, -1e-36, 1e-34, -1e-34, 0.5, np.nan, np.inf, -np.inf]
    categories = [0, 3, 6, 7, 51, 9999, -1, -0.5, 3.7, np.nan]
    same(tmp_path / "model.lgb", given=[[one, one, one, other] for one in numbers for other in categories])


def test_a_lightgbm_model_without_a_split(tmp_path: Path) -> None:
    given = {"objective": "regression", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 1000}
    lgb.train(given, lgb.Dataset(X, TARGET, params=given), 2).save_model(tmp_path / "model.txt")
    same(tmp_path / "model.txt", given=X[:3])
