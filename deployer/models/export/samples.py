"""Sample inputs to check a model before it is published: from a file, or random inputs for its signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deployer.domain.store import SignatureFact, TensorFact
from deployer.errors import ExportError
from deployer.models.export.sample_files import read_columns
from deployer.models.export.sources.source import Inputs, Part
from tfserving.wire.tensors import Array

__all__ = ["Inputs", "Part", "random_inputs", "read_inputs", "take_rows"]

UNKNOWN_SIZE = 4
"""The size of unknown dimensions, other than the batch, in random inputs."""

TYPED = (".npz", ".parquet")
"""File formats whose numbers have types; in the other formats, numbers are untyped."""

Note = Callable[[str], None]


def random_inputs(signature: SignatureFact, *, rows: int, seed: int, parts: Mapping[str, Part]) -> Inputs:
    """`rows` rows for every input: floats in [0, 1), integers and bools 0 or 1, strings constant.

    A fixed dimension 0 is kept; `parts` of ragged and sparse tensors are generated together. The same seed gives
    the same values. Errors: ExportError for an input with an unsupported type or unknown rank.
    """
    rng = np.random.default_rng(seed)
    inputs: Inputs = {}
    for name, tensor in sorted(signature.inputs.items()):
        if name in inputs:
            continue
        inputs |= parts[name].make(signature, rows, rng) if name in parts else {name: _random(name, tensor, rows, rng)}
    return inputs


def read_inputs(path: Path, signature: SignatureFact, *, parts: Mapping[str, Part], note: Note) -> Inputs:
    """Inputs from a file: `.npz`, JSON lines, CSV or Parquet (see `sample_files`), cast to the types of the signature.

    `note` is called when values are cast. A missing input is an error, and so is a number that the type of the input
    cannot represent. Errors: ExportError naming the file and the wrong line or input.
    """
    columns = read_columns(path, signature)
    if columns.keys() != signature.inputs.keys():
        raise misfit(path, f"it has {_list(columns)}; the signature needs {_list(signature.inputs)}")
    inputs = {name: _cast(path, name, values, signature.inputs[name], note) for name, values in columns.items()}
    counted = {len(array) for name, array in inputs.items() if array.ndim and name not in parts}
    if len(counted) > 1 and not signature.batching_problem() and not parts:
        raise misfit(path, "its inputs have different numbers of rows")
    return inputs


def take_rows(inputs: Mapping[str, Array], rows: int) -> Inputs:
    """Exactly `rows` rows; the given rows are repeated if there are too few."""
    return {name: array[np.arange(rows) % array.shape[0]] for name, array in inputs.items()}


def _random(name: str, tensor: TensorFact, rows: int, rng: np.random.Generator) -> Array:
    if tensor.shape is None:
        raise _no_random_sample(name, "its rank is unknown")
    shape = tuple(UNKNOWN_SIZE if size < 0 else size for size in tensor.shape)
    if tensor.shape[:1] == (-1,):
        shape = (rows, *shape[1:])
    if tensor.dtype == "string":
        return np.full(shape, b"sample", object)
    dtype = numpy_type(tensor.dtype)
    if dtype is None:
        raise _no_random_sample(name, f"numpy has no type for {tensor.dtype}")
    if dtype.kind in "fcV":
        return np.asarray(rng.random(shape)).astype(dtype)
    return np.asarray(rng.integers(0, 2, shape)).astype(dtype)


def _cast(path: Path, name: str, values: Array, tensor: TensorFact, note: Note) -> Array:
    """The values in the type of the signature. Only floats may lose precision; any other loss is an error."""
    if tensor.dtype == "string":
        array = _text(path, name, values)
    else:
        dtype = numpy_type(tensor.dtype)
        if dtype is None:
            raise misfit(path, f"input '{name}' is {tensor.dtype}, for which numpy has no type")
        if values.dtype.kind not in "biufc":
            raise misfit(path, f"input '{name}' must be {tensor.dtype}, not {_kind(values)}")
        array = _number(path, name, values, dtype)
        if values.dtype != dtype and path.suffix in TYPED:
            note(f"samples: input '{name}' is {values.dtype} in {path.name} and is sent as {tensor.dtype}")
    shape = tensor.shape
    if shape is not None and not shape and array.ndim == 1:
        array = _only(path, name, array)
    fits = shape is None or (
        len(shape) == array.ndim and all(want in (-1, have) for want, have in zip(shape, array.shape, strict=True))
    )
    if not fits or array.size == 0:
        raise misfit(path, f"input '{name}' has shape {list(array.shape)}; the signature needs {tensor}")
    return array


def _number(path: Path, name: str, values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "b" and values.dtype.kind != "b":
        raise misfit(path, f"input '{name}' must be bool, not {values.dtype}: write true and false")
    if dtype.kind in "iu" and values.dtype.kind in "fc":
        raise misfit(path, f"input '{name}' must be {dtype}, not {values.dtype}: write whole numbers")
    if dtype.kind != "c" and values.dtype.kind == "c":
        raise misfit(path, f"input '{name}' must be {dtype}, not {values.dtype}")
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    if dtype.kind in "iu" and values.size and not np.array_equal(cast.astype(object), values.astype(object)):
        raise misfit(path, f"input '{name}' has numbers that {dtype} cannot represent")
    if dtype.kind == "f" and values.size and bool((np.isinf(cast) & np.isfinite(values)).any()):
        raise misfit(path, f"input '{name}' has numbers that {dtype} cannot represent")
    return cast


def _text(path: Path, name: str, values: Array) -> Array:
    if values.dtype.kind == "S":
        return _fixed_bytes(path, name, values)
    found = np.empty(values.shape, object)
    for at, value in enumerate(values.ravel().tolist()):
        if not isinstance(value, str | bytes):
            raise misfit(path, f"input '{name}' must be text or {{\"b64\": …}}, not {type(value).__name__}")
        found.ravel()[at] = value.encode() if isinstance(value, str) else value
    return found


def _fixed_bytes(path: Path, name: str, values: Array) -> Array:
    """numpy pads fixed-length bytes with NULs and strips all of them, also those of the data."""
    found = np.empty(values.shape, object)
    found.ravel()[:] = values.ravel().tolist()
    raw = np.ascontiguousarray(values).ravel().view(np.uint8).reshape(-1, values.dtype.itemsize or 1)
    padded = values.size > 0 and bool((raw[:, -1] == 0).any())
    binary = any(byte < 9 or 13 < byte < 32 for value in found.ravel() for byte in value)
    if padded and binary:
        raise misfit(
            path,
            f"input '{name}' has numpy type {values.dtype}, which loses NUL bytes at the end of binary data",
            hint='use JSON lines with {"b64": "…"} for each value',
        )
    return found


def _only(path: Path, name: str, array: Array) -> Array:
    """The value of a scalar input; every row must have the same."""
    if len({repr(value) for value in array.tolist()}) != 1:
        raise misfit(path, f"input '{name}' is a scalar, but the rows have different values for it")
    return np.asarray(array[0], array.dtype)


def numpy_type(name: str) -> np.dtype[Any] | None:
    """The numpy type for a TensorFlow type; None if there is none."""
    if name == "bfloat16":
        import ml_dtypes  # installed with tensorflow

        return np.dtype(ml_dtypes.bfloat16)  # type: ignore[no-any-return]  # ml_dtypes has no annotations
    try:
        return np.dtype(name)
    except TypeError:
        return None


def misfit(path: Path, what: str, hint: str = "one array, column or JSON key per input, rows first") -> ExportError:
    """The error for a file of samples that cannot be used."""
    return ExportError(f"samples {path} cannot be used: {what}", hint=hint)


def _kind(values: Array) -> str:
    return "text" if values.dtype.kind in "USO" else str(values.dtype)


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _no_random_sample(name: str, why: str) -> ExportError:
    return ExportError(f"random samples are not possible for input '{name}': {why}", hint="use --samples FILE")
