"""Keras models: a .keras or .h5 file, or the result of a function."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployer.domain.store import DEFAULT_SIGNATURE
from deployer.errors import ExportError
from deployer.models.export.sources.library import keras, model_code, tensorflow
from deployer.models.export.sources.source import Source
from deployer.models.export.sources.structure import arrays, identifier, named_leaves, outputs, unique
from deployer.models.proof import reasons
from deployer.targets.storage.disk import OnStep
from tfserving.wire.tensors import Array

SUFFIXES = (".keras", ".h5", ".hdf5")
FUNCTION = "package.module:function"

_LOADING: tuple[tuple[str, str, str], ...] = (
    (
        r"no model config|no model configuration|weights.*only|doesn't exist: 'model_config'|layer_names|"
        r"unable to (synchronously )?open object|is not a valid .*\.keras.* file",
        "the file has only weights, not a model",
        f"save the whole model with model.save('model.keras'), or export a {FUNCTION} that builds it and calls "
        "load_weights",
    ),
    (
        r"lambda layer|python lambda|safe_mode|arbitrary code",
        "the model has a Lambda layer, whose Python code would run while the file is loaded",
        f"use --trust if the file is your own; otherwise use a layer class, or a {FUNCTION} that builds the model",
    ),
    (
        r"could not locate (class|function)|could not be deserialized|custom_objects|register_keras_serializable|"
        r"unknown (layer|loss|metric|object|activation|initializer)",
        "",
        f"export a {FUNCTION} that imports the class and loads the file; the class needs "
        "@keras.saving.register_keras_serializable()",
    ),
    (
        r"unrecognized keyword argument|unexpected keyword argument|invalid keyword argument|time_major|batch_shape|"
        r"error when deserializing class",
        "",
        "the file was written by another version of Keras: load it there and save it as .keras or with model.export(), "
        "then export that",
    ),
)
"""Patterns of Keras's error texts, a clearer cause (empty: Keras's own text), and the remedy."""

_NOT_BUILT = "call the model on one batch before saving it, so that its input shapes are known"
_FIXED = (
    "the model has a fixed batch dimension: build its inputs with keras.Input(batch_shape=(N, …)), so that the "
    "signature has it too, or keep the batch dimension free inside the model (tf.shape instead of a number)"
)


def load(path: Path, *, trust: bool) -> Any:
    """Load the model in a file. Errors: ExportError with a remedy for each cause."""
    if not path.is_file():
        raise ExportError(f"file {path} does not exist", hint="name a .keras or .h5 file")
    if path.stat().st_size == 0:
        raise ExportError(f"{path} is empty", hint="save the model again")
    try:
        return keras().models.load_model(path, compile=False, safe_mode=not trust)
    except ExportError:
        raise
    except Exception as error:  # a file can cause any exception
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ExportError:
    text = f"{type(error).__name__}: {error}"
    absent = re.search(r"Could not locate (?:class|function) '[^']+'", text)
    for pattern, meaning, remedy in _LOADING:
        if re.search(pattern, text, re.IGNORECASE):
            return ExportError(
                f"{path} cannot be loaded as a Keras model",
                cause=meaning or (absent[0] if absent else reasons.sentence(str(error))),
                hint=remedy,
            )
    return ExportError(
        f"{path} cannot be loaded as a Keras model",
        cause=f"{type(error).__name__}: {reasons.sentence(str(error))}",
        hint="check that the file is a whole Keras 3 model (model.save) and was copied completely",
    )


class KerasSource(Source):
    """A Keras model of any kind, exported with its call structure."""

    def __init__(self, model: Any, name: str) -> None:
        self.model, self.name = model, name
        with model_code(f"{name} cannot be written as a SavedModel", _NOT_BUILT):
            self._arguments = _arguments(model)
        leaves = list(named_leaves_of(self._arguments))
        self._names = unique([identifier(name) for name, _ in leaves])

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        on_step("save")
        tf = tensorflow()
        flat = [spec for _, spec in named_leaves_of(self._arguments)]
        specs = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for spec, name in zip(flat, self._names, strict=True)]

        def serve(*tensors: Any) -> dict[str, Any]:
            return outputs(self._call(dict(zip(self._names, tensors, strict=True))))

        with model_code(f"{self.name} cannot be written as a SavedModel", _FIXED):
            archive = keras().export.ExportArchive()
            archive.track(self.model)
            archive.add_endpoint(DEFAULT_SIGNATURE, serve, input_signature=specs)
            archive.write_out(str(directory), verbose=False)

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        tf = tensorflow()
        with model_code(f"{self.name} rejected the sample inputs", reasons.OTHER_SAMPLES):
            _reset(self.model)
            tensors = {name: tf.constant(inputs[name]) for name in self._names}
            return arrays(self._call(tensors))

    def _call(self, tensors: Mapping[str, Any]) -> Any:
        """Call the model on its inputs by name, in its call structure."""
        values = iter([tensors[name] for name in self._names])
        arguments = [_filled(structure, values) for _, structure in self._arguments]
        return self.model(*arguments, training=False)


def named_leaves_of(arguments: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Names and specs of all leaves of a model's arguments, in their order."""
    found = []
    for name, structure in arguments:
        for leaf, spec in named_leaves(structure, name):
            found.append((getattr(spec, "name", None) or leaf, spec))
    return found


def _filled(structure: Any, values: Any) -> Any:
    """The structure with its leaves replaced by `values`, in the order of `named_leaves`."""
    if isinstance(structure, Mapping):
        filled = {key: _filled(structure[key], values) for key in sorted(structure)}
        return {key: filled[key] for key in structure}
    if isinstance(structure, list | tuple):
        return type(structure)([_filled(item, values) for item in structure])
    return next(values)


def _arguments(model: Any) -> list[tuple[str, Any]]:
    """The positional arguments of a model's call: each has a name (empty for a single argument) and its specs."""
    k = keras()
    if isinstance(model, k.Sequential):
        if not model.built or not model.inputs:
            raise ValueError("the model has not been called yet, so its input shape is not known")
        # A model without an Input has the shape of its first batch; the size of that batch means nothing.
        stateful = any(getattr(layer, "stateful", False) for layer in model.layers)
        spec = _spec(model.inputs[0])
        return [("", spec if stateful else _Spec((None, *spec.shape[1:]), spec.dtype, spec.name))]
    if hasattr(model, "inputs") and model.inputs and hasattr(model, "_inputs_struct"):
        return [("", k.tree.map_structure(_spec, model._inputs_struct))]
    shapes = getattr(model, "_build_shapes_dict", None)
    if not shapes:
        raise ValueError("the model has not been called yet, so its input shapes are not known")
    single = len(shapes) == 1
    return [
        ("" if single else name.removesuffix("_shape"), _from_shapes(shape, model.input_dtype))
        for name, shape in shapes.items()
    ]


class _Spec:
    """Shape, dtype and, where Keras has one, name of an input."""

    def __init__(self, shape: tuple[int | None, ...], dtype: str, name: str | None = None) -> None:
        self.shape, self.dtype, self.name = shape, dtype, name


def _spec(tensor: Any) -> _Spec:
    return _Spec(tuple(tensor.shape), keras().backend.standardize_dtype(tensor.dtype), tensor.name)


def _from_shapes(structure: Any, dtype: str) -> Any:
    """Specs from the shapes that a subclassed model was called with; the size of that batch means nothing."""
    if isinstance(structure, Mapping):
        return {key: _from_shapes(value, dtype) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        if all(size is None or isinstance(size, int) for size in structure):
            return _Spec((None, *structure[1:]), dtype)
        return type(structure)([_from_shapes(value, dtype) for value in structure])
    raise ValueError(f"an input of type {type(structure).__name__} has no shape")


def _reset(model: Any) -> None:
    """Reset stateful recurrent layers to the state that they start with on a server."""
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_states"):
            layer.reset_states()
