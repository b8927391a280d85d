"""What a library's module makes of a file: a graph to be, the library itself to ask, and where rows are interesting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from deployer.errors import ExportError
from deployer.extras import pip_line
from deployer.models.export.sources.library import tensorflow
from deployer.models.export.sources.tabular.forest import Keep
from deployer.models.export.sources.tabular.head import Head
from tfserving.wire.tensors import Array

SMALLEST = float(np.finfo(np.float32).tiny)
"""Smaller numbers than this are 0 to TensorFlow's kernels, so no sample is made of them."""


class Refuses(StrEnum):
    """Rows that a library refuses; the graph gives NaN for them, so that others of the same batch are served."""

    NOTHING = "nothing"
    INFINITE = "infinite values"
    MISSING = "infinite and missing values"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One feature: thresholds that it is compared with, or category numbers worth trying; with NaN where `missing`."""

    cuts: Array = field(default_factory=lambda: np.empty(0))
    categories: Array | None = None
    missing: bool = False

    def draw(self, rows: int, dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
        """Values of the column: around and exactly on thresholds, their neighbours, categories, missing ones."""
        if self.categories is not None and len(self.categories):
            values = rng.choice(self.categories, rows).astype(dtype)
        else:
            cuts = self.cuts.astype(dtype)
            low, high = (float(cuts.min()), float(cuts.max())) if len(cuts) else (0.0, 1.0)
            span = (high - low) or max(abs(low), 1.0)
            values = (low + span * (rng.random(rows) * 1.2 - 0.1)).astype(dtype)
            if len(cuts):
                on = rng.choice(cuts, rows)
                near = np.nextafter(on, np.where(rng.random(rows) < 0.5, np.inf, -np.inf).astype(dtype))
                kind = rng.integers(0, 3, rows)
                values = np.where(kind == 0, values, np.where(kind == 1, on, near))
            values[np.abs(values) < SMALLEST] = 0
        if self.missing:
            values[rng.random(rows) < 0.1] = np.nan
        return values.astype(dtype)


@dataclass(frozen=True, kw_only=True)
class Tabular:
    """A model on rows [n, features] of `dtype`.

    `names` are the features' names, empty when the file has none. `sums` builds the graph from rows to sums, `head`
    what follows. `ask` puts rows to the library and returns the outputs of `head`, each computed by the library.
    """

    dtype: str
    columns: Sequence[Column]
    sums: Callable[[Keep], Callable[[Any], Any]]
    head: Head
    ask: Callable[[Array], dict[str, Array]]
    names: Sequence[str] = ()
    refuses: Refuses = Refuses.NOTHING

    def graph(self, keep: Keep) -> Callable[[Any], dict[str, Any]]:
        """The function from rows to named outputs."""
        tf = tensorflow()
        sums = self.sums(keep)

        def serve(rows: Any) -> dict[str, Any]:
            found = sums(rows)
            if self.refuses is not Refuses.NOTHING:
                bad = tf.math.is_inf(rows)
                if self.refuses is Refuses.MISSING:
                    bad |= tf.math.is_nan(rows)
                found = tf.where(tf.reduce_any(bad, axis=1, keepdims=True), tf.constant(np.nan, found.dtype), found)
            return self.head.outputs(found)

        return serve

    def samples(self, rows: int, rng: np.random.Generator) -> Array:
        """Rows within the ranges of the features, see `Column.draw`."""
        dtype = np.dtype(self.dtype)
        return np.stack([column.draw(rows, dtype, rng) for column in self.columns], axis=1)


@contextmanager
def extra(library: str) -> Iterator[None]:
    """Around the import of a library of the extra `trees`. Errors: ExportError with the pip line when it is missing."""
    try:
        yield
    except ImportError as error:
        raise ExportError(
            f"reading this file needs {library}, which is not installed", hint=pip_line("sklearn")
        ) from error


def unsupported(what: str, hint: str) -> ExportError:
    """The error for a model that has no graph here."""
    return ExportError(f"{what} cannot be exported", hint=hint)
