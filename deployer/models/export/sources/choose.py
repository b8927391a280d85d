"""Opens a source by its text: selects the kind of source."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from deployer.errors import ExportError
from deployer.models.export.sources import keras as keras_models
from deployer.models.export.sources import tabular
from deployer.models.export.sources.library import keras, model_code, tensorflow
from deployer.models.export.sources.module import ModuleSource
from deployer.models.export.sources.savedmodel import SavedModelSource
from deployer.models.export.sources.source import Source


def open_source(text: str, *, trust: bool = False) -> Source:
    """Open the model that `text` names: a file, a SavedModel directory, or "package.module:function".

    A file is one of Keras (.keras, .h5), XGBoost (.json, .ubj), LightGBM (.txt, .lgb) or scikit-learn (.skops,
    .joblib).

    The function has no arguments and returns a keras.Model or a tf.Module; its module is imported from the import
    path or the current directory. With `trust`, a file may run its own code while it is read.
    Errors: ExportError that says what was found instead.
    """
    path = Path(text)
    if path.is_dir():
        return SavedModelSource(path)
    if path.suffix in keras_models.SUFFIXES:
        return keras_models.KerasSource(keras_models.load(path, trust=trust), text)
    if path.suffix in tabular.SUFFIXES:
        return tabular.load(path, trust=trust)
    if path.suffix == ".onnx":
        raise ExportError(
            f"ONNX files are not read: {path}",
            cause="its converter onnx2tf pins an older TensorFlow than the one installed here",
            hint="run onnx2tf in an environment of its own, and export the SavedModel directory that it writes",
        )
    module, colon, function = text.rpartition(":")
    if colon and module.replace(".", "").isidentifier() and function.isidentifier():
        return wrap(_call(module, function), text)
    raise ExportError(
        f"source {text!r} is not a model",
        cause="there is no such directory, and it is neither a model file nor package.module:function",
        hint=f"model files end in {', '.join([*keras_models.SUFFIXES, *tabular.SUFFIXES])}",
    )


def wrap(model: Any, name: str) -> Source:
    """The source for a model object that a function returned. Errors: ExportError for any other object."""
    if isinstance(model, keras().Model):
        return keras_models.KerasSource(model, name)
    if isinstance(model, tensorflow().Module):
        return ModuleSource(model, name)
    raise ExportError(
        f"{name} returned {type(model).__name__}, which is not a model", hint="return a keras.Model or a tf.Module"
    )


def _call(module: str, function: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    hint = "the module must be importable from this directory, and the function must work without arguments"
    with model_code(f"{module}:{function} did not return a model", hint):
        return getattr(importlib.import_module(module), function)()
