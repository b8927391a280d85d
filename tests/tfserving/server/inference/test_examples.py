"""Outputs of a model as classification and regression results: what does not fit, and which misfit is told first."""

from __future__ import annotations

import numpy as np
import pytest

from tfserving.server.inference.examples import regression
from tfserving.wire.status import StatusError
from tfserving.wire.tensor import Tensor


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (np.float32(1), "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []"),
        (np.zeros(3, np.float64), "Input batch size did not match output batch size: 2 vs. 3"),
        (np.zeros((2, 1), np.int64), "Expected output Tensor of DT_FLOAT.  Got: DT_INT64"),
    ],
)
def test_regression_needs_one_float_a_row(output: object, text: str) -> None:
    with pytest.raises(StatusError) as error:
        regression([Tensor.of(np.asarray(output))], rows=2)
    assert error.value.message == text
