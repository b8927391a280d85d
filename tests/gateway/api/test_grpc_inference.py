"""The gRPC port: the Open Inference Protocol."""

from __future__ import annotations

import math
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from grpc_caller import Caller, fails, infer_request

from tfserving.wire import inference_pb2 as pb


def test_inference_with_raw_and_with_typed_contents(caller: Caller) -> None:
    for version, number in (("", 1), ("2", 2), ("canary", 2)):
        for raw in (True, False):
            answer = caller.infer("ModelInfer", infer_request(version=version, raw=raw))
            assert (answer.model_name, answer.model_version, answer.id) == ("scale", str(number), "i-1")
            (output,) = answer.outputs
            assert (output.name, output.datatype, list(output.shape)) == ("y", "FP32", [1, 2])
            assert np.frombuffer(answer.raw_output_contents[0], "<f4").tolist() == [1.5 * number, 2.0 * number]
    typed = infer_request()
    typed.parameters["binary_data_output"].bool_param = False
    answer = caller.infer("ModelInfer", typed)
    assert (list(answer.outputs[0].contents.fp32_contents), len(answer.raw_output_contents)) == ([1.5, 2.0], 0)
    assert answer.parameters["version_label"].string_param == "stable"


def test_numbers_that_are_not_finite_pass(caller: Caller) -> None:
    request = infer_request(raw=False)
    request.inputs[0].contents.fp32_contents[:] = [math.nan, math.inf]
    found = np.frombuffer(caller.infer("ModelInfer", request).raw_output_contents[0], "<f4")
    assert (math.isnan(found[0]), math.isinf(found[1])) == (True, True)


def test_server_and_model_as_the_protocol_describes_them(caller: Caller) -> None:
    assert caller.infer("ServerLive", pb.ServerLiveRequest()).live
    assert caller.infer("ServerReady", pb.ServerReadyRequest()).ready
    assert caller.infer("ServerMetadata", pb.ServerMetadataRequest()).name
    assert caller.infer("ModelReady", pb.ModelReadyRequest(name="scale", version="canary")).ready
    assert not caller.infer("ModelReady", pb.ModelReadyRequest(name="scale", version="9")).ready
    found = caller.infer("ModelMetadata", pb.ModelMetadataRequest(name="scale"))
    assert (list(found.versions), found.platform) == (["1", "2"], "tensorflow_savedmodel")
    assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [("x", "FP32", [-1, 2])]
    error = fails(lambda: caller.infer("ModelReady", pb.ModelReadyRequest(name="none")))
    assert error.code() == grpc.StatusCode.NOT_FOUND


def broken(change: Callable[[pb.ModelInferRequest], object], *, raw: bool = True) -> pb.ModelInferRequest:
    request = infer_request(raw=raw)
    change(request)
    return request


BAD = [
    (broken(lambda r: r.ClearField("inputs")), "inputs: there are none"),
    (broken(lambda r: r.raw_input_contents.append(b"")), "2 raw_input_contents for 1 inputs"),
    (broken(lambda r: r.inputs[0].contents.fp32_contents.append(1.0)), "both contents and raw_input_contents"),
    (broken(lambda r: r.inputs[0].shape.append(2)), "input 'x': 8 bytes, but its shape and datatype need 16"),
    (broken(lambda r: r.inputs[0].shape.append(-1)), "input 'x': shape"),
    (broken(lambda r: setattr(r.inputs[0], "datatype", "FP8")), "datatype: expected one of"),
    (
        broken(lambda r: setattr(r.inputs[0], "datatype", "BF16"), raw=False),
        "BF16 is allowed in raw_input_contents only",
    ),
    (broken(lambda r: setattr(r, "model_name", "none")), "Servable not found"),
    (broken(lambda r: r.outputs.add(name="q")), "output tensor alias not found in signature: q"),
    (broken(lambda r: setattr(r, "model_version", "9" * 25)), "not a 64-bit number"),
]


@pytest.mark.parametrize(("request_message", "text"), BAD, ids=range(len(BAD)))
def test_bad_requests_say_what_is_wrong(caller: Caller, request_message: pb.ModelInferRequest, text: str) -> None:
    error = fails(lambda: caller.infer("ModelInfer", request_message))
    assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert text in error.details()
