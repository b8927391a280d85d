"""Models of scikit-learn respond as the library does: on thresholds, for missing values and in pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn import ensemble, linear_model, preprocessing, tree
from sklearn.pipeline import make_pipeline
from tree_models import BOTH, FEW, GAPS, IGNORED, TARGET, THREE, TWO, WORDS, X, same

from deployer.models.export.sources import open_source

pytestmark = IGNORED

HIST: dict[str, Any] = {"random_state": 0, "max_iter": 6, "min_samples_leaf": 5}
SKLEARN: dict[str, tuple[Any, Any, Any]] = {
    "tree classifier": (tree.DecisionTreeClassifier(max_depth=5, random_state=0), X, WORDS),
    "tree classifier, missing values": (tree.DecisionTreeClassifier(max_depth=5, random_state=0), GAPS, TWO),
    "tree regressor": (tree.DecisionTreeRegressor(random_state=0), GAPS, TARGET),
    "tree regressor, two targets": (tree.DecisionTreeRegressor(random_state=0), X, BOTH),
    "extra tree classifier": (tree.ExtraTreeClassifier(random_state=0), X, TWO > 0),
    "extra tree regressor": (tree.ExtraTreeRegressor(random_state=0), X, TARGET),
    "forest classifier": (ensemble.RandomForestClassifier(**FEW), GAPS, WORDS),
    "forest classifier, two classes": (ensemble.RandomForestClassifier(**FEW, max_depth=2), X, TWO),
    "forest regressor": (ensemble.RandomForestRegressor(**FEW), GAPS, TARGET),
    "extra trees classifier": (ensemble.ExtraTreesClassifier(**FEW), X, THREE),
    "extra trees regressor": (ensemble.ExtraTreesRegressor(**FEW), GAPS, TARGET),
    "boosting classifier": (ensemble.GradientBoostingClassifier(**FEW), X, WORDS),
    "boosting classifier, two classes": (ensemble.GradientBoostingClassifier(**FEW), X, TWO),
    "boosting classifier, exponential": (ensemble.GradientBoostingClassifier(**FEW, loss="exponential"), X, TWO),
    "boosting classifier from zero": (ensemble.GradientBoostingClassifier(**FEW, init="zero"), X, TWO),
    "boosting regressor": (ensemble.GradientBoostingRegressor(**FEW), X, TARGET),
    "boosting regressor, quantile": (ensemble.GradientBoostingRegressor(**FEW, loss="quantile"), X, TARGET),
    "histogram classifier": (ensemble.HistGradientBoostingClassifier(**HIST), GAPS, TWO),
    "histogram classifier, categories": (
        ensemble.HistGradientBoostingClassifier(**HIST, categorical_features=[3]),
        GAPS,
        WORDS,
    ),
    "histogram regressor, categories not at the end": (
        ensemble.HistGradientBoostingRegressor(**HIST, categorical_features=[1]),
        GAPS[:, [0, 3, 1, 2]],
        TARGET,
    ),
    "histogram regressor, poisson": (
        ensemble.HistGradientBoostingRegressor(**HIST, loss="poisson", early_stopping=True, categorical_features=[3]),
        GAPS,
        TARGET,
    ),
    "histogram regressor, gamma": (ensemble.HistGradientBoostingRegressor(**HIST, loss="gamma"), GAPS, TARGET),
    "linear regression": (linear_model.LinearRegression(), X, TARGET),
    "linear regression, two targets": (linear_model.LinearRegression(), X, BOTH),
    "ridge": (linear_model.Ridge(), X, TARGET),
    "lasso": (linear_model.Lasso(0.01), X, TARGET),
    "elastic net": (linear_model.ElasticNet(0.01), X, TARGET),
    "ridge, crossed": (linear_model.RidgeCV(), X, TARGET),
    "lasso, crossed": (linear_model.LassoCV(), X, TARGET),
    "elastic net, crossed": (linear_model.ElasticNetCV(), X, TARGET),
    "huber": (linear_model.HuberRegressor(max_iter=1000), X, TARGET),
    "quantile": (linear_model.QuantileRegressor(alpha=0), X, TARGET),
    "poisson": (linear_model.PoissonRegressor(), X, TARGET),
    "gamma": (linear_model.GammaRegressor(), X, TARGET),
    "tweedie": (linear_model.TweedieRegressor(power=1.5), X, TARGET),
    "tweedie, normal": (linear_model.TweedieRegressor(power=0), X, TARGET),
    "logistic regression": (linear_model.LogisticRegression(), X, WORDS),
    "logistic regression, two classes": (linear_model.LogisticRegression(), X, TWO),
    "logistic regression, crossed": (linear_model.LogisticRegressionCV(cv=2, max_iter=500), X, WORDS),
    "stochastic descent": (linear_model.SGDClassifier(loss="log_loss", random_state=0), X, WORDS),
    "stochastic descent, two classes": (linear_model.SGDClassifier(loss="log_loss", random_state=0), X, TWO),
    "scaled, logistic": (make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), X, WORDS),
    "scaled, sgd": (
        make_pipeline(preprocessing.StandardScaler(), linear_model.SGDRegressor(random_state=0)),
        X,
        TARGET,
    ),
    "scaled, forest": (
        make_pipeline(preprocessing.StandardScaler(), ensemble.RandomForestClassifier(**FEW)),
        GAPS,
        TWO,
    ),
    "passed through, histogram": (
        make_pipeline("passthrough", ensemble.HistGradientBoostingRegressor(**HIST)),
        GAPS,
        TARGET,
    ),
}


@pytest.mark.parametrize("kind", SKLEARN)
def test_sklearn(kind: str, tmp_path: Path) -> None:
    model, rows, labels = SKLEARN[kind]
    skops.io.dump(model.fit(rows, labels), tmp_path / "model.skops")
    same(tmp_path / "model.skops")


def test_sklearn_on_a_threshold_beside_it_and_without_a_value(tmp_path: Path) -> None:
    """A 32-bit row on a 64-bit threshold goes left, the next larger 32-bit number right."""
    column = np.repeat([1.0, 2.0, 4.0, np.nan], 10)[:, None]
    model = tree.DecisionTreeRegressor().fit(column, np.repeat([0.0, 5.0, 1.0, 9.0], 10))
    skops.io.dump(model, tmp_path / "model.skops")
    found = same(tmp_path / "model.skops", given=[[1.5], [np.nextafter(np.float32(1.5), np.float32(2))], [3], [np.nan]])
    assert found["values"].tolist() == [0, 5, 5, 9]


def test_rows_that_the_library_refuses_become_nan_and_leave_the_others_alone(tmp_path: Path) -> None:
    import tensorflow as tf

    skops.io.dump(ensemble.GradientBoostingRegressor(**FEW).fit(X, TARGET), tmp_path / "model.skops")
    source: Any = open_source(str(tmp_path / "model.skops"))
    rows = X[:3].astype(np.float32)
    rows[1, 2] = np.nan
    found = source._model.graph(tf.Variable)(tf.constant(rows))["values"].numpy()
    assert np.isnan(found).tolist() == [False, True, False]
