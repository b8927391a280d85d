"""A tensor inside the server: an array together with its element type.

numpy alone does not tell bfloat16 from uint16 or qint8 from int8, and both the runtime and the answers need to know.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfserving.wire.tensors import Array, DType, dtype_of


@dataclass(frozen=True, slots=True)
class Tensor:
    """`array` holds `dtype.storage` elements (bytes objects for strings), of any shape."""

    dtype: DType
    array: Array

    @classmethod
    def of(cls, array: Array) -> Tensor:
        """The tensor of an array whose numpy type says everything (floats, integers, bool, complex, bytes objects)."""
        return cls(dtype_of(array), array)
