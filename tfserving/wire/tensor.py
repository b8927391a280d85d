"""A tensor inside the server: an array together with its element type.

numpy alone does not tell bfloat16 from uint16 or qint8 from int8, and both the runtime and the responses need to know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tfserving.wire.tensors import Array, DType, dtype_of

_NUMPY_MAX_RANK = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
_WIDEST = 1 << 40
"""Elements that an empty tensor may have beside its dimension of no size; numpy takes somewhat more."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """`array` holds `dtype.storage` elements (bytes objects for strings), of any shape.

    `deep` is the shape of a tensor with more dimensions than numpy knows, or with too large ones beside an empty one;
    `array` is then flat.
    """

    dtype: DType
    array: Array
    deep: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions."""
        return self.deep or self.array.shape

    @classmethod
    def shaped(cls, dtype: DType, values: Array, shape: tuple[int, ...]) -> Tensor:
        """The tensor of a flat array."""
        too_wide = not len(values) and math.prod(size for size in shape if size) > _WIDEST
        if len(shape) > _NUMPY_MAX_RANK or too_wide:
            return cls(dtype, values, shape)
        return cls(dtype, values.reshape(shape))

    @classmethod
    def of(cls, array: Array) -> Tensor:
        """The tensor of an array whose numpy type says everything (floats, integers, bool, complex, bytes objects)."""
        return cls(dtype_of(array), array)
