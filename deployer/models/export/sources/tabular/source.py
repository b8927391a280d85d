"""A model on rows of numbers as a source of export."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deployer.domain.store import DEFAULT_SIGNATURE, SignatureFact
from deployer.errors import ExportError
from deployer.models.export.sources.library import model_code, tensorflow
from deployer.models.export.sources.source import Inputs, Source
from deployer.models.export.sources.structure import identifier, unique
from deployer.models.export.sources.tabular.model import Tabular
from deployer.targets.storage.disk import OnStep
from tfserving.wire.tensors import Array

ROWS = "inputs"
"""The input of serving_default: all features of a row, in the model's order."""

BY_NAME = "by_name"
"""The signature that takes each feature as an input of its own; there for models that know their features' names."""

NAMES = "assets.extra/feature_names.json"
"""A JSON list of the features' names in the order of the columns of `inputs`, within the SavedModel."""

SAMPLE_ROWS = 256
"""Random rows that parity is tried on at least: enough to meet most thresholds of a small model."""

_READERS = {
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
    ".lgb": "lightgbm",
    ".skops": "sklearn",
    ".joblib": "sklearn",
    ".pkl": "sklearn",
}
SUFFIXES = tuple(_READERS)


def load(path: Path, *, trust: bool) -> Source:
    """The model in a file of XGBoost, LightGBM or scikit-learn.

    Errors: ExportError for a file that cannot be read, a model that has no graph here, or a library that is missing.
    """
    if not path.is_file():
        raise ExportError(f"there is no file {path}", hint=f"name a file that ends in {', '.join(SUFFIXES)}")
    if path.stat().st_size == 0:
        raise ExportError(f"{path} is empty", hint="save the model again")
    reader = importlib.import_module(f"deployer.models.export.sources.tabular.{_READERS[path.suffix]}")
    read: Callable[..., Tabular] = reader.load
    with model_code(f"{path} cannot be read as a model", "save the model again; a copy of the file must be complete"):
        return TabularSource(read(path, trust=trust), str(path))


class TabularSource(Source):
    """Served as `serving_default` with all features in one input, and as `by_name` with an input for each."""

    def __init__(self, model: Tabular, name: str) -> None:
        self._model, self._name = model, name
        self._features = unique([identifier(one) for one in model.names])

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        on_step("save")
        tf = tensorflow()
        module = tf.Module()
        module.arrays = []

        def keep(array: Array) -> Any:
            module.arrays.append(tf.Variable(array, trainable=False))
            return module.arrays[-1]

        with model_code(f"{self._name} cannot be written as a SavedModel", "save the model again"):
            graph = self._model.graph(keep)
            rows = tf.TensorSpec([None, len(self._model.columns)], self._model.dtype, name=ROWS)
            module.serve = tf.function(lambda inputs: graph(inputs), input_signature=[rows], autograph=False)
            signatures = {DEFAULT_SIGNATURE: module.serve.get_concrete_function()}
            if self._features:
                each = [tf.TensorSpec([None], self._model.dtype, name=name) for name in self._features]
                module.by_name = tf.function(
                    lambda *columns: graph(tf.stack(columns, axis=1)), input_signature=each, autograph=False
                )
                signatures[BY_NAME] = module.by_name.get_concrete_function()
            tf.saved_model.save(module, str(directory), signatures=signatures)
        if self._model.names:
            names = directory / NAMES
            names.parent.mkdir(exist_ok=True)
            names.write_text(json.dumps(list(self._model.names), ensure_ascii=False), "utf-8")

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        rows = inputs[ROWS] if signature != BY_NAME else np.stack([inputs[name] for name in self._features], axis=1)
        with model_code(f"{self._name} rejected the sample inputs", "pass inputs that it accepts with --samples FILE"):
            return self._model.ask(np.ascontiguousarray(rows))

    def samples(self, signature: SignatureFact, *, rows: int, seed: int) -> Inputs | None:
        made = self._model.samples(max(rows, SAMPLE_ROWS), np.random.default_rng(seed))
        if signature.inputs.keys() == {ROWS} and len(signature.inputs[ROWS].shape or ()) == 2:
            return {ROWS: made}
        return {name: made[:, at] for at, name in enumerate(self._features)}
