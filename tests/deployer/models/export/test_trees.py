"""Models of XGBoost, LightGBM and scikit-learn respond as their library does: on thresholds, for missing values, for
categories, and through the model server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import lightgbm as lgb
import numpy as np
import pytest
import skops.io
import xgboost as xgb
from sklearn import ensemble, linear_model, preprocessing, tree
from sklearn.pipeline import make_pipeline

from deployer.errors import ExportError
from deployer.models.export.export import Exported, ExportRequest, export
from deployer.models.export.sources import open_source
from deployer.models.proof.parity import Tolerance, compare
from deployer.models.proof.served import Prover

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

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


FEW: dict[str, Any] = {"random_state": 0, "n_estimators": 6}
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


def served(source: Path, tmp_path: Path, **options: Any) -> Exported:
    request = ExportRequest(source=str(source), store=tmp_path / "store", model="m", warmup_batch_sizes=(1, 3))
    return export(replace(request, tolerance=CLOSE, **options), progress=lambda _: None)


def weights_of_babies(path: Path) -> xgb.XGBRegressor:
    """The lesson's model: four numbers of a birth, and the weight."""
    rows = np.stack([RNG.integers(0, 2, 300), RNG.integers(14, 50, 300), RNG.integers(1, 4, 300),
                     RNG.integers(20, 45, 300)], axis=1).astype(np.float32)  # fmt: skip
    pounds = 0.2 * rows[:, 3] - rows[:, 2] + 0.3 * rows[:, 0]
    model = xgb.XGBRegressor(n_estimators=20, max_depth=4, n_jobs=1).fit(rows, pounds)
    model.get_booster().feature_names = FEATURES
    model.save_model(path)
    return model


def test_the_weight_of_a_baby_is_served_by_row_and_by_name(tmp_path: Path) -> None:
    model = weights_of_babies(tmp_path / "model.json")
    exported = served(tmp_path / "model.json", tmp_path)
    known = exported.manifest
    assert known.parity is not None
    assert known.parity.rows == 256
    assert not known.batching_problem
    assert str(known.signatures["serving_default"].inputs["inputs"]) == "float32 [-1, 4]"
    assert sorted(known.signatures["by_name"].inputs) == sorted(FEATURES)
    assert json.loads((exported.path / "assets.extra/feature_names.json").read_text()) == FEATURES
    rows = np.array([[1, 26, 1, 39], [0, 29, 2, 38]], np.float32)
    expected = model.get_booster().inplace_predict(rows, validate_features=False)
    with Prover().serving({"m": exported.path}, warm_up=True) as server:
        by_row = server.run("m", "serving_default", {"inputs": rows})["values"]
        by_name = server.run("m", "by_name", {name: rows[:, at] for at, name in enumerate(FEATURES)})["values"]
    assert by_row == pytest.approx(expected, abs=1e-5)
    assert by_name.tolist() == by_row.tolist()


def test_the_signature_by_name_is_exported_from_columns_in_any_order(tmp_path: Path) -> None:
    weights_of_babies(tmp_path / "model.ubj")
    (tmp_path / "rows.csv").write_text("gestation_weeks,plurality,is_male,mother_age\n39,1,1,26\n38,2,0,29\n")
    exported = served(tmp_path / "model.ubj", tmp_path, signature="by_name", samples=tmp_path / "rows.csv")
    assert exported.manifest.parity is not None
    assert exported.manifest.parity.rows == 2


@pytest.mark.parametrize("library", ["lightgbm", "sklearn"])
def test_the_other_libraries_are_served_too(library: str, tmp_path: Path) -> None:
    if library == "lightgbm":
        path = tmp_path / "model.txt"
        light("multiclass", path)
    else:
        path = tmp_path / "model.joblib"
        joblib.dump(ensemble.RandomForestClassifier(**FEW).fit(GAPS, WORDS), path)
    exported = served(path, tmp_path, trust=library == "sklearn")
    assert exported.manifest.parity is not None
    assert sorted(exported.manifest.signatures["serving_default"].outputs) == ["classes", "probabilities"]


def written(model: Any, path: Path) -> Path:
    skops.io.dump(model, path)
    return path


def own_objective(path: Path) -> Path:
    data = lgb.Dataset(X, TARGET)

    def squared(scores: Any, data: lgb.Dataset) -> tuple[Any, Any]:
        return scores - data.get_label(), np.ones_like(scores)

    lgb.train({"objective": squared, "verbose": -1, "num_threads": 1}, data, 2).save_model(path)
    return path


def linear_trees(path: Path) -> Path:
    given = {"objective": "regression", "linear_tree": True, "verbose": -1, "num_threads": 1}
    lgb.train(given, lgb.Dataset(X, TARGET), 2).save_model(path)
    return path


def vector_leaves(path: Path) -> Path:
    options: dict[str, Any] = {"multi_strategy": "multi_output_tree", "tree_method": "hist", "n_jobs": 1}
    xgb.XGBRegressor(n_estimators=2, **options).fit(X, BOTH).save_model(path)
    return path


def several_labels(path: Path) -> Path:
    xgb.XGBClassifier(n_estimators=2, n_jobs=1).fit(X, np.stack([TWO, 1 - TWO], 1)).save_model(path)
    return path


REFUSED: list[tuple[str, Callable[[Path], Path], str, str]] = [
    ("m.json", vector_leaves, "several outputs per tree", "one_output_per_tree"),
    ("m.json", several_labels, "2 labels per row", "one model for each label"),
    ("m.txt", own_objective, "an objective of its own", "these can be: binary"),
    ("m.txt", linear_trees, "linear trees", "linear_tree=false"),
    (
        "m.skops",
        lambda path: written(linear_model.BayesianRidge().fit(X, TARGET), path),
        "the class BayesianRidge",
        "RandomForestRegressor",
    ),
    (
        "m.skops",
        lambda path: written(
            make_pipeline(preprocessing.MinMaxScaler(), linear_model.Ridge()).fit(X, TARGET), path
        ),
        "a pipeline with MinMaxScaler",
        "feature spec",
    ),
    (
        "m.skops",
        lambda path: written(linear_model.SGDClassifier(random_state=0).fit(X, TWO), path),
        "the loss hinge",
        "log_loss",
    ),
    (
        "m.skops",
        lambda path: written(tree.DecisionTreeClassifier().fit(X, np.stack([TWO, THREE], 1)), path),
        "2 labels per row",
        "one model for each label",
    ),
    (
        "m.skops",
        lambda path: written(
            ensemble.GradientBoostingRegressor(n_estimators=2, init=linear_model.Ridge()).fit(X, TARGET), path
        ),
        "begins with a Ridge",
        "init=None",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make", "message", "hint"), REFUSED, ids=lambda one: one if isinstance(one, str) else ""
)
def test_what_has_no_graph_is_refused_by_its_name(
    name: str, make: Callable[[Path], Path], message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as caught:
        open_source(str(make(tmp_path / name)))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_pickled_model_of_another_library_names_its_own_format(tmp_path: Path) -> None:
    joblib.dump(xgb.XGBRegressor(n_estimators=1, n_jobs=1).fit(X, TARGET), tmp_path / "m.pkl")
    with pytest.raises(ExportError, match="a pickled model of xgboost") as caught:
        open_source(str(tmp_path / "m.pkl"), trust=True)
    assert "save_model('model.json')" in caught.value.hint


@pytest.mark.parametrize("suffix", [".joblib", ".pkl"])
def test_a_pickle_needs_trust(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    joblib.dump(linear_model.Ridge().fit(X, TARGET), path)
    with pytest.raises(ExportError, match="may run code of its own") as caught:
        open_source(str(path))
    assert "--trust" in caught.value.hint
    same(path, trust=True)


def test_a_skops_file_with_foreign_types_needs_trust(tmp_path: Path) -> None:
    model = linear_model.Ridge().fit(X, TARGET)
    model.note = Exported  # a class that skops does not know
    skops.io.dump(model, tmp_path / "m.skops")
    with pytest.raises(ExportError, match="whose code would run") as caught:
        open_source(str(tmp_path / "m.skops"))
    assert "Exported" in caught.value.cause
    same(tmp_path / "m.skops", trust=True)


@pytest.mark.parametrize("suffix", [".json", ".ubj", ".txt", ".skops", ".joblib"])
@pytest.mark.parametrize("content", [b"", b'{"no": "model"}', b"\x00\xff\x00 not a model \xfe", None])
def test_a_file_that_is_no_model_is_an_error_with_its_name(suffix: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExportError) as caught:
        open_source(str(path), trust=True)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("suffix", "module", "library"),
    [
        (".json", "xgboost", "xgboost"),
        (".txt", "lightgbm", "lightgbm"),
        (".skops", "skops", "skops"),
        (".skops", "sklearn", "scikit-learn"),
    ],
)
def test_a_missing_library_is_a_sentence_with_the_pip_line(
    suffix: str, module: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"m{suffix}").write_text("x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExportError, match=f"needs {library}, which is not installed") as caught:
        open_source(str(tmp_path / f"m{suffix}"))
    assert caught.value.hint == "pip install 'tfserving-deployer[trees]'"


def test_nodes_that_make_no_tree_are_found_before_the_library_sees_them(tmp_path: Path) -> None:
    model = tree.DecisionTreeRegressor(max_depth=2).fit(X, TARGET)
    state = model.tree_.__getstate__()
    state["nodes"]["left_child"][0] = 0  # its own child: an endless loop
    model.tree_.__setstate__(state)
    skops.io.dump(model, tmp_path / "m.skops")
    with pytest.raises(ExportError, match="damaged"):
        open_source(str(tmp_path / "m.skops"))


def test_onnx_names_the_way_over_a_savedmodel(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    with pytest.raises(ExportError, match="ONNX") as caught:
        open_source(str(tmp_path / "m.onnx"))
    assert "onnx2tf" in caught.value.hint
