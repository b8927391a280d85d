"""The request that is put together byte by byte is the message that it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.backends.model_server import predict_request
from gateway.routing.labels import NEWEST, Choice
from tfserving.wire import messages_pb2 as m
from tfserving.wire.tensors import Array, to_array, to_bytes


@pytest.mark.parametrize("choice", [NEWEST, Choice(version=7), Choice(label="canary")])
@pytest.mark.parametrize("signature", ["", "serving_default"])
@pytest.mark.parametrize("rows", [0, 1, 5000])
def test_a_predict_request_parses_as_what_was_asked(choice: Choice, signature: str, rows: int) -> None:
    inputs: dict[str, Array] = {
        "x": np.ones((rows, 30), np.float32),
        "länge": np.arange(rows),
        "text": np.array([b"a"] * rows, object),
    }
    sent = predict_request("m", choice, signature, {name: to_bytes(array) for name, array in inputs.items()})
    request = m.PredictRequest.FromString(sent)
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", signature)
    assert request.model_spec.version_label == (choice.label or "")
    assert request.model_spec.HasField("version") == (choice.version is not None)
    assert request.model_spec.version.value == (choice.version or 0)
    assert request.inputs.keys() == inputs.keys()
    assert all(np.array_equal(to_array(request.inputs[name]), array) for name, array in inputs.items())
