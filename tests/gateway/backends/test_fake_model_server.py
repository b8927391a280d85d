"""The fake model server of these tests keeps what gateways rely on of a model server, as the embedded one does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from fake_model_server import FakeModelServer
from model_server_process import ENVIRONMENT, model_server
from paths import SUPPORT

from tfserving.client import Client, ModelServerError
from tfserving.config import ModelConfig, ModelServerConfig, Specific
from tfserving.wire.tensors import Array

pytest.importorskip("tensorflow", reason="the embedded server runs models with tensorflow")


def rows(*values: float) -> dict[str, Array]:
    """Rows of one number each, twice."""
    return {"x": np.array([[value] * 2 for value in values], np.float32)}


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("scale")
    argv = [sys.executable, str(SUPPORT / "fake_models.py"), str(folder / "store")]
    subprocess.run(argv, check=True, env=ENVIRONMENT, capture_output=True, timeout=120)
    model = ModelConfig(
        name="scale",
        base_path=str(folder / "store" / "scale"),
        policy=Specific(versions=(1, 2)),
        labels={"stable": 1, "canary": 2},
    )
    (folder / "models.config").write_text(ModelServerConfig(models=(model,)).to_text())
    flags = (f"--model_config_file={folder / 'models.config'}", "--allow_version_labels_for_unavailable_models=true")
    with model_server(folder, *flags) as server:
        yield server.client


@pytest.fixture(scope="module")
def fake() -> Iterator[Client]:
    server = FakeModelServer()
    with Client(server.address) as client:
        yield client
    server.stop()


@pytest.fixture(params=["fake", "embedded"])
def client(request: pytest.FixtureRequest) -> Client:
    """Of a server with versions 1 (stable) and 2 (canary) of `scale`."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Client)
    return found


@pytest.mark.parametrize(
    ("version", "label", "answers"),
    [(None, None, 2), (1, None, 1), (2, None, 2), (None, "stable", 1), (None, "canary", 2)],
)
def test_the_requested_version_responds_and_says_so(
    client: Client, version: int | None, label: str | None, answers: int
) -> None:
    found = client.predict("scale", rows(1, 2.5), version=version, label=label)
    assert (found.model, found.version) == ("scale", answers)
    assert found.outputs["y"].dtype == np.float32
    assert found.outputs["y"].ravel().tolist() == [20 * answers, 50 * answers]


@pytest.mark.parametrize(
    ("version", "label", "code", "text"),
    [
        (7, None, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(scale, 7)"),
        (None, "beta", grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: beta"),
    ],
)
def test_what_is_not_there_is_refused_in_the_same_words(
    client: Client, version: int | None, label: str | None, code: grpc.StatusCode, text: str
) -> None:
    with pytest.raises(ModelServerError) as refused:
        client.predict("scale", rows(1), version=version, label=label)
    assert (refused.value.code, refused.value.message) == (code, text)
    with pytest.raises(ModelServerError) as unknown:
        client.metadata("scale", version=version, label=label)
    assert (unknown.value.code, unknown.value.message) == (code, text)


def test_rows_of_another_width_are_refused(client: Client) -> None:
    with pytest.raises(ModelServerError) as refused:
        client.predict("scale", {"x": np.ones((1, 3), np.float32)})
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.message.startswith("Matrix size-incompatible: In[0]: [1,")


def test_status_and_signature_are_reported_alike(client: Client) -> None:
    assert [(one.version, one.state) for one in client.status("scale")] == [(2, "AVAILABLE"), (1, "AVAILABLE")]
    found = client.metadata("scale", label="stable")
    assert (found.model, found.version) == ("scale", 1)
    signature = found.signatures["serving_default"]
    assert [(name, one.dtype, one.shape) for name, one in signature.inputs.items()] == [("x", "float", (-1, 2))]
    assert [(name, one.dtype, one.shape) for name, one in signature.outputs.items()] == [("y", "float", (-1,))]
