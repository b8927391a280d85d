"""The gRPC services of a running server, on models as Keras and tf.Module export them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec

import grpc
import numpy as np
import pytest
from gated_model import GatedModel
from model_server_process import ModelServerProcess, Start

from tfserving.client import ModelServerError
from tfserving.wire import messages_pb2 as m
from tfserving.wire.methods import CLASSIFY, MULTI_INFERENCE, PREDICT
from tfserving.wire.tensors import Array

P = ParamSpec("P")
Call = Callable[[str, bytes], bytes]
"""From the path of a method and a request to its response."""


def _config(models: Path) -> str:
    one = 'config {{ name: "{0}" base_path: "{1}/{0}" model_platform: "tensorflow" {2} }}'
    every = [one.format("scale", models, "model_version_policy { specific { versions: 1 versions: 3 } }")]
    every += [one.format(name, models, "") for name in ("slow", "words", "keras")]
    return f"model_config_list {{ {' '.join(every)} }}"


@pytest.fixture(scope="module")
def server(start: Start, models: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelServerProcess:
    file = tmp_path_factory.mktemp("config") / "models.config"
    file.write_text(_config(models))
    running = start(f"--model_config_file={file}", "--enable_grpc_healthcheck_service", "--grpc_max_threads=4")
    running.reaches("scale", {1: "AVAILABLE", 3: "AVAILABLE"})
    return running


@pytest.fixture(scope="module")
def call(server: ModelServerProcess) -> Iterator[Call]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield lambda path, wire: channel.unary_unary(path)(wire, timeout=20)


def x(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32)}


def failure(function: Callable[P, object], *arguments: P.args, **options: P.kwargs) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(ModelServerError) as caught:
        function(*arguments, **options)
    return caught.value.code, caught.value.message


def test_predict_uses_the_highest_version_and_says_which(server: ModelServerProcess) -> None:
    answer = server.client.predict("scale", x(2, 4))
    assert answer.outputs["y"].tolist() == [31, 32]
    assert (answer.version, answer.signature) == (3, "serving_default")
    assert server.client.predict("scale", x(2), version=1).outputs["y"].tolist() == [11]


def test_keras_export_gives_what_keras_gave(server: ModelServerProcess, models: Path) -> None:
    expected = [float(text) for text in (models / "keras_expected.txt").read_text().split()]
    (name,) = server.client.metadata("keras").signatures["serving_default"].inputs
    answer = server.client.predict("keras", {name: np.array([[1, 2, 3, 4]], np.float32)})
    (output,) = answer.outputs.values()
    np.testing.assert_allclose(output[0], expected, rtol=1e-5)


def test_strings_of_any_length_and_tables_from_assets(server: ModelServerProcess) -> None:
    words = [b"home", b"car", b"", b"\0\xff", b"y" * 22, b"y" * 23, b"z" * 5000]
    outputs = server.client.predict("words", {"word": np.array(words, object)}).outputs
    assert outputs["index"].tolist() == [1, 0, -1, -1, -1, -1, -1]
    assert outputs["echo"].tolist() == words


def test_output_filter_computes_only_what_is_asked(server: ModelServerProcess) -> None:
    assert set(server.client.predict("words", {"word": np.array([b"a"], object)}, output_filter=["echo"]).outputs) == {
        "echo"
    }


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ({"model": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ({"version": 2}, "NOT_FOUND", "Servable not found for request: Specific(scale, 2)"),
        ({"label": "stable"}, "INVALID_ARGUMENT", "Unrecognized servable version label: stable"),
        ({"signature": "nope"}, "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        ({"inputs": {}}, "INVALID_ARGUMENT", "input size does not match signature: 0!=1"),
        ({"inputs": {"z": np.ones(1, np.float32)}}, "INVALID_ARGUMENT", "Signature input alias: x(feed name: "),
        ({"inputs": {"x": np.ones(1, np.float64)}}, "INVALID_ARGUMENT", "to be float but double is provided"),
        ({"output_filter": ["q"]}, "INVALID_ARGUMENT", "output tensor alias not found in signature: q"),
    ],
)
def test_refusals_carry_the_code_and_text_of_tensorflow_serving(
    server: ModelServerProcess, arguments: dict[str, Any], code: str, text: str
) -> None:
    given: dict[str, Any] = {"model": "scale", "inputs": x(1), **arguments}
    found = failure(server.client.predict, given.pop("model"), given.pop("inputs"), **given)
    assert found[0].name == code
    assert text in found[1]


def test_long_error_texts_are_cut(server: ModelServerProcess) -> None:
    _, text = failure(server.client.predict, "scale", {"q" * 3000: np.ones(1, np.float32)})
    assert len(text) == 1024 + len("...TRUNCATED")
    assert text.endswith("...TRUNCATED")


def test_an_error_text_is_not_cut_within_a_character(server: ModelServerProcess) -> None:
    _, text = failure(server.client.predict, "é" * 600, x(1))
    assert text.startswith("Servable not found for request: Latest(éé")
    assert text.endswith("é...TRUNCATED")


@pytest.mark.parametrize("rank", [64, 65, 254])
def test_a_tensor_has_up_to_254_dimensions(call: Call, rank: int) -> None:
    request = m.PredictRequest(model_spec=m.ModelSpec(name="scale"))
    request.inputs["x"].dtype = m.DT_FLOAT
    request.inputs["x"].float_val.append(4)
    for _ in range(rank):
        request.inputs["x"].tensor_shape.dim.add(size=1)
    answer = m.PredictResponse.FromString(call(PREDICT.path, request.SerializeToString())).outputs["y"]
    assert ([d.size for d in answer.tensor_shape.dim], list(answer.float_val)) == ([1] * rank, [32.0])
    request.inputs["x"].tensor_shape.dim.extend([request.inputs["x"].tensor_shape.dim[0]] * (255 - rank))
    assert refusal(call, request) == (grpc.StatusCode.INVALID_ARGUMENT, "tensor parsing error: x")


@pytest.mark.parametrize(("shape", "fits"), [((0, 1 << 62), True), ((1 << 62, 0), True), ((1 << 62, 2, 0), False)])
def test_an_empty_tensor_may_be_as_wide_as_64_bits_count(call: Call, shape: tuple[int, ...], fits: bool) -> None:
    request = m.PredictRequest(model_spec=m.ModelSpec(name="scale"))
    request.inputs["x"].dtype = m.DT_FLOAT
    for size in shape:
        request.inputs["x"].tensor_shape.dim.add(size=size)
    if fits:
        answer = m.PredictResponse.FromString(call(PREDICT.path, request.SerializeToString())).outputs["y"]
        assert tuple(d.size for d in answer.tensor_shape.dim) == shape
    else:
        assert refusal(call, request) == (grpc.StatusCode.INVALID_ARGUMENT, "tensor parsing error: x")


def test_one_value_fills_a_large_tensor_and_a_huge_one_is_refused(call: Call) -> None:
    request = m.PredictRequest(model_spec=m.ModelSpec(name="scale"))
    request.inputs["x"].dtype = m.DT_FLOAT
    request.inputs["x"].float_val.append(4)
    request.inputs["x"].tensor_shape.dim.add(size=100_000)
    for _ in range(3):  # also when the model is known to be quick
        answer = m.PredictResponse.FromString(call(PREDICT.path, request.SerializeToString()))
        assert list(answer.outputs["y"].float_val) == [32.0] * 100_000
    request.inputs["x"].tensor_shape.dim[0].size = 1 << 40
    assert refusal(call, request) == (grpc.StatusCode.INVALID_ARGUMENT, "tensor parsing error: x")


def test_a_variant_is_no_input(call: Call) -> None:
    request = m.PredictRequest(model_spec=m.ModelSpec(name="scale"))
    request.inputs["x"].dtype = m.DT_VARIANT
    assert refusal(call, request)[1] == "Expects arg[0] to be float but variant is provided"


def refusal(call: Call, request: m.PredictRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(PREDICT.path, request.SerializeToString())
    return caught.value.code(), caught.value.details()


def test_what_cannot_be_decoded_and_what_does_not_exist(call: Call) -> None:
    for path, wire, code in (
        (PREDICT.path, b"\xff\xff", grpc.StatusCode.INTERNAL),
        ("/tensorflow.serving.SessionService/SessionRun", b"", grpc.StatusCode.UNIMPLEMENTED),
        ("/no.such.Service/Call", b"", grpc.StatusCode.UNIMPLEMENTED),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(path, wire)
        assert (caught.value.code(), caught.value.details()) == (code, "")


def example(value: float) -> m.Example:
    features = m.Features(feature={"x": m.Feature(float_list=m.FloatList(value=[value]))})
    return m.Example(features=features)


def test_classify_and_multi_inference_read_examples(call: Call) -> None:
    given = m.Input(example_list=m.ExampleList(examples=[example(2), example(4)]))
    spec = m.ModelSpec(name="scale", signature_name="classify")
    answer = m.ClassificationResponse.FromString(
        call(CLASSIFY.path, m.ClassificationRequest(model_spec=spec, input=given).SerializeToString())
    )
    assert [row.classes[0].score for row in answer.result.classifications] == [31, 32]
    task = m.InferenceTask(model_spec=spec, method_name="tensorflow/serving/classify")
    several = m.MultiInferenceResponse.FromString(
        call(MULTI_INFERENCE.path, m.MultiInferenceRequest(tasks=[task], input=given).SerializeToString())
    )
    assert several.results[0].model_spec.version.value == 3
    assert several.results[0].classification_result == answer.result


def multi(call: Call, *signatures: tuple[str, str]) -> bytes:
    """What a MultiInference of these models and signatures comes to."""
    given = m.Input(example_list=m.ExampleList(examples=[example(2), example(4)]))
    tasks = [
        m.InferenceTask(
            model_spec=m.ModelSpec(name=name, signature_name=word), method_name=f"tensorflow/serving/{word}"
        )
        for name, word in signatures
    ]
    return call(MULTI_INFERENCE.path, m.MultiInferenceRequest(tasks=tasks, input=given).SerializeToString())


def test_signatures_of_one_request_may_have_inputs_of_their_own(call: Call) -> None:
    answer = m.MultiInferenceResponse.FromString(multi(call, ("scale", "regress"), ("scale", "classify")))
    assert [row.value for row in answer.results[0].regression_result.regressions] == [31, 32]
    assert len(answer.results[1].classification_result.classifications) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "Found ModelSpec with an empty model name."),
        ("words", "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
    ],
)
def test_one_request_is_about_one_model(call: Call, name: str, text: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        multi(call, ("scale", "regress"), (name, "classify"))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)


def test_a_deadline_ends_the_work_and_frees_the_thread(server: ModelServerProcess) -> None:
    for _ in range(6):  # more than there are threads: each must be free again, or the last calls are refused
        assert failure(server.client.predict, "slow", x(60_000), timeout=0.2)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    assert server.client.predict("slow", x(1), timeout=10).outputs["y"].tolist() == [1]


def test_calls_beyond_the_thread_quota_are_rejected_while_others_run(
    start: Start, models: Path, gate: GatedModel
) -> None:
    client = start("--model_name=gated", f"--model_base_path={models}/gated", "--grpc_max_threads=1").client
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.predict, "gated", gate.inputs(1), timeout=120)
        gate.holds_a_call()
        refused = failure(client.predict, "gated", gate.inputs(2), timeout=60)
        assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        assert not held.done()
        gate.open()
        assert held.result().outputs["y"].tolist() == [1]


def test_status_metadata_and_health(server: ModelServerProcess) -> None:
    assert [(s.version, s.state) for s in server.client.status("scale")] == [(3, "AVAILABLE"), (1, "AVAILABLE")]
    assert server.client.metadata("scale", version=1).signatures["serving_default"].inputs["x"].shape == (-1,)
    assert failure(server.client.status, "nope") == (
        grpc.StatusCode.NOT_FOUND,
        "Could not find any versions of model nope",
    )
    assert server.client.healthy()
    assert failure(server.client.healthy, "nope")[0] is grpc.StatusCode.NOT_FOUND
