"""A gRPC client that calls any path with any bytes, for what generated clients cannot send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from tfserving.wire import inference_pb2 as pb
from tfserving.wire import methods

INFER = "/inference.GRPCInferenceService/"


class Caller:
    """Unary calls by path, with any messages."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])

    def raw(self, path: str, message: bytes, timeout: float = 20.0, /, **metadata: str) -> tuple[bytes, dict[str, str]]:
        """The response's bytes and the trailing metadata."""
        given = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        call = self.channel.unary_unary(path)
        response, details = call.with_call(message, timeout=timeout, metadata=given)
        return response, dict(details.trailing_metadata() or ())

    def ask(self, method: methods.Method, message: Message, timeout: float = 20.0, /, **metadata: str) -> Any:
        return method.response.FromString(self.raw(method.path, message.SerializeToString(), timeout, **metadata)[0])

    def infer(self, name: str, message: Message, **metadata: str) -> Any:
        kind = vars(pb)[f"{name}Response"]
        return kind.FromString(self.raw(INFER + name, message.SerializeToString(), 20.0, **metadata)[0])


def infer_request(model: str = "scale", version: str = "", *, raw: bool = True) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, model_version=version, id="i-1")
    x = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    if raw:
        request.raw_input_contents.append(np.array([1.5, 2], "<f4").tobytes())
    else:
        x.contents.fp32_contents.extend([1.5, 2])
    return request


def fails(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value
