"""Versions that come and go, labels, reloads, failing loads, and the end of the process."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec

import grpc
import numpy as np
import pytest
from eventually import eventually
from gated_model import GatedModel
from model_server_process import ModelServerProcess, RunToExit, Start, is_open
from tfrecords import framed

from deployer.tools import ports
from tfserving.client import Client, ModelServerError
from tfserving.config import All, Latest, ModelConfig, ModelServerConfig, Specific
from tfserving.wire import messages_pb2 as m
from tfserving.wire.tensors import to_proto

P = ParamSpec("P")
X = {"x": np.array([2], np.float32)}


def publish(models: Path, version: int, base: Path, number: int) -> Path:
    """Copy a version as the toolkit publishes: beside its place, then one rename."""
    staging = base / f".staging-{number}"
    shutil.copytree(models / "scale" / str(version), staging)
    return staging.rename(base / str(number))


def config(name: str, base: Path, policy: All | Latest | Specific | None = None, **labels: int) -> ModelServerConfig:
    model = ModelConfig(name=name, base_path=str(base), policy=policy or All(), labels=labels)
    return ModelServerConfig(models=(model,))


@pytest.fixture(scope="module")
def server(start: Start, models: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelServerProcess:
    return start(
        "--model_name=first",
        f"--model_base_path={models}/scale",
        "--allow_version_labels_for_unavailable_models",
        "--max_num_load_retries=2",
        "--load_retry_interval_micros=400000",
        "--num_load_threads=2",
        "--num_unload_threads=1",
    )


def failure(function: Callable[P, object], *arguments: P.args, **options: P.kwargs) -> ModelServerError:
    with pytest.raises(ModelServerError) as caught:
        function(*arguments, **options)
    return caught.value


def answer(client: Client, model: str, label: str | None = None) -> float:
    return float(client.predict(model, X, label=label).outputs["y"][0])


def test_a_new_version_replaces_the_old_one_without_a_failed_request(
    server: ModelServerProcess, models: Path, tmp_path: Path
) -> None:
    publish(models, 1, tmp_path, 1)
    server.client.reload(ModelServerConfig(models=(ModelConfig(name="swap", base_path=str(tmp_path)),)))
    seen, done = [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            seen.append(answer(server.client, "swap"))

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        publish(models, 2, tmp_path, 2)
        server.reaches("swap", {1: "END", 2: "AVAILABLE"})
        done.set()
        for one in asking:
            one.result()
    assert set(seen) == {11, 21}
    shutil.rmtree(tmp_path / "2")
    server.reaches("swap", {1: "AVAILABLE", 2: "END"})
    assert answer(server.client, "swap") == 11


def test_labels_move_only_to_versions_that_are_loaded(server: ModelServerProcess, models: Path, tmp_path: Path) -> None:
    publish(models, 1, tmp_path, 1)
    publish(models, 2, tmp_path, 2)
    one, both = Specific(versions=(1,)), Specific(versions=(1, 2))
    client = server.client
    client.reload(config("canary", tmp_path, one, stable=1))
    refused = failure(client.reload, config("canary", tmp_path, both, stable=2))
    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
    assert answer(client, "canary", label="stable") == 11
    client.reload(config("canary", tmp_path, both, stable=1))
    server.reaches("canary", {1: "AVAILABLE", 2: "AVAILABLE"})
    client.reload(config("canary", tmp_path, both, stable=1, canary=2))
    assert (answer(client, "canary", label="stable"), answer(client, "canary", label="canary")) == (11, 21)
    client.reload(config("canary", tmp_path, both, stable=2))
    assert answer(client, "canary", label="stable") == 21
    assert "Unrecognized servable version label" in failure(answer, client, "canary", label="canary").message


def test_a_server_without_any_model_knows_no_label_until_it_is_given_some(
    start: Start, models: Path, tmp_path: Path
) -> None:
    blank = tmp_path / "models.config"
    blank.write_text("# none yet\n")
    client = start(f"--model_config_file={blank}").client
    unknown = failure(answer, client, "late", label="stable")
    assert (unknown.code.name, unknown.message) == ("UNAVAILABLE", "Model labels does not init yet.stable")
    client.reload(config("late", models / "scale"))
    assert "Unrecognized servable version label" in failure(answer, client, "late", label="stable").message
    assert answer(client, "late") == 31


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('model_type: TENSORFLOW model_platform: "tensorflow"', "Illegal setting both ModelServerConfig::model_type "),
        ("", "Illegal setting neither ModelServerConfig::model_type "),
        ("model_type: OTHER", "ModelServerConfig::model_type choice 2 not supported."),
    ],
)
def test_a_model_needs_one_platform(run_to_exit: RunToExit, tmp_path: Path, field: str, text: str) -> None:
    file = tmp_path / "models.config"
    file.write_text(f'model_config_list {{ config {{ name: "m" base_path: "/m" {field} }} }}')
    code, output = run_to_exit(f"--model_config_file={file}", "--port=1")
    assert (code, text in output) == (255, True), output


def test_a_corrupt_version_never_replaces_the_one_that_serves(
    server: ModelServerProcess, models: Path, tmp_path: Path
) -> None:
    publish(models, 1, tmp_path, 1)
    server.client.reload(ModelServerConfig(models=(ModelConfig(name="bad", base_path=str(tmp_path)),)))
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"not a saved model \x00\xff" * 20)
    server.reaches("bad", {1: "AVAILABLE", 2: "END"})
    newest = server.client.status("bad", 2)[0]
    assert newest.code is grpc.StatusCode.DATA_LOSS
    assert newest.message == f"Can't parse {tmp_path}/2/saved_model.pb as binary proto"
    assert answer(server.client, "bad") == 11
    server.client.reload(ModelServerConfig(models=()))
    server.reaches("bad", {1: "END", 2: "END"})
    assert failure(answer, server.client, "bad").code is grpc.StatusCode.NOT_FOUND


def test_a_version_that_is_completed_between_two_attempts_loads(
    server: ModelServerProcess, models: Path, tmp_path: Path
) -> None:
    publish(models, 1, tmp_path, 1)
    server.client.reload(ModelServerConfig(models=(ModelConfig(name="late", base_path=str(tmp_path)),)))
    (tmp_path / "2").mkdir()
    server.reaches("late", {1: "AVAILABLE", 2: "LOADING"})
    shutil.copytree(models / "scale" / "2", tmp_path / "2", dirs_exist_ok=True)
    server.reaches("late", {1: "END", 2: "AVAILABLE"})


def records(*values: np.ndarray) -> bytes:
    """A TFRecord file of Predict warm-up records, written by tensorflow's own rules."""
    out = b""
    for value in values:
        log = m.PredictionLog()
        log.predict_log.request.inputs["x"].CopyFrom(to_proto(value))
        out += framed(log.SerializeToString())
    return out


def test_a_failing_warm_up_record_keeps_a_version_from_serving(
    server: ModelServerProcess, models: Path, tmp_path: Path
) -> None:
    for number, value in ((1, np.ones(1, np.float32)), (2, np.ones(1, np.int32))):
        staging = tmp_path / f".staging-{number}"
        shutil.copytree(models / "scale" / str(number), staging)
        (staging / "assets.extra").mkdir()
        (staging / "assets.extra" / "tf_serving_warmup_requests").write_bytes(records(value))
        staging.rename(tmp_path / str(number))
    server.client.reload(config("warm", tmp_path, Specific(versions=(1,))))
    server.client.reload(config("warm", tmp_path, Specific(versions=(1, 2))))
    server.reaches("warm", {1: "AVAILABLE", 2: "END"})
    assert server.client.status("warm", 2)[0].message.endswith("to be float but int32 is provided")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('config { name: "a" base_path: "relative" model_platform: "tensorflow" }', "to have an absolute path"),
        ('config { name: "a" base_path: "/a" model_platform: "x" }', "requests unsupported platform x"),
    ],
)
def test_a_wrong_configuration_ends_the_start(run_to_exit: RunToExit, tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "models.config"
    file.write_text(f"model_config_list {{ {text} }}")
    code, printed = run_to_exit("--port=1", f"--model_config_file={file}")
    assert code == 255
    assert "Failed to start server. Error: INVALID_ARGUMENT: " in printed
    assert error in printed


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_ends_the_start(run_to_exit: RunToExit, models: Path, port: int) -> None:
    code, output = run_to_exit("--model_name=scale", f"--model_base_path={models}/scale", f"--port={port}")
    assert code == 255
    assert f"Cannot listen on 0.0.0.0:{port}" in output
    assert "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server" in output


def test_a_rest_port_that_is_none_leaves_grpc_to_serve(models: Path, tmp_path: Path) -> None:
    (port,) = ports.free(1)
    flags = ["--model_name=scale", f"--model_base_path={models}/scale", f"--port={port}", "--rest_api_port=-1"]
    flags.append("--grpc_channel_arguments=odd.argument=2,other=--5,huge=99999999999,grpc.max_connection_age_ms=60000")
    log = tmp_path / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen([sys.executable, "-m", "tfserving.server", *flags], stdout=output, stderr=output) as process,
    ):
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                grpc.channel_ready_future(channel).result(60)
            with Client(f"127.0.0.1:{port}") as client:
                assert answer(client, "scale") == 31
        finally:
            process.terminate()
    assert "Failed to start HTTP Server at localhost:-1" in log.read_text()
    assert "The channel argument odd.argument has no effect here" in log.read_text()
    assert "max_connection_age_ms has no effect" not in log.read_text()


def test_a_model_that_cannot_load_ends_the_start(run_to_exit: RunToExit, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"not a saved model \x00\xff" * 20)
    code, printed = run_to_exit("--port=1", f"--model_base_path={tmp_path}", "--max_num_load_retries=0")
    assert code == 255
    assert "UNKNOWN: 1 servable(s) did not become available: {{{name: default version: 1} due to error: " in printed


def test_the_server_says_what_it_is(run_to_exit: RunToExit) -> None:
    code, printed = run_to_exit("--version")
    assert code == 0
    assert "TensorFlow ModelServer: embedded" in printed
    assert "TensorFlow Library: 2." in printed


def test_a_signal_ends_the_wait_for_a_model_that_never_comes(tmp_path: Path) -> None:
    flags = ["--port=1", "--model_name=absent", f"--model_base_path={tmp_path}/absent"]
    with subprocess.Popen([sys.executable, "-m", "tfserving.server", *flags], stderr=subprocess.PIPE, text=True) as it:
        assert it.stderr is not None
        while "Could not find base path" not in it.stderr.readline():
            assert it.poll() is None
        it.terminate()
        assert it.wait(20) == 255


def test_the_runtime_leaves_pythons_own_libraries_alone() -> None:
    """TensorFlow's symbols once replaced OpenSSL's, and the next import of ssl or hashlib crashed."""
    code = "from tfserving.server.execution import runtime; runtime.version(); import ssl, hashlib, secrets"
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == 0


def test_sigterm_finishes_what_was_accepted_and_exits_0(start: Start, models: Path, gate: GatedModel) -> None:
    server = start("--model_name=gated", f"--model_base_path={models}/gated", "--grpc_max_threads=16")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(server.client.predict, "gated", gate.inputs(1), timeout=120)
        gate.holds_a_call()
        server.terminate()
        eventually(lambda: not is_open(server.port), "nobody is let in any more")
        assert not held.done()
        gate.open()
        assert held.result().outputs["y"].tolist() == [1]
    assert server.process.wait(30) == 0
    assert failure(server.client.predict, "gated", X, timeout=2).code is grpc.StatusCode.UNAVAILABLE
