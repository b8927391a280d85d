"""The gRPC port: TensorFlow Serving's services, health and reflection."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import yaml
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config, protocol_config
from google.protobuf.message import Message
from grpc_caller import Caller, fails, infer_request
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tfserving.wire import inference_pb2 as pb
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.tensors import to_array, to_proto


def predict(model: str = "scale", label: str = "", version: int | None = None, **inputs: Any) -> m.PredictRequest:
    request = m.PredictRequest(model_spec=m.ModelSpec(name=model))
    if label:
        request.model_spec.version_label = label
    if version is not None:
        request.model_spec.version.value = version
    for name, value in (inputs or {"x": np.array([[1, 2]], np.float32)}).items():
        request.inputs[name].CopyFrom(to_proto(np.asarray(value)))
    return request


def examples(*values: float) -> m.Input:
    found = m.Input()
    for value in values:
        example = found.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(value)
    return found


def test_predict_goes_where_the_weights_say_and_a_label_or_version_wins(caller: Caller) -> None:
    for request, version in ((predict(), 1), (predict(label="canary"), 2), (predict(version=2), 2)):
        answer = caller.ask(methods.PREDICT, request)
        assert answer.model_spec.version.value == version
        assert to_array(answer.outputs["y"]).tolist() == [[version, 2.0 * version]]


def test_weights_and_sticky_keys_are_those_of_rest(tmp_path: Path, protocol_address: str) -> None:
    content = protocol_config(protocol_address)
    content["models"]["scale"]["routing"]["weights"] = {"stable": 50, "canary": 50}
    gateway = GatewayProcess(tmp_path, content, "--grpc-port", "0", "--drain-seconds", "0")
    caller = Caller(gateway.grpc)
    try:
        grpc_said: dict[str, set[int]] = {}
        rest_said: dict[str, set[int]] = {}
        for user in map(str, range(20)):
            for _ in range(2):
                answer = caller.ask(methods.PREDICT, predict(), x_user=user)
                grpc_said.setdefault(user, set()).add(answer.model_spec.version.value)
            described = caller.ask(methods.GET_MODEL_METADATA, asked_for_metadata(), x_user=user)
            grpc_said[user].add(described.model_spec.version.value)
            asked = {"inputs": [[1.0, 2.0]]}
            rest = gateway.post(asked, path="/v1/models/scale:predict", x_user=user)
            rest_said[user] = {int(rest.headers["x-model-version"])}
        assert grpc_said == rest_said
        assert set().union(*grpc_said.values()) == {1, 2}
        free = {caller.ask(methods.PREDICT, predict()).model_spec.version.value for _ in range(60)}
        assert free == {1, 2}
        assert gateway.metric('gateway_requests_total{model="scale",version="2",label="canary",kind="tensors"') > 0
    finally:
        caller.channel.close()
        assert gateway.stop() == 0


def asked_for_metadata() -> m.GetModelMetadataRequest:
    return m.GetModelMetadataRequest(model_spec=m.ModelSpec(name="scale"), metadata_field=["signature_def"])


def test_classify_regress_and_multi_inference(caller: Caller) -> None:
    spec = m.ModelSpec(name="scale", signature_name="regress")
    regressed = caller.ask(methods.REGRESS, m.RegressionRequest(model_spec=spec, input=examples(1.5, 2)))
    assert [r.value for r in regressed.result.regressions] == [1.5, 2.0]
    spec.version_label = "canary"
    regressed = caller.ask(methods.REGRESS, m.RegressionRequest(model_spec=spec, input=examples(1.5, 2)))
    assert [r.value for r in regressed.result.regressions] == [3.0, 4.0]

    spec = m.ModelSpec(name="scale", signature_name="classify")
    classified = caller.ask(methods.CLASSIFY, m.ClassificationRequest(model_spec=spec, input=examples(1.5)))
    assert [c.score for c in classified.result.classifications[0].classes] == [1.5]

    asked = m.MultiInferenceRequest(input=examples(2))
    for name in ("regress", "classify"):
        task = asked.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.name, task.model_spec.signature_name = "scale", name
    results = caller.ask(methods.MULTI_INFERENCE, asked).results
    assert [result.model_spec.version.value for result in results] == [1, 1]
    assert results[0].regression_result.regressions[0].value == 2.0


def test_metadata_and_status(caller: Caller) -> None:
    described = caller.ask(methods.GET_MODEL_METADATA, asked_for_metadata())
    assert described.model_spec.version.value == 1, "the version that most predictions get, not the newest"
    assert described.metadata["signature_def"].type_url == methods.SIGNATURE_DEF_TYPE_URL
    status = caller.ask(methods.GET_MODEL_STATUS, m.GetModelStatusRequest(model_spec=m.ModelSpec(name="scale")))
    assert {entry.version: entry.state for entry in status.model_version_status} == {1: 30, 2: 30}


class Recorder(grpc.GenericRpcHandler):  # type: ignore[misc]  # has no types
    """A model server that keeps the bytes of each Predict and always answers the same ones."""

    def __init__(self, answer: bytes) -> None:
        self.seen: list[bytes] = []
        self._answer = answer
        self._server = grpc.server(ThreadPoolExecutor(1))
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._take) if details.method == methods.PREDICT.path else None

    def _take(self, message: bytes, context: Any) -> bytes:
        self.seen.append(message)
        return self._answer

    def stop(self) -> None:
        self._server.stop(0).wait()


def test_the_bytes_of_tensors_are_passed_on_as_they_came(tmp_path: Path) -> None:
    """Also in a form that nobody here writes, and with fields that nobody here knows."""
    unknown = b"\xa2\x06\x05hello"  # field 100
    response = m.PredictResponse(model_spec=m.ModelSpec(name="m"))
    response.model_spec.version.value = 1
    response.outputs["y"].CopyFrom(to_proto(np.ones(2, np.float32), typed=True))
    server = Recorder(unknown + response.SerializeToString())
    gateway = GatewayProcess(tmp_path, config(server.address), "--grpc-port", "0", "--drain-seconds", "0")
    caller = Caller(gateway.grpc)
    try:
        tensor = m.TensorProto(dtype=m.DT_FLOAT, float_val=[1.0])
        tensor.tensor_shape.dim.add().size = 3
        request = m.PredictRequest(output_filter=["y"])
        request.inputs["x"].CopyFrom(tensor)
        rest = request.SerializeToString() + unknown
        asked = m.RequestHead(model_spec=m.ModelSpec(name="m", signature_name="s")).SerializeToString() + rest
        answer, trailing = caller.raw(methods.PREDICT.path, asked, x_request_id="r-9")
        assert answer == unknown + response.SerializeToString()
        assert trailing["x-request-id"] == "r-9"
        (seen,) = server.seen
        assert seen.endswith(rest)
        spec = m.RequestHead.FromString(seen).model_spec
        assert (spec.name, spec.signature_name, spec.version_label) == ("m", "s", "stable")
    finally:
        caller.channel.close()
        gateway.stop()
        server.stop()


def test_failures_have_tensorflow_serving_s_codes_and_texts(caller: Caller) -> None:
    wrong = m.PredictRequest(model_spec=m.ModelSpec(name="scale"))
    wrong.inputs["x"].CopyFrom(to_proto(np.array([[1, 2]], np.float64)))
    cases: list[tuple[methods.Method, Message, grpc.StatusCode, str]] = [
        (methods.PREDICT, predict("none"), grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(none)"),
        (methods.PREDICT, predict(version=9), grpc.StatusCode.NOT_FOUND, "Specific(scale, 9)"),
        (methods.PREDICT, predict(label="no"), grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label"),
        (methods.PREDICT, wrong, grpc.StatusCode.INVALID_ARGUMENT, "to be float but double is provided"),
        (methods.GET_MODEL_STATUS, m.GetModelStatusRequest(), grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (methods.RELOAD_CONFIG, m.ReloadConfigRequest(), grpc.StatusCode.UNIMPLEMENTED, ""),
    ]
    for method, request, code, text in cases:
        error = fails(partial(caller.ask, method, request))
        assert (error.code(), text in error.details()) == (code, True), error.details()
    error = fails(lambda: caller.raw(methods.PREDICT.path, b"\xff\xff"))
    assert (error.code(), "cannot be decoded" in error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    error = fails(lambda: caller.raw(methods.PREDICT.path, b"\0" * 11_000_000))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_deadlines_cancellation_and_overload(tmp_path: Path) -> None:
    server = FakeModelServer()
    content = config(server.address, limits={"max_concurrency": 1, "max_queue": 1, "timeout_ms": 5000})
    gateway = GatewayProcess(tmp_path, content, "--grpc-port", "0", "--drain-seconds", "0")
    caller = Caller(gateway.grpc)
    x = np.array([[1, 2]], np.float32)
    try:
        server.gate.clear()
        error = fails(lambda: caller.ask(methods.PREDICT, predict("m", x=x), x_request_timeout_ms="300"))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.seen[-1].seconds_left <= 0.31
        leaving = caller.channel.unary_unary(methods.PREDICT.path).future(predict("m", x=x).SerializeToString())
        eventually(lambda: gateway.metric("gateway_in_flight") == 1.0, lambda: "the call did not arrive")
        leaving.cancel()
        eventually(lambda: gateway.metric("gateway_in_flight") == 0.0, lambda: "the call did not end")
        server.gate.set()
        assert caller.ask(methods.PREDICT, predict("m", x=x)).model_spec.version.value == 1
        server.stop()
        error = fails(lambda: caller.ask(methods.PREDICT, predict("m", x=x), 2.0))
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    finally:
        caller.channel.close()
        gateway.stop()
        server.stop()


def test_credentials_are_those_of_rest(tmp_path: Path, protocol_address: str) -> None:
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("all", "other", "slow")}
    keys: list[dict[str, Any]] = [
        {"name": "ada", "sha256": hashes["all"]},
        {"name": "bob", "sha256": hashes["other"], "models": ["types"]},
        {"name": "eve", "sha256": hashes["slow"], "requests_per_second": 0.001},
    ]
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"keys": keys}))
    content = protocol_config(protocol_address) | {"auth": {"keys_file": "keys.yaml"}}
    gateway = GatewayProcess(tmp_path, content, "--grpc-port", "0", "--drain-seconds", "0")
    caller = Caller(gateway.grpc)
    try:
        assert caller.ask(methods.PREDICT, predict(), x_api_key="all").model_spec.version.value == 1
        assert caller.ask(methods.PREDICT, predict(), authorization="Bearer all").model_spec.version.value == 1
        assert caller.infer("ModelInfer", infer_request(), x_api_key="all").model_version == "1"
        for metadata, code in (
            ({}, grpc.StatusCode.UNAUTHENTICATED),
            ({"x_api_key": "no"}, grpc.StatusCode.UNAUTHENTICATED),
            ({"x_api_key": "other"}, grpc.StatusCode.PERMISSION_DENIED),
        ):
            status = m.GetModelStatusRequest(model_spec=m.ModelSpec(name="scale"))
            for call in (
                partial(caller.ask, methods.PREDICT, predict(), **metadata),
                partial(caller.ask, methods.GET_MODEL_METADATA, asked_for_metadata(), **metadata),
                partial(caller.ask, methods.GET_MODEL_STATUS, status, **metadata),
                partial(caller.infer, "ModelInfer", infer_request(), **metadata),
                partial(caller.infer, "ModelMetadata", pb.ModelMetadataRequest(name="scale"), **metadata),
                partial(caller.infer, "ModelReady", pb.ModelReadyRequest(name="scale"), **metadata),
            ):
                assert fails(call).code() == code
        both = m.MultiInferenceRequest(input=examples(2))
        for name in ("types", "scale"):
            both.tasks.add(method_name="tensorflow/serving/regress").model_spec.name = name
        error = fails(partial(caller.ask, methods.MULTI_INFERENCE, both, x_api_key="other"))
        assert error.code() == grpc.StatusCode.PERMISSION_DENIED
        caller.ask(methods.PREDICT, predict(), x_api_key="slow")
        error = fails(partial(caller.ask, methods.PREDICT, predict(), x_api_key="slow"))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "grpc-retry-pushback-ms" in dict(error.trailing_metadata())
        assert caller.infer("ServerLive", pb.ServerLiveRequest()).live
        stub = health_pb2_grpc.HealthStub(caller.channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
    finally:
        caller.channel.close()
        gateway.stop()


def test_health(caller: Caller, tmp_path: Path) -> None:
    stub = health_pb2_grpc.HealthStub(caller.channel)
    for service in ("", methods.PREDICTION_SERVICE, "inference.GRPCInferenceService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status == 1
    error = fails(lambda: stub.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=10))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    server = FakeModelServer()
    gateway = GatewayProcess(tmp_path, config(server.address), "--grpc-port", "0", "--drain-seconds", "30")
    other = Caller(gateway.grpc)
    try:
        states = health_pb2_grpc.HealthStub(other.channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        gateway.signal(15)
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert other.ask(methods.PREDICT, predict("m")).model_spec.version.value == 1, "calls are answered meanwhile"
        gateway.signal(15)
        assert gateway.wait() == 0
        assert any("accepted: 1, completed: 1" in line for line in gateway.log), gateway.log[-1]
    finally:
        other.channel.close()
        gateway.stop()
        server.stop()


def test_reflection_tells_every_service(caller: Caller) -> None:
    database = ProtoReflectionDescriptorDatabase(caller.channel)
    services = set(database.get_services())
    assert services == {
        methods.PREDICTION_SERVICE,
        methods.MODEL_SERVICE,
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    found = database.FindFileContainingSymbol(methods.PREDICTION_SERVICE)
    (service,) = (service for service in found.service if service.name == "PredictionService")
    assert {method.name for method in service.method} == {
        "Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata",
    }  # fmt: skip
    assert service.method[0].input_type == ".tfserving_wire.PredictRequest"
