"""What training made of rows against what the gateway makes of them, feature by feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from deployer.errors import SpecError
from gateway.spec import FeatureSpec, Tensor

Array = NDArray[Any]
FIRST_ROWS = 5
"""Rows that are named per feature."""


@dataclass(frozen=True, kw_only=True)
class FeatureSkew:
    """One feature of one input: how many rows differ, by how much at most, and which ones first (from 1)."""

    input: str
    feature: str
    differing_rows: int
    max_difference: float
    first_rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Skew:
    """The comparison of `rows` rows; `max_difference` is the largest absolute one, infinite where text differs."""

    rows: int
    differing_rows: int
    max_difference: float
    tolerance: float
    features: tuple[FeatureSkew, ...]

    @property
    def within(self) -> bool:
        """Whether no row differs by more than the tolerance."""
        return self.differing_rows == 0


class Compared:
    """Collects differences chunk by chunk."""

    def __init__(self, tensors: Sequence[Tensor], expected: Mapping[str, Array], tolerance: float) -> None:
        self._tensors = tensors
        self._expected = expected
        self._tolerance = tolerance
        self._rows = 0
        self._differing: set[int] = set()
        self._found: dict[tuple[str, str], tuple[set[int], float]] = {
            (tensor.name, feature.name): (set(), 0.0) for tensor in tensors for feature in tensor.features
        }

    @classmethod
    def load(cls, path: Path, spec: FeatureSpec, tolerance: float) -> Compared:
        """`path` holds one array per input of the spec. Errors: SpecError."""
        try:
            with np.load(path, allow_pickle=False) as file:
                expected = {name: file[name] for name in file.files}
        except (OSError, ValueError, AttributeError, TypeError, EOFError, BadZipFile) as error:
            raise SpecError(
                f"{path} cannot be read as .npz", hint="write it by numpy.savez(path, INPUT=array); text as numpy's str"
            ) from error
        tensors = spec.tensors()
        names = {tensor.name for tensor in tensors}
        if expected.keys() != names:
            raise SpecError(f"{path} has the arrays {sorted(expected)}, the spec fills {sorted(names)}")
        for tensor in tensors:
            if len(expected[tensor.name].reshape(-1)) != len(expected[tensor.name]) * tensor.width:
                shape = list(expected[tensor.name].shape)
                raise SpecError(f"{path}: '{tensor.name}' is {shape}, the spec makes {list(tensor.shape)}")
        return cls(tensors, expected, tolerance)

    def take(self, rows: Sequence[int], made: Mapping[str, Array]) -> None:
        """Compare what was made of some rows (from 0). Errors: SpecError when fewer were expected."""
        for tensor in self._tensors:
            expected = self._expected[tensor.name]
            if max(rows) >= len(expected):
                raise SpecError(
                    f"--expected has {len(expected)} rows of '{tensor.name}', and --data has {max(rows) + 1} or more"
                )
            differences = _differences(made[tensor.name], expected[list(rows)], tensor)
            column = 0
            for feature in tensor.features:
                worst = differences[:, column : column + feature.width].max(axis=1)
                column += feature.width
                self._note(tensor.name, feature.name, rows, worst)
        self._rows += len(rows)

    def _note(self, input_: str, feature: str, rows: Sequence[int], worst: Array) -> None:
        differing, largest = self._found[input_, feature]
        over = {rows[index] for index in np.flatnonzero(~(worst <= self._tolerance)).tolist()}
        differing |= over
        self._differing |= over
        self._found[input_, feature] = (differing, max(largest, float(worst.max())))

    def skew(self, rows: int) -> Skew:
        """What was found in `rows` rows of data. Errors: SpecError when more were expected."""
        for name, array in self._expected.items():
            if len(array) != rows:
                raise SpecError(f"--expected has {len(array)} rows of '{name}', and --data has {rows}")
        features = tuple(
            FeatureSkew(
                input=input_,
                feature=feature,
                differing_rows=len(differing),
                max_difference=largest,
                first_rows=tuple(row + 1 for row in sorted(differing)[:FIRST_ROWS]),
            )
            for (input_, feature), (differing, largest) in self._found.items()
        )
        return Skew(
            rows=self._rows,
            differing_rows=len(self._differing),
            max_difference=max(feature.max_difference for feature in features),
            tolerance=self._tolerance,
            features=features,
        )


def _differences(made: Array, expected: Array, tensor: Tensor) -> Array:
    """Absolute differences of rows x columns; infinite where text or one of two numbers is not the same."""
    made, expected = (array.reshape(len(made), tensor.width) for array in (made, expected))
    if tensor.dtype == "string":
        texts = [[one.encode() if isinstance(one, str) else bytes(one) for one in row] for row in expected.tolist()]
        return np.where(made == np.array(texts, dtype=object), 0.0, np.inf)
    with np.errstate(invalid="ignore"):
        difference = np.abs(made.astype(np.float64) - expected.astype(np.float64))
    return np.where(np.isnan(difference), np.inf, difference)
