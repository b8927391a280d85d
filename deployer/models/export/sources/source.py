"""The interface of a source: a trained model to export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from deployer.domain.store import SignatureFact
from deployer.targets.storage.disk import OnStep
from tfserving.wire.tensors import Array

Inputs = dict[str, Array]
Make = Callable[[SignatureFact, int, np.random.Generator], Inputs]
"""Generates the parts of a composite input: from the signature, the number of rows and a random generator."""


class Source(Protocol):
    """A trained model that can be written as a SavedModel, and run on the same inputs as the written one."""

    directory: Path | None = None
    """The directory of a source that already is a SavedModel; it runs on a model server. None for other sources."""

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        """Write a SavedModel into an existing, empty directory. Errors: ExportError."""
        ...

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model; outputs by the names of `signature`. Errors: ExportError.

        It is not called for a source that has a `directory`.
        """
        ...

    def parts(self) -> Mapping[str, Part]:
        """Inputs that are parts of a ragged or sparse tensor, by their names in the signature."""
        return {}

    def samples(self, signature: SignatureFact, *, rows: int, seed: int) -> Inputs | None:
        """At least `rows` rows that try what this model decides by; None where any random rows do as well."""
        return None


class Part:
    """An input that is one tensor of a ragged or sparse tensor: its dimension 0 is not the batch dimension.

    `tensor` is the name of the whole; `make` generates all its parts with `rows` rows, by name.
    """

    def __init__(
        self, kind: str, tensor: str, make: Callable[[SignatureFact, int, np.random.Generator], Inputs]
    ) -> None:
        self.kind = kind
        self.tensor = tensor
        self.make = make
