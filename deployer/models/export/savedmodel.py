"""The only module of the deployer that imports tensorflow: read a trained model, write a SavedModel, run both.

tensorflow and keras are imported on first use, which takes seconds.
"""

from __future__ import annotations

import errno
import functools
import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from deployer.domain.store import DEFAULT_SIGNATURE
from deployer.errors import DeployerError, ExportError
from deployer.targets.storage import signatures
from deployer.targets.storage.disk import OnStep, copy_tree
from tfserving.wire.tensors import Array

KERAS_SUFFIXES = (".keras", ".h5")
_SAMPLES_HINT = "pass valid inputs with --samples FILE"


class Source(Protocol):
    """A trained model that can be written as a SavedModel, and run on the same inputs as the written one."""

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        """Write a SavedModel into an existing, empty directory. Errors: ExportError."""
        ...

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model; outputs by the names of `signature`. Errors: ExportError."""
        ...


def open_source(text: str) -> Source:
    """Open a model: a .keras or .h5 file, a SavedModel directory, or "package.module:function".

    The function has no arguments and returns a keras.Model or a tf.Module; its module is imported from the import path
    or the current directory. Errors: ExportError that says what was found instead.
    """
    path = Path(text)
    if path.is_dir():
        return WrittenModel(path)
    if path.suffix in KERAS_SUFFIXES:
        return _KerasSource(_load_keras(path), text)
    module, colon, function = text.rpartition(":")
    if colon and module.replace(".", "").isidentifier() and function.isidentifier():
        return _wrap(_call(module, function), text)
    raise ExportError(
        f"source {text!r} is not a model",
        cause="it is neither a directory, nor a file *.keras or *.h5, nor package.module:function",
        hint="name a model in one of these forms",
    )


class WrittenModel:
    """A SavedModel on disk, run through its signatures like in a model server."""

    def __init__(self, directory: Path) -> None:
        """Read the signatures; the graph is loaded on the first run. Errors: ExportError."""
        self._directory = directory
        self._facts = signatures.read(directory)

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        """Copy the files unchanged."""
        copy_tree(self._directory, directory, on_step=on_step)

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of one signature by name. Errors: ExportError when loading or running fails."""
        function = self._loaded.signatures[signature]
        with _model_code(f"signature '{signature}' of {self._directory} rejected the sample inputs", _SAMPLES_HINT):
            return _named(function(**_tensors(inputs)))

    @functools.cached_property
    def _loaded(self) -> Any:
        hint = "save it again with the installed tensorflow version"
        with _model_code(f"the SavedModel in {self._directory} cannot be loaded", hint):
            return _tensorflow().saved_model.load(str(self._directory))


class _KerasSource:
    def __init__(self, model: Any, name: str) -> None:
        self._model, self._name = model, name

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        on_step("save")
        hint = "call the model on one batch before saving it, so that its input shapes are known"
        with _model_code(f"{self._name} cannot be written as a SavedModel", hint):
            self._model.export(str(directory), verbose=False)

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        single_input = len(inputs) == 1 and not isinstance(getattr(self._model, "input", None), dict)
        with _model_code(f"{self._name} rejected the sample inputs", _SAMPLES_HINT):
            return _named(self._model(next(iter(inputs.values())) if single_input else dict(inputs), training=False))


class _ModuleSource:
    def __init__(self, module: Any, name: str) -> None:
        self._module, self._name = module, name
        function = _only_function(module, name)
        with _model_code(f"the function of {name} cannot be traced", "call it once on real inputs to see the error"):
            self._function = function.get_concrete_function()

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        on_step("save")
        hint = "store every variable that the function uses as an attribute of the module"
        with _model_code(f"{self._name} cannot be written as a SavedModel", hint):
            signature = {DEFAULT_SIGNATURE: self._function}
            _tensorflow().saved_model.save(self._module, str(directory), signatures=signature)

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with _model_code(f"{self._name} rejected the sample inputs", _SAMPLES_HINT):
            return _named(self._function(**_tensors(inputs)))


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write an uncompressed TFRecord file."""
    with _tensorflow().io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def read_records(path: Path) -> list[bytes]:
    """The records of an uncompressed TFRecord file; checksums are verified. Errors: ExportError."""
    tf = _tensorflow()
    try:
        return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    except tf.errors.OpError as error:
        raise ExportError(f"{path} is not a TFRecord file", hint="export the model again") from error


def _load_keras(path: Path) -> Any:
    if not path.is_file():
        raise ExportError(f"there is no file {path}", hint="name the file that model.save wrote")
    keras = _keras()
    hint = "export a model with custom classes as package.module:function, which imports them"
    with _model_code(f"{path} cannot be read as a Keras model", hint):
        return keras.models.load_model(path, compile=False)


def _call(module: str, function: str) -> Any:
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    _tensorflow()
    hint = "the module must be importable from this directory, and the function must work without arguments"
    with _model_code(f"{module}:{function} did not return a model", hint):
        return getattr(importlib.import_module(module), function)()


def _wrap(model: Any, name: str) -> Source:
    if isinstance(model, _keras().Model):
        return _KerasSource(model, name)
    if isinstance(model, _tensorflow().Module):
        return _ModuleSource(model, name)
    raise ExportError(
        f"{name} returned {type(model).__name__}, which is not a model", hint="return a keras.Model or a tf.Module"
    )


def _only_function(module: Any, name: str) -> Any:
    """The function for serving_default: the one of that name, or `__call__`, or the only one."""
    kind = _tensorflow().types.experimental.PolymorphicFunction
    names = [n for n in dir(type(module)) if isinstance(getattr(type(module), n, None), kind)]
    found = {n: getattr(module, n) for n in names}
    typed = {n: f for n, f in found.items() if getattr(f, "input_signature", None)}
    for preferred in (DEFAULT_SIGNATURE, "__call__", *(typed if len(typed) == 1 else ())):
        if preferred in typed:
            return typed[preferred]
    raise ExportError(
        f"{name}: cannot decide which function of {type(module).__name__} to serve",
        cause=f"functions with an input_signature: {', '.join(sorted(typed)) or 'none'}",
        hint=f"decorate one with @tf.function(input_signature=[…]) and name it {DEFAULT_SIGNATURE} or __call__",
    )


def _named(outputs: Any) -> dict[str, Array]:
    """Outputs by the names that tensorflow uses in a signature: keys of a dict, else output_0, output_1 …"""
    if isinstance(outputs, Mapping):
        return {name: np.asarray(value) for name, value in outputs.items()}
    many = outputs if isinstance(outputs, list | tuple) else [outputs]
    return {f"output_{i}": np.asarray(value) for i, value in enumerate(many)}


def _tensors(inputs: Mapping[str, Array]) -> dict[str, Any]:
    return {name: _tensorflow().constant(value) for name, value in inputs.items()}


@contextmanager
def _model_code(message: str, hint: str) -> Iterator[None]:
    """Wraps code of the model or its author, which can raise any exception."""
    try:
        yield
    except DeployerError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:500]
        if os.strerror(errno.ENOSPC) in text:  # TensorFlow wraps the error, with the path in front
            hint = "free space on the disk and try again"
        raise ExportError(message, cause=f"{type(error).__name__}: {text}", hint=hint) from error


@functools.cache
def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _muted():
            tf = importlib.import_module("tensorflow")
            tf.config.list_physical_devices()  # detects GPUs now, while messages about missing GPUs are suppressed
            return tf
    except ImportError as error:
        raise ExportError(
            "tensorflow is not installed",
            hint="pip install 'tfserving-deployer[export]', or export in the image of the deployer",
        ) from error


@functools.cache
def _keras() -> Any:
    _tensorflow()
    return importlib.import_module("keras")


@contextmanager
def _muted() -> Iterator[None]:
    """Suppress warnings, and stderr of native code: the import writes about missing GPUs at any log level.

    The stderr output is shown if the block fails.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held, warnings.catch_warnings(action="ignore"):
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
