"""Clients that nobody here wrote, unchanged. They come from foreign-clients.txt."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from foreign_clients import NotInstallable, node_with, python_with, run_client
from gateway_process import GatewayProcess
from markdown_pages import REFERENCE, Page
from paths import ROOT
from v2_values import VALUES

pytestmark = pytest.mark.timeout(900)

TRITON_HTTP = """
import asyncio, json, sys
import ml_dtypes
import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException

NUMPY = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "FP32": np.float32, "FP64": np.float64, "BYTES": np.object_,
}
client = triton.InferenceServerClient(sys.argv[1])
said = {
    "live": client.is_server_live(), "ready": client.is_server_ready(), "server": client.get_server_metadata(),
    "model": client.get_model_metadata("scale"), "model_ready": client.is_model_ready("scale"),
    "canary_ready": client.is_model_ready("scale", "canary"), "nine_ready": client.is_model_ready("scale", "9"),
    "none_ready": client.is_model_ready("none"),
}

def given(kind, values, binary):
    tensor = triton.InferInput(kind.lower(), [len(values)], kind)
    array = np.array([v.encode() for v in values] if kind == "BYTES" else values, NUMPY[kind])
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor

values = json.loads(sys.argv[2])
for form, binary in (("binary", True), ("json", False)):
    inputs = [given(kind, of, binary or kind in ("FP16", "BF16")) for kind, of in values.items()]
    outputs = [
        triton.InferRequestedOutput("echo_" + kind.lower(), binary_data=binary or kind in ("FP16", "BF16"))
        for kind in values
    ]
    for packing in (None, "gzip"):
        result = client.infer(
            "types", inputs, outputs=outputs, request_id="r-1", request_compression_algorithm=packing
        )
        said[f"{form} {packing}"] = {
            kind: [v.decode() if isinstance(v, bytes) else v for v in result.as_numpy("echo_" + kind.lower()).tolist()]
            for kind in values
        }
        said["id"] = result.get_response()["id"]

try:
    client.infer("scale", inputs)
except InferenceServerException as error:
    said["error"] = [error.status(), error.message()]

async def asynchronous():
    async with aio.InferenceServerClient(sys.argv[1]) as client:
        x = triton.InferInput("x", [1, 2], "FP32")
        x.set_data_from_numpy(np.array([[1, 2]], np.float32))
        results = await asyncio.gather(*(client.infer("scale", [x], model_version="2") for _ in range(3)))
        return [result.as_numpy("y").tolist() for result in results]

said["async"] = asyncio.run(asynchronous())
print(json.dumps(said))
client.close()
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """An interpreter with the clients."""
    try:
        return python_with("foreign-clients.txt")
    except NotInstallable as error:
        pytest.skip(f"the clients cannot be installed here: {error}")


def test_triton_s_http_client(protocols: GatewayProcess, python: Path) -> None:
    said = json.loads(run_client(python, TRITON_HTTP, protocols.url.removeprefix("http://"), json.dumps(VALUES)))
    assert [said[key] for key in ("live", "ready", "model_ready", "canary_ready")] == [True] * 4
    assert [said[key] for key in ("nine_ready", "none_ready")] == [False] * 2
    assert said["server"]["extensions"] == ["binary_tensor_data"]
    assert said["model"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    for form in ("binary None", "binary gzip", "json None", "json gzip"):
        assert said[form] == VALUES, form
    assert said["id"] == "r-1"
    assert said["error"][0] == "400"
    assert said["async"] == [[[2.0, 4.0]]] * 3


TRITON_GRPC = """
import json, sys
import ml_dtypes
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

NUMPY = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16, "FP32": np.float32, "FP64": np.float64, "BYTES": np.object_,
}
client = triton.InferenceServerClient(sys.argv[1])
said = {
    "live": client.is_server_live(), "ready": client.is_server_ready(),
    "server": client.get_server_metadata(as_json=True), "model": client.get_model_metadata("scale", as_json=True),
    "model_ready": client.is_model_ready("scale"), "nine_ready": client.is_model_ready("scale", "9"),
}
values = json.loads(sys.argv[2])
inputs = []
for kind, of in values.items():
    array = np.array([v.encode() for v in of] if kind == "BYTES" else of, NUMPY[kind])
    inputs.append(triton.InferInput(kind.lower(), list(array.shape), kind))
    inputs[-1].set_data_from_numpy(array)
for packing in (None, "gzip"):
    result = client.infer("types", inputs, request_id="r-1", compression_algorithm=packing, client_timeout=20)
    said[str(packing)] = {
        kind: [v.decode() if isinstance(v, bytes) else v for v in result.as_numpy("echo_" + kind.lower()).tolist()]
        for kind in values
    }
said["id"] = result.get_response().id
try:
    client.infer("scale", inputs)
except InferenceServerException as error:
    said["error"] = error.status()
print(json.dumps(said))
client.close()
"""


def test_triton_s_grpc_client(protocols: GatewayProcess, python: Path) -> None:
    said = json.loads(run_client(python, TRITON_GRPC, protocols.grpc, json.dumps(VALUES)))
    assert [said[key] for key in ("live", "ready", "model_ready", "nine_ready")] == [True, True, True, False]
    assert said["server"]["extensions"] == ["binary_tensor_data"]
    assert said["model"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "2"]}]
    assert said["None"] == said["gzip"] == VALUES
    assert said["id"] == "r-1"
    assert said["error"] == "StatusCode.INVALID_ARGUMENT"


KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

def request(binary):
    x = InferInput("x", [1, 2], "FP32")
    x.set_data_from_numpy(np.array([[1.5, 2]], np.float32), binary_data=binary)
    return InferRequest(model_name="scale", infer_inputs=[x], request_id="r-1")

async def main():
    said = {}
    url = sys.argv[1]
    rest = InferenceRESTClient(RESTConfig(protocol="v2"))
    said["rest"] = [
        await rest.is_server_live(url), await rest.is_server_ready(url), await rest.is_model_ready(url, "scale"),
    ]
    for binary in (False, True):
        answer = await rest.infer(url, request(binary), model_name="scale", headers={"x-user": "ada"})
        said[f"rest {binary}"] = [answer.model_version, answer.id, answer.outputs[0].as_numpy().tolist()]
    await rest.close()
    async with InferenceGRPCClient(sys.argv[2]) as grpc:
        said["grpc"] = [await grpc.is_server_live(), await grpc.is_server_ready(), await grpc.is_model_ready("scale")]
        for binary in (False, True):
            answer = await grpc.infer(request(binary), headers=[("x-user", "ada")])
            said[f"grpc {binary}"] = [answer.model_version, answer.id, answer.outputs[0].as_numpy().tolist()]
    print(json.dumps(said))

asyncio.run(main())
"""


def test_kserve_s_sdk(protocols: GatewayProcess) -> None:
    try:
        kserve = python_with("foreign-clients-kserve.txt")
    except NotInstallable as error:
        pytest.skip(f"KServe's SDK cannot be installed here: {error}")
    said = json.loads(run_client(kserve, KSERVE, protocols.url, protocols.grpc))
    assert said["rest"] == said["grpc"] == [True, True, True]
    for form in ("False", "True"):
        assert said[f"rest {form}"][1:] == ["r-1", [[1.5, 2.0]]]
        assert said[f"grpc {form}"] == ["1", "r-1", [[1.5, 2.0]]]


NODE = """
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const [address, proto] = process.argv.slice(1);
const { inference } = grpc.loadPackageDefinition(loader.loadSync(proto, { keepCase: true }));
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("x-user", "ada");
const x = { name: "x", datatype: "FP32", shape: [1, 2], contents: { fp32_contents: [1.5, 2] } };
const ask = (request) => new Promise((done, failed) => {
  const options = { deadline: Date.now() + 20000 };
  client.ModelInfer(request, metadata, options, (error, answer) => (error ? failed(error) : done(answer)));
});
const typed = { binary_data_output: { bool_param: false } };
(async () => {
  for (const model_version of ["", "canary"]) {
    const answer = await ask({ model_name: "scale", model_version, inputs: [x], parameters: typed });
    console.log(answer.model_version, JSON.stringify(answer.outputs[0].contents.fp32_contents));
  }
  await ask({ model_name: "none", inputs: [x] }).catch((error) => console.log(error.code, error.details));
  client.close();
})();
"""
SERVICE = """
service GRPCInferenceService {
  rpc ModelInfer(ModelInferRequest) returns (ModelInferResponse) {}
}
"""


def test_node_s_grpc_client(protocols: GatewayProcess, tmp_path: Path) -> None:
    try:
        folder = node_with("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1")
    except NotInstallable as error:
        pytest.skip(f"the client cannot be installed here: {error}")
    messages = (ROOT / "tfserving" / "wire" / "inference.proto").read_text("utf-8")
    proto = tmp_path / "inference.proto"
    proto.write_text(messages.replace("package tfserving_wire.inference;", "package inference;") + SERVICE)
    told = subprocess.run(
        ["node", "-e", NODE, "--", protocols.grpc, str(proto)],
        capture_output=True, text=True, timeout=120, cwd=folder,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines() == ["1 [1.5,2]", "2 [3,4]", "5 Servable not found for request: Latest(none)"]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    found = [text for kind, text in Page(REFERENCE / page).blocks if kind == language]
    assert found
    return found


def test_the_examples_of_the_page(protocols: GatewayProcess, python: Path) -> None:
    for example in blocks("open-inference.md", "python"):
        here = example.replace("localhost:8080", protocols.url.removeprefix("http://"))
        printed = run_client(python, here.replace("localhost:9000", protocols.grpc))
        assert printed.splitlines() == ["1 [[1.0, 2.0], [3.0, 4.0]]", "2 [[2.0, 4.0], [6.0, 8.0]]"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_lines_of_the_page_of_rest(protocols: GatewayProcess) -> None:
    (script,) = blocks("tfserving-rest.md", "sh")
    told = subprocess.run(
        ["sh", "-c", script.replace("localhost:8080", protocols.url.removeprefix("http://"))],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    decoder, rest, printed = json.JSONDecoder(), told.stdout.strip(), []
    while rest:
        document, end = decoder.raw_decode(rest)
        printed.append(document)
        rest = rest[end:].strip()
    (promised,) = blocks("tfserving-rest.md", "json")
    assert printed == [json.loads(line) for line in promised.splitlines()]


def test_tensorflow_serving_s_own_grpc_classes(protocols: GatewayProcess) -> None:
    """The example of the page, by tensorflow-serving-api of the test group, in a process of its own."""
    pytest.importorskip("tensorflow_serving", reason="the classes come with the test group: tensorflow-serving-api")
    (example,) = blocks("tfserving-grpc.md", "python")
    printed = run_client(Path(sys.executable), example.replace("localhost:9000", protocols.grpc))
    assert printed.splitlines() == ["1 [1.0, 2.0]", "2 [2.0, 4.0]", "1 [2.5]", "{1: 30, 2: 30}"]
