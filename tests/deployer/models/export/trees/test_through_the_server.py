"""Tree models of each library are exported, and a model server returns what the library does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import xgboost as xgb
from sklearn import ensemble
from tree_models import CLOSE, FEATURES, FEW, GAPS, IGNORED, RNG, WORDS, light

from deployer.models.export.export import Exported, ExportRequest, export
from deployer.models.proof.served import Prover

pytestmark = IGNORED


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
