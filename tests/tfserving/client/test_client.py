"""The clients against a running embedded server, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from model_server_process import ENVIRONMENT, model_server

from deployer.tools import ports
from tfserving.client import (
    SOLE_OUTPUT,
    AsyncClient,
    AsyncRestClient,
    Client,
    ModelServerError,
    RestClient,
    TensorSpec,
)
from tfserving.config import ModelConfig, ModelServerConfig, Specific
from tfserving.wire.tensors import TensorError

pytest.importorskip("tensorflow", reason="the embedded server runs models with tensorflow")

MAKE_MODELS = """
import sys, tensorflow as tf
class Scale(tf.Module):
    def __init__(self, factor):
        self.factor = tf.Variable(factor)
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def one(self, x):
        return {"y": x * self.factor}
    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="text"), tf.TensorSpec([None], tf.int64, name="n")]
    )
    def two(self, text, n):
        return {"joined": tf.strings.join([text, tf.strings.as_string(n)]), "n_bytes": tf.strings.join([text])}
for version in (1, 2):
    module = Scale(float(version))
    signatures = {"serving_default": module.one.get_concrete_function(), "two": module.two.get_concrete_function()}
    tf.saved_model.save(module, f"{sys.argv[1]}/m/{version}", signatures=signatures)
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where the server listens, and the directory of its model."""

    grpc: str
    rest: str
    base: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-c", MAKE_MODELS, str(root)], check=True, env=ENVIRONMENT, timeout=120)
    config = ModelConfig(
        name="m",
        base_path=str(root / "m"),
        policy=Specific(versions=(1, 2)),
        labels={"stable": 1, "canary": 2},
    )
    file = root / "models.config"
    file.write_text(ModelServerConfig(models=(config,)).to_text())
    flags = (f"--model_config_file={file}", "--allow_version_labels_for_unavailable_models=true")
    with model_server(root, *flags, "--enable_grpc_healthcheck_service=true", "--num_load_threads=2") as process:
        process.reaches("m", {1: "AVAILABLE", 2: "AVAILABLE"})
        yield Server(grpc=process.grpc, rest=process.rest, base=str(root / "m"))


X = np.array([[1, 2], [3, 4]], np.float32)


def test_grpc_predicts_with_the_version_the_label_or_the_newest(server: Server) -> None:
    with Client(server.grpc) as client:
        for asked, version in (({}, 2), ({"version": 1}, 1), ({"label": "stable"}, 1), ({"label": "canary"}, 2)):
            answer = client.predict("m", {"x": X}, **asked)
            assert (answer.model, answer.version, answer.signature) == ("m", version, "serving_default")
            assert answer.outputs["y"].tolist() == (X * version).tolist()
        texts = {"text": np.array(["a", "ü"], object), "n": np.array([1, 2])}
        only = client.predict("m", texts, signature="two", output_filter=["joined"])
        assert {name: array.tolist() for name, array in only.outputs.items()} == {"joined": [b"a1", "ü2".encode()]}


def test_a_response_larger_than_the_limit_of_grpc_arrives(server: Server) -> None:
    large = np.ones((700_000, 2), np.float32)
    with Client(server.grpc) as client:
        assert client.predict("m", {"x": large}, timeout=60).outputs["y"].shape == large.shape


def test_status_metadata_and_health(server: Server) -> None:
    with Client(server.grpc) as client, RestClient(server.rest) as rest:
        assert [(s.version, s.state, s.code) for s in client.status("m")] == [
            (2, "AVAILABLE", grpc.StatusCode.OK),
            (1, "AVAILABLE", grpc.StatusCode.OK),
        ]
        assert client.status("m", 1) == rest.status("m", 1)
        assert client.status("m") == rest.status("m")
        metadata = client.metadata("m", label="stable")
        assert metadata == rest.metadata("m", label="stable")
        assert metadata.version == 1
        assert sorted(metadata.signatures) == ["serving_default", "two"]
        signature = metadata.signatures["serving_default"]
        assert signature.inputs == {"x": TensorSpec(dtype="float", shape=(-1, 2))}
        assert signature.outputs == {"y": TensorSpec(dtype="float", shape=(-1, 2))}
        assert signature.method == "tensorflow/serving/predict"
        assert client.healthy()
        with pytest.raises(ModelServerError) as caught:
            client.healthy("no.such.Service")
        assert caught.value.code is grpc.StatusCode.NOT_FOUND


def test_rest_predicts_numbers_texts_and_bytes(server: Server) -> None:
    with RestClient(server.rest + "/") as client:
        answer = client.predict("m", {"x": X}, label="stable")
        assert answer.outputs[SOLE_OUTPUT].tolist() == X.tolist()
        assert client.predict("m", {"x": X}, version=2).version == 2
        texts = {"text": np.array(["a", b"ok"], object), "n": np.array([1, 2])}
        both = client.predict("m", texts, signature="two").outputs
        assert both["joined"].tolist() == [b"a1", b"ok2"]
        assert both["n_bytes"].tolist() == [b"a", b"ok"]
        odd = client.predict("m", {"x": np.array([[np.nan, np.inf]], np.float32)})
        assert str(odd.outputs[SOLE_OUTPUT].tolist()) == "[[nan, inf]]"


def test_one_error_type_carries_code_and_text_over_both_ways(server: Server) -> None:
    with Client(server.grpc) as client, RestClient(server.rest) as rest:
        for one in (client, rest):
            with pytest.raises(ModelServerError, match="Servable not found for request") as caught:
                one.predict("absent", {"x": X})
            assert caught.value.code is grpc.StatusCode.NOT_FOUND
            with pytest.raises(ModelServerError, match="Unrecognized servable version label: nope") as caught:
                one.predict("m", {"x": X}, label="nope")
            assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(ValueError, match="a version or a label, not both"):
                one.predict("m", {"x": X}, label="stable", version=1)
    with RestClient(server.rest) as rest, pytest.raises(TensorError, match="carries no half; use gRPC"):
        rest.predict("m", {"x": X.astype(np.float16)})


def test_nobody_there_is_an_error_in_time() -> None:
    (port,) = ports.free(1)
    with Client(f"127.0.0.1:{port}") as client, RestClient(f"http://127.0.0.1:{port}") as rest:
        assert not client.healthy(timeout=1)
        for one in (client, rest):
            with pytest.raises(ModelServerError) as caught:
                one.status("m", timeout=1)
            assert caught.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_a_silent_peer_ends_in_deadline_exceeded() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with Client(address) as client, RestClient(f"http://{address}") as rest:
            for one in (client, rest):
                with pytest.raises(ModelServerError) as caught:
                    one.status("m", timeout=0.3)
                assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_asyncio_clients_return_what_the_blocking_ones_do(server: Server) -> None:
    async def ask() -> None:
        async with AsyncClient(server.grpc) as client, AsyncRestClient(server.rest) as rest:
            one, other = await asyncio.gather(client.predict("m", {"x": X}), rest.predict("m", {"x": X}, version=1))
            assert one.version == 2
            assert other.outputs[SOLE_OUTPUT].tolist() == X.tolist()
            assert await client.status("m") == await rest.status("m")
            assert await client.metadata("m", label="canary") == await rest.metadata("m", label="canary")
            assert await client.healthy()
            for failing in (client.status("absent"), rest.status("absent")):
                with pytest.raises(ModelServerError) as caught:
                    await failing
                assert caught.value.code is grpc.StatusCode.NOT_FOUND

    asyncio.run(ask())


def test_reload_replaces_labels(server: Server) -> None:
    model = ModelConfig(name="m", base_path=server.base, policy=Specific(versions=(1, 2)), labels={"stable": 2})
    with Client(server.grpc) as client:
        client.reload(ModelServerConfig(models=(model,)))
        assert client.predict("m", {"x": X}, label="stable").version == 2
        with pytest.raises(ModelServerError, match="Unrecognized servable version label: canary"):
            client.predict("m", {"x": X}, label="canary")
