"""The input tensors of a request as rows that can be cut, joined and encoded together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfserving.wire.tensors import Array, to_bytes


class Rows:
    """Tensors by the name of the input, row i of each from record i."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors

    def __len__(self) -> int:
        return len(next(iter(self._tensors.values())))

    def __getitem__(self, some: slice) -> Rows:
        return Rows({name: tensor[some] for name, tensor in self._tensors.items()})

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Those of `parts` in their order; all have the same inputs."""
        names = parts[0]._tensors
        return cls({name: np.concatenate([part._tensors[name] for part in parts]) for name in names})

    def encoded(self) -> dict[str, bytes]:
        """Serialized TensorProtos by the name of the input."""
        return {name: to_bytes(tensor) for name, tensor in self._tensors.items()}
