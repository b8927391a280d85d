"""Call structures: nested arguments and outputs of a model, and the flat, named tensors of a signature.

A signature of TensorFlow Serving has only named tensors. A model can have several arguments, lists, dicts and
composite tensors (ragged, sparse) as inputs and outputs. This module names the flat tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deployer.errors import ExportError
from deployer.models.export.sources.library import tensorflow
from tfserving.wire.tensors import Array

FREE_SIZE = 4
"""The size of unknown dimensions, other than the batch, in generated inputs."""


def identifier(text: str) -> str:
    """A text as a valid TensorFlow input name: letters, digits and '_', not starting with a digit."""
    name = re.sub(r"\W", "_", text)
    return f"_{name}" if not name or name[0].isdigit() else name


def unique(names: Sequence[str]) -> list[str]:
    """The names, with `_1`, `_2` … appended to duplicates."""
    found: list[str] = []
    for name in names:
        number, free = 0, name
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found.append(free)
    return found


def named_leaves(structure: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts, lists and tuples with a name each, in the order in which TensorFlow flattens them.

    The name of a leaf in a dict is its key if `name` is empty, else `name_key`.
    """
    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from named_leaves(structure[key], f"{name}_{key}" if name else str(key))
    elif isinstance(structure, list | tuple):
        for index, value in enumerate(structure):
            yield from named_leaves(value, f"{name}_{index}" if name else f"inputs_{index}")
    else:
        yield name or "inputs", structure


def outputs(value: Any) -> dict[str, Any]:
    """The outputs of a model as named tensors: keys of a dict, else output_0, output_1 …; `_` joins nested names.

    A ragged tensor `x` becomes x_values and x_row_splits, a sparse one x_indices, x_values and x_dense_shape.
    Errors: ExportError for a model that returns nothing.
    """
    top = value if isinstance(value, Mapping | list | tuple) else [value]
    pairs = top.items() if isinstance(top, Mapping) else ((f"output_{i}", item) for i, item in enumerate(top))
    found: dict[str, Any] = {}
    for name, item in pairs:
        for leaf, tensor in _output_leaves(item, str(name)):
            if tensor is None:
                raise ExportError(
                    f"output '{leaf}' of the model is None", hint="return a tensor, or a dict or list of tensors"
                )
            found[leaf] = tensor
    if not found:
        raise ExportError("the model does not return a tensor", hint="return a tensor, or a dict or list of tensors")
    return found


def arrays(value: Any) -> dict[str, Array]:
    """`outputs` as numpy arrays."""
    found = {name: np.asarray(tensor) for name, tensor in outputs(value).items()}
    return {
        name: array.astype(np.float32) if array.dtype.name == "bfloat16" else array for name, array in found.items()
    }


def is_plain(value: Any) -> bool:
    """Whether TensorFlow gives these outputs the names that `outputs` does: no nesting and no composite tensors."""
    tf = tensorflow()
    leaves = (
        list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
    )
    return bool(leaves) and all(isinstance(leaf, tf.Tensor | tf.TensorSpec) for leaf in leaves)


def _output_leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    tf = tensorflow()
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _output_leaves(item, f"{name}_{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _output_leaves(item, f"{name}_{index}")
    elif isinstance(value, tf.RaggedTensor):
        yield f"{name}_values", value.flat_values
        splits = value.nested_row_splits
        for index, row_splits in enumerate(splits):
            yield f"{name}_row_splits" if len(splits) == 1 else f"{name}_row_splits_{index}", row_splits
    elif isinstance(value, tf.SparseTensor):
        yield f"{name}_indices", value.indices
        yield f"{name}_values", value.values
        yield f"{name}_dense_shape", value.dense_shape
    else:
        yield name, value
