"""`instances` and `inputs` through the gateway are what the model server's own REST API answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from gateway_process import GatewayProcess
from model_server_process import ModelServerProcess, model_server
from paths import SUPPORT

BODIES = [
    '{"instances": [[1, 2, 3], [0.5, 0, 1e3]]}',
    '{"instances": [{"x": [1, 2, 3]}]}',
    '{"inputs": [[1, 2, 3]]}',
    '{"inputs": {"x": [[1, 2, 3]]}}',
    '{"signature_name": "serving_default", "instances": [[1, 2, 3]]}',
    '{"instances": [[NaN, 1, 2]]}',
    '{"instances": [[1, 2, 3]]} trailing',
    '{"instances": [[1, 2]]}',
    '{"instances": [["a", 2, 3]]}',
    '{"instances": [[1, 2, 3], [1, 2]]}',
    '{"instances": [{"y": [1, 2, 3]}]}',
    '{"instances": []}',
    '{"instances": 5}',
    '{"inputs": {"y": 1}}',
    '{"signature_name": 7, "instances": [1]}',
    '{"signature_name": "nope", "instances": [1]}',
    '{"inputs": [[1, 2, 3]], "instances": [[1, 2, 3]]}',
    "{}",
    "[1]",
    "",
    '{"instances": [[1, 2, 3]',
]
PATHS = ["/v1/models/scale/labels/stable", "/v1/models/scale/versions/2", "/v1/models/scale"]
CONFIG = """
model_config_list {{ config {{
  name: "scale" base_path: "{base}" model_platform: "tensorflow"
  model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
  version_labels {{ key: "stable" value: 1 }}
}} }}
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, str]]:
    """The gateway, and the URL of the model server's own REST API behind it."""
    folder = tmp_path_factory.mktemp("parity")
    writer = SUPPORT / "small_store.py"
    subprocess.run([sys.executable, str(writer), str(folder / "store")], check=True, capture_output=True, timeout=120)
    (folder / "models.conf").write_text(CONFIG.format(base=folder / "store" / "scale"))
    flags = (f"--model_config_file={folder / 'models.conf'}", "--allow_version_labels_for_unavailable_models=true")
    with model_server(folder, *flags) as server:
        content = {
            "version": "v1",
            "models": {"scale": {"labels": {"stable": 1}}},
            "backends": {"static": [server.grpc]},
        }
        gateway = GatewayProcess(folder, content, "--drain-seconds", "0")
        yield gateway, server.rest
        assert gateway.stop() == 0


@pytest.mark.parametrize("body", BODIES)
def test_predict_responds_alike(both: tuple[GatewayProcess, str], body: str) -> None:
    gateway, direct = both
    for path in PATHS:
        mine = gateway.post(body, path=path + ":predict")
        theirs = requests.post(direct + path + ":predict", data=body, timeout=30)
        assert mine.status_code == theirs.status_code
        if mine.status_code == 200:
            assert mine.text == theirs.text
        else:
            assert mine.json() == theirs.json()


@pytest.mark.parametrize(
    "path", [*PATHS, *(f"{path}/metadata" for path in PATHS), "/v1/models/scale/versions/7/metadata"]
)
def test_status_and_metadata_respond_alike(both: tuple[GatewayProcess, str], path: str) -> None:
    gateway, direct = both
    mine, theirs = gateway.get(path), requests.get(direct + path, timeout=30)
    assert (mine.status_code, mine.json()) == (theirs.status_code, theirs.json())


@pytest.mark.parametrize("path", ["/v1/models/scale/versions/7", "/v1/models/scale/labels/nope", "/v1/models/nope"])
def test_what_does_not_exist_responds_alike(both: tuple[GatewayProcess, str], path: str) -> None:
    gateway, direct = both
    mine = gateway.post('{"instances": [[1, 2, 3]]}', path=path + ":predict")
    theirs = requests.post(direct + path + ":predict", data='{"instances": [[1, 2, 3]]}', timeout=30)
    assert (mine.status_code, mine.json()) == (theirs.status_code, theirs.json())


EXAMPLES = [
    ("regress", '{"signature_name": "regress", "examples": [{"x": 2.5}, {"x": [4.0]}]}'),
    ("regress", '{"signature_name": "regress", "context": {"x": 1.5}, "examples": [{}]}'),
    ("regress", '{"signature_name": "regress", "examples": [{"x": 2}]}'),
    ("regress", '{"signature_name": "classify", "examples": [{"x": 2.5}]}'),
    ("classify", '{"signature_name": "classify", "examples": [{"x": 2.5}]}'),
    ("classify", '{"signature_name": "nope", "examples": [{"x": 2.5}]}'),
    ("classify", '{"signature_name": 7, "examples": [{"x": 2.5}]}'),
    ("classify", '{"examples": [{"x": 2.5}]}'),
    ("classify", '{"signature_name": "classify", "examples": []}'),
    ("classify", '{"signature_name": "classify", "examples": {}}'),
    ("classify", '{"signature_name": "classify", "examples": [{"x": [1.5, "a"]}]}'),
    ("classify", '{"signature_name": "classify", "examples": [{"x": null}]}'),
    ("classify", '{"signature_name": "classify", "examples": [5]}'),
    ("classify", '{"signature_name": "classify"}'),
    ("classify", ""),
]


@pytest.mark.parametrize(("verb", "body"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_get_the_response_of_the_model_server(
    protocols: GatewayProcess, protocol_server: ModelServerProcess, verb: str, body: str
) -> None:
    path = f"/v1/models/scale/labels/canary:{verb}"
    ours = protocols.post(body, path=path)
    theirs = requests.post(protocol_server.rest + path, data=body, timeout=30)
    assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json())
    assert ours.status_code != 200 or ours.text == theirs.text


def test_examples_go_where_the_weights_say(protocols: GatewayProcess) -> None:
    body = {"signature_name": "regress", "examples": [{"x": 2.5}]}
    for path, version in (("", "1"), ("/labels/canary", "2"), ("/versions/2", "2")):
        answer = protocols.post(body, path=f"/v1/models/scale{path}:regress")
        assert answer.json() == {"results": [2.5 * int(version)]}
        assert answer.headers["x-model-version"] == version
    assert protocols.metric('gateway_requests_total{model="scale",version="1",label="stable",kind="examples"') > 0
