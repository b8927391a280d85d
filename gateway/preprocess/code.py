"""Transforms of a user's own package, installed in the image of the gateway: arrays in, arrays out.

The spec names the entry point and the package with its version; what the image does not have is refused when the spec
is loaded. Nothing is ever read from the model store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gateway.preprocess.batch import ABSENT, Array, Batch, Reader
from gateway.preprocess.findings import MISSING
from gateway.spec import CodeFeature, SpecProblem
from gateway.spec.installed import made as made_by

Transform = Callable[[Mapping[str, Sequence[object]]], Any]
"""From the values of each key, one per record, to records x columns of numbers. Errors: `BadValues`."""


class CodeBlock:
    """The columns that the transform of a package makes."""

    def __init__(self, feature: CodeFeature, column: int) -> None:
        """Errors: SpecProblem when the package is absent, of another version, or its transform cannot be made."""
        self._feature = feature
        self._columns = slice(column, column + feature.columns)
        self._readers = {key: Reader([key]) for key in feature.of}
        self._transform = load(feature)

    def fill(self, batch: Batch, out: Array) -> None:
        values = {key: reader.read(batch) for key, reader in self._readers.items()}
        for key, some in values.items():
            for record, value in enumerate(some):
                if value is ABSENT:
                    batch.findings.add(record, key, MISSING)
        if batch.findings.total:
            return
        try:
            made = np.asarray(self._transform(values))
        except Exception as error:
            problems = getattr(error, "problems", None)
            if not isinstance(problems, Mapping):
                raise
            for record, problem in problems.items():
                batch.findings.add(int(record), self._feature.name, str(problem))
            return
        wanted = (len(batch), self._feature.columns)
        if made.shape != wanted or made.dtype.kind not in "biuf":
            raise TypeError(
                f"transform '{self._feature.entry}' made {made.dtype} {list(made.shape)}, the spec says {list(wanted)}"
            )
        for record in np.flatnonzero(~np.isfinite(made.astype(np.float64)).all(axis=1)).tolist():
            batch.findings.add(record, self._feature.name, f"transform '{self._feature.entry}' made no finite number")
        if not batch.findings.total:
            out[:, self._columns] = made


def load(feature: CodeFeature) -> Transform:
    """The transform that a feature names. Errors: SpecProblem."""
    try:
        transform: Transform = made_by("transform", feature.entry, feature.package, feature.options)
    except SpecProblem as error:
        raise SpecProblem(f"features: {feature.name}", error.what) from error
    return transform
