"""Models of other libraries that have no graph, need trust or are damaged are refused by name, with a remedy."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
from tree_models import BOTH, IGNORED, TARGET, THREE, TWO, X, same

from deployer.errors import ExportError
from deployer.models.export.export import Exported
from deployer.models.export.sources import open_source

pytestmark = IGNORED


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
