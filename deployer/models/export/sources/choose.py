"""Opens a source by its text: selects the kind of source."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from deployer.errors import ExportError
from deployer.models.export.sources import keras as keras_models
from deployer.models.export.sources.library import keras, model_code, tensorflow
from deployer.models.export.sources.module import ModuleSource
from deployer.models.export.sources.savedmodel import SavedModelSource
from deployer.models.export.sources.source import Source


def open_source(text: str, *, trust: bool = False) -> Source:
    """Open a model: a .keras or .h5 file, a SavedModel directory, or "package.module:function".

    The function has no arguments and returns a keras.Model or a tf.Module; its module is imported from the import
    path or the current directory. With `trust`, a file may run its own code while it is read.
    Errors: ExportError that says what was found instead.
    """
    path = Path(text)
    if path.is_dir():
        return SavedModelSource(path)
    if path.suffix in keras_models.SUFFIXES:
        return keras_models.KerasSource(keras_models.load(path, trust=trust), text)
    module, colon, function = text.rpartition(":")
    if colon and module.replace(".", "").isidentifier() and function.isidentifier():
        return wrap(_call(module, function), text)
    raise ExportError(
        f"source {text!r} is not a model",
        cause="it is neither a directory, nor a file *.keras or *.h5, nor package.module:function",
        hint="name a model in one of these forms",
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
