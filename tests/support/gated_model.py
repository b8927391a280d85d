"""Calls of the model `gated` of make_models.py, which responds only once a test lets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from eventually import eventually

from tfserving.wire.tensors import Array


class GatedModel:
    """The calls of one test, by a folder of its own.

    A call that is held up keeps one of TensorFlow's threads busy, and there may be one only: hold up one at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def inputs(self, x: float) -> dict[str, Array]:
        """Of one call."""
        return {"x": np.array([x], np.float32), "gate": np.array(str(self._folder), object)}

    def holds_a_call(self) -> None:
        """Wait until a call is at work."""
        eventually(lambda: (self._folder / "entered").exists(), "a call is at work")

    def open(self) -> None:
        """Let all calls go, and all that come."""
        (self._folder / "go-0").touch()
