"""A tf.Module that a function returns: one of its tf.functions becomes the signature serving_default.

The other functions with an input_signature are served by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deployer.domain.store import DEFAULT_SIGNATURE, SignatureFact
from deployer.errors import ExportError
from deployer.models.export.sources.library import model_code, tensorflow
from deployer.models.export.sources.source import Inputs, Part, Source
from deployer.models.export.sources.structure import FREE_SIZE, arrays, is_plain, outputs
from deployer.models.proof import reasons
from deployer.targets.storage.disk import OnStep
from tfserving.wire.tensors import Array

VARIABLES_ATTRIBUTE = "_served_variables"
"""The attribute for the variables of the served functions, so that the SavedModel contains all of them."""

_TRACE_HINT = "call it once on real inputs to see the error"
_SAVE_HINT = "store every variable and every lookup table that the function uses as an attribute of the module"


class ModuleSource(Source):
    """The served functions of a module by the names of their signatures."""

    def __init__(self, module: Any, name: str) -> None:
        self._module, self._name = module, name
        self._functions: dict[str, _Served] = {}
        for signature, function in served_functions(module, name).items():
            with model_code(f"the function {signature} of {name} cannot be traced", _TRACE_HINT):
                self._functions[signature] = _Served(function)

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        on_step("save")
        tf = tensorflow()
        with model_code(f"{self._name} cannot be written as a SavedModel", _SAVE_HINT):
            signatures = {name: function.signature() for name, function in self._functions.items()}
            # tf.saved_model.save does not find the variables of Keras 3 layers; without them the model would not load.
            variables = {id(v): v for function in self._functions.values() for v in function.concrete.variables}
            setattr(self._module, VARIABLES_ATTRIBUTE, list(variables.values()))
            tf.saved_model.save(self._module, str(directory), signatures=signatures)

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with model_code(f"{self._name} rejected the sample inputs", reasons.OTHER_SAMPLES):
            return arrays(self._functions[signature].call(inputs))

    def parts(self) -> Mapping[str, Part]:
        return self._functions[DEFAULT_SIGNATURE].parts()


class _Served:
    """A tf.function and the flat tensors of its arguments."""

    def __init__(self, function: Any) -> None:
        tf = tensorflow()
        self.function = function
        self.concrete = function.get_concrete_function()
        self._structure = self.concrete.structured_input_signature
        self._specs = tf.nest.flatten(self._structure, expand_composites=True)
        # TensorFlow's names of the flat inputs in a signature, in the same order.
        self.names = [tensor.op.name for tensor in self.concrete.inputs[: len(self._specs)]]

    def signature(self) -> Any:
        """The function with flat, named tensors as inputs and outputs; unchanged if it already has them."""
        if is_plain(self.concrete.structured_outputs):
            return self.concrete
        tf = tensorflow()
        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, name=name) for spec, name in zip(self._specs, self.names, strict=True)
        ]

        def serve(*tensors: Any) -> dict[str, Any]:
            return outputs(self._call(tensors))

        return tf.function(serve, input_signature=specs, autograph=False).get_concrete_function()

    def call(self, inputs: Mapping[str, Array]) -> Any:
        """Call the function with flat inputs by name."""
        tf = tensorflow()
        specs = zip(self._specs, self.names, strict=True)
        return self._call([tf.constant(inputs[name], dtype=spec.dtype) for spec, name in specs])

    def _call(self, tensors: Any) -> Any:
        arguments, keywords = tensorflow().nest.pack_sequence_as(self._structure, list(tensors), expand_composites=True)
        return self.function(*arguments, **keywords)

    def parts(self) -> dict[str, Part]:
        """The flat inputs that belong to a ragged or sparse argument."""
        tf = tensorflow()
        found: dict[str, Part] = {}
        at = 0
        for spec in tf.nest.flatten(self._structure):
            count = len(tf.nest.flatten(spec, expand_composites=True))
            names = self.names[at : at + count]
            at += count
            if isinstance(spec, tf.RaggedTensorSpec):
                part = Part("ragged", names[0], _ragged(names))
            elif isinstance(spec, tf.SparseTensorSpec):
                part = Part("sparse", names[0], _sparse(names, spec))
            else:
                continue
            found |= dict.fromkeys(names, part)
        return found


def _ragged(names: list[str]) -> Any:
    def make(signature: SignatureFact, rows: int, rng: np.random.Generator) -> Inputs:
        """Rows of one to three values at each level of nesting."""
        inputs: Inputs = {}
        count = rows
        for name in names[1:]:
            lengths = rng.integers(1, 4, count)
            splits = np.concatenate([[0], np.cumsum(lengths)])
            inputs[name] = splits.astype(signature.inputs[name].dtype)
            count = int(splits[-1])
        values = signature.inputs[names[0]]
        shape = (count, *(FREE_SIZE if size < 0 else size for size in (values.shape or (-1,))[1:]))
        inputs[names[0]] = (
            np.full(shape, b"sample", object) if values.dtype == "string" else rng.random(shape).astype(values.dtype)
        )
        return inputs

    return make


def _sparse(names: list[str], spec: Any) -> Any:
    indices, values, dense = names

    def make(signature: SignatureFact, rows: int, rng: np.random.Generator) -> Inputs:
        """One value in each row."""
        sizes = [FREE_SIZE if size is None else int(size) for size in spec.shape]
        sizes[0] = rows if spec.shape[0] is None else sizes[0]
        at = np.stack([np.arange(sizes[0]), *(rng.integers(0, size, sizes[0]) for size in sizes[1:])], axis=1)
        kind = signature.inputs[values].dtype
        data = np.full(sizes[0], b"sample", object) if kind == "string" else rng.random(sizes[0]).astype(kind)
        return {indices: at.astype(np.int64), values: data, dense: np.array(sizes, np.int64)}

    return make


def served_functions(module: Any, name: str) -> dict[str, Any]:
    """The functions to serve by signature: serving_default is the one of that name, or `__call__`, or the only one.

    Other functions with an input_signature and a public name are served too. Errors: ExportError.
    """
    kind = tensorflow().types.experimental.PolymorphicFunction
    names = [n for n in dir(module) if n == "__call__" or not n.startswith("_")]
    typed = {n: f for n in names if isinstance(f := getattr(module, n, None), kind) and f.input_signature is not None}
    for preferred in (DEFAULT_SIGNATURE, "__call__", *(typed if len(typed) == 1 else ())):
        if preferred in typed:
            others = {n: f for n, f in typed.items() if n not in (preferred, "__call__")}
            return {DEFAULT_SIGNATURE: typed[preferred], **others}
    raise ExportError(
        f"{name}: cannot decide which function of {type(module).__name__} to serve",
        cause=f"functions with an input_signature: {', '.join(sorted(typed)) or 'none'}",
        hint=f"decorate one with @tf.function(input_signature=[…]) and name it {DEFAULT_SIGNATURE} or __call__",
    )
