"""Sample inputs to test a model before it is published: from a file, or random inputs for its signature."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from deployer.domain.store import SignatureFact, TensorFact
from deployer.errors import ExportError
from tfserving.wire.tensors import Array

Inputs = dict[str, Array]

UNKNOWN_SIZE = 4
"""The size of unknown dimensions, other than the batch, in random inputs."""


def random_inputs(signature: SignatureFact, *, rows: int, seed: int) -> Inputs:
    """`rows` rows for every input: floats in [0, 1), integers and bools 0 or 1, strings constant.

    A fixed dimension 0 is kept. The same seed gives the same values.
    Errors: ExportError for an input with an unsupported type or unknown rank.
    """
    rng = np.random.default_rng(seed)
    return {name: _random(name, tensor, rows, rng) for name, tensor in sorted(signature.inputs.items())}


def read_inputs(path: Path, signature: SignatureFact) -> Inputs:
    """Inputs from a file: `.npz` with one array per input, rows first, or JSON lines with one row per line.

    A line is an object by input name, or only the value if there is one input.
    Errors: ExportError naming the file and the wrong line or input.
    """
    try:
        arrays = _from_npz(path) if path.suffix == ".npz" else _from_lines(path, signature)
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"samples {path} cannot be read", hint="pass a .npz or .jsonl file") from error
    if arrays.keys() != signature.inputs.keys():
        raise _misfit(path, f"it has {_list(arrays)}; the signature needs {_list(signature.inputs)}")
    inputs = {name: _cast(path, name, array, signature.inputs[name]) for name, array in arrays.items()}
    if len({array.shape[:1] for array in inputs.values()}) != 1 and not signature.batching_problem():
        raise _misfit(path, "its inputs have different numbers of rows")
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
    dtype = _numpy_type(tensor.dtype)
    if dtype is None:
        raise _no_random_sample(name, f"numpy has no type {tensor.dtype}")
    if dtype.kind in "fc":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _from_npz(path: Path) -> Inputs:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, TypeError, EOFError, BadZipFile) as error:
        raise _misfit(path, "it is not a .npz file of plain arrays") from error


def _from_lines(path: Path, signature: SignatureFact) -> Inputs:
    rows: list[Any] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise _misfit(path, f"line {number} is not JSON") from error
    if not rows:
        raise _misfit(path, "it has no rows")
    names = sorted(signature.inputs)
    if not isinstance(rows[0], dict):
        rows = [{names[0]: row} for row in rows] if len(names) == 1 else rows
    columns = {}
    for name in names:
        try:
            columns[name] = np.array([row[name] for row in rows])
        except (KeyError, TypeError, ValueError) as error:
            raise _misfit(path, f"input '{name}' is missing in a row, or its rows differ in shape") from error
    return columns


def _cast(path: Path, name: str, array: Array, tensor: TensorFact) -> Array:
    if tensor.dtype == "string":
        return np.array([v.encode() if isinstance(v, str) else v for v in array.ravel()], object).reshape(array.shape)
    dtype = _numpy_type(tensor.dtype)
    if dtype is None or array.dtype.kind not in "biufc":
        raise _misfit(path, f"input '{name}' must be {tensor.dtype}, not {array.dtype}")
    fits = tensor.shape is None or (
        len(tensor.shape) == array.ndim
        and all(want in (-1, have) for want, have in zip(tensor.shape, array.shape, strict=True))
    )
    if not fits or array.size == 0:
        raise _misfit(path, f"input '{name}' has shape {list(array.shape)}; the signature needs {tensor}")
    return array.astype(dtype)


def _numpy_type(name: str) -> np.dtype[Any] | None:
    try:
        return np.dtype(name)
    except TypeError:
        return None


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _misfit(path: Path, what: str) -> ExportError:
    return ExportError(f"samples {path} do not match: {what}", hint="one .npz array or JSON key per input, rows first")


def _no_random_sample(name: str, why: str) -> ExportError:
    return ExportError(
        f"no random sample is possible for input '{name}': {why}", hint="pass inputs with --samples FILE"
    )
