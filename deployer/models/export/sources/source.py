"""A trained model, as export sees it."""

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
"""Makes the parts of a composite input: the signature, how many rows, and where chance comes from."""


class Source(Protocol):
    """A trained model that can be written as a SavedModel and asked the same questions as the written one."""

    directory: Path | None = None
    """The SavedModel that it is already, for a source that is copied; it is asked on a model server then."""

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        """Write a SavedModel into an existing, empty directory. Errors: ExportError."""
        ...

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Respond as the written `signature` must: outputs by its names. Errors: ExportError."""
        raise NotImplementedError(f"{type(self).__name__} is asked on a model server")

    def parts(self) -> Mapping[str, Part]:
        """Inputs that are parts of a ragged or sparse tensor, by their names in the signature."""
        return {}

    def samples(self, signature: SignatureFact, *, rows: int, seed: int) -> Inputs | None:
        """At least `rows` rows that try what this model decides by; None where any random rows do as well."""
        return None


class Part:
    """An input that is one tensor of a composite: its dimension 0 does not count rows of a request.

    `tensor` names the composite; `make` returns all its parts with `rows` rows, by their names.
    """

    def __init__(
        self, kind: str, tensor: str, make: Callable[[SignatureFact, int, np.random.Generator], Inputs]
    ) -> None:
        self.kind = kind
        self.tensor = tensor
        self.make = make
