"""A release as processes here: real model servers and a real gateway, on real sockets."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import requests
import yaml
from eventually import eventually
from processes import running_from

from deployer.errors import SpecError, TargetError, ToolError, WaitTimeout
from deployer.release.status import status
from deployer.targets import proof
from deployer.targets.base import GatewayReplica, Replica, ReplicaBatching
from deployer.targets.local.container import Container
from deployer.targets.local.state import Engine
from deployer.targets.local.target import LocalRelease, LocalTarget
from deployer.tools.running import Running
from gateway.settings import settings_hash
from tfserving.client import Client, ModelServerError
from tfserving.config import BatchingParameters, ModelConfig, ModelServerConfig, Specific

TIMEOUT = 60


def silent(_: str) -> None:
    pass


def model_config(store: Path, *, versions: Sequence[int] = (1, 2), **labels: int) -> str:
    policy = Specific(versions=tuple(versions))
    scale = ModelConfig(name="scale", base_path=str(store / "scale"), policy=policy, labels=labels)
    return ModelServerConfig(models=(scale,)).to_text()


def gateway_config(store: Path, **labels: int) -> str:
    spec = yaml.safe_load((store / "scale" / "1" / "assets.extra" / "features.yaml").read_text())
    model = {
        "labels": labels,
        "routing": {"weights": {"stable": 100}},
        "specs": {str(version): spec for version in (1, 2)},
    }
    return yaml.safe_dump({"version": "v1", "models": {"scale": model}, "backends": {"static": ["127.0.0.1:1"]}})


def release(store: Path, **changes: Any) -> LocalRelease:
    wanted = LocalRelease(
        name="small",
        engine=Engine.EMBEDDED,
        replicas=2,
        server_flags={"allow_version_labels_for_unavailable_models": True, "num_load_threads": 2},
        files={
            "models.config": model_config(store, stable=1, canary=2),
            "gateway.yaml": gateway_config(store, stable=1, canary=2),
        },
    )
    return replace(wanted, **changes)


def answers(target: LocalTarget, path: str = "/v1/models/scale") -> list[float]:
    """What the gateway answers to one record by label stable, and then to the same by label canary."""
    body = {"version": "v1", "records": [{"a": 1, "b": 2}]}
    url = target.gateways()[0].url
    found = [
        requests.post(f"{url}{path}/labels/{label}:predict", json=body, timeout=10) for label in ("stable", "canary")
    ]
    assert [answer.status_code for answer in found] == [200, 200], [answer.text for answer in found]
    return [answer.json()["predictions"][0]["value"] for answer in found]


def server_flags(target: LocalTarget) -> object:
    """The flags that its replicas run with."""
    state = target.layout.read()
    assert state is not None
    return state.server_flags


def pids(target: LocalTarget) -> list[int]:
    running: list[Replica | GatewayReplica] = [*target.replicas(), *target.gateways()]
    return [one.pid for one in running if one.pid is not None]


@pytest.fixture(scope="module")
def target(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTarget]:
    """Two replicas of half a CPU each and a gateway, for all tests that leave them as they found them."""
    target = LocalTarget(tmp_path_factory.mktemp("local"))
    target.up(release(small_store, cpus=0.5), timeout=TIMEOUT, progress=silent)
    yield target
    target.down(progress=silent)


def test_every_replica_serves_what_is_configured_and_the_gateway_responds(target: LocalTarget) -> None:
    assert [replica.name for replica in target.replicas()] == ["replica-0", "replica-1"]
    assert all(replica.alive and replica.cpus == 0.5 for replica in target.replicas())
    found = status(target)
    assert found.missing == ()
    for replica in found.replicas:
        assert replica.served[0].versions == {1: "AVAILABLE", 2: "AVAILABLE"}
        assert replica.served[0].labels == {"stable": 1, "canary": 2}
    assert answers(target) == [3.0, 6.0]


def test_up_again_changes_nothing(target: LocalTarget, small_store: Path) -> None:
    before = pids(target)
    target.up(release(small_store, cpus=0.5), timeout=TIMEOUT, progress=silent)
    assert pids(target) == before


def test_cpu_is_counted_per_process_and_the_limit_is_named(target: LocalTarget) -> None:
    before = target.cpu_readings()
    assert before.keys() == {"replica-0", "replica-1", "gateway-0"}
    for _ in range(20):
        answers(target)
    after = target.cpu_readings()
    assert after["gateway-0"].seconds > before["gateway-0"].seconds
    assert target.cpu_limit() != "none"


def test_a_new_gateway_configuration_is_followed(target: LocalTarget) -> None:
    before = target.gateway_config()
    document = yaml.safe_load(before)
    document["models"]["scale"]["routing"]["weights"] = {"stable": 1, "canary": 1}
    document["backends"] = {"static": ["127.0.0.1:1"]}
    target.put_gateway_config(yaml.safe_dump(document))
    text = target.gateway_config()
    assert yaml.safe_load(text)["backends"]["static"] == [replica.grpc for replica in target.replicas()]
    eventually(lambda: not proof.not_following(target, "gateway-0", text), "the gateway follows")
    assert status(target).weights == {"scale": {"stable": 50.0, "canary": 50.0}}
    target.put_gateway_config(before)
    eventually(lambda: not proof.not_following(target, "gateway-0", target.gateway_config()), "it follows again")


def test_a_new_model_config_is_polled_by_every_replica(target: LocalTarget, small_store: Path) -> None:
    config = ModelServerConfig.parse(model_config(small_store, stable=2, canary=2))
    target.put_model_config(config.to_text())
    names = [replica.name for replica in target.replicas()]
    eventually(lambda: not any(proof.missing_from(target, name, config) for name in names), "all follow")
    target.put_model_config(model_config(small_store, stable=1, canary=2))
    eventually(lambda: all(proof.missing_from(target, name, config) for name in names), "all follow again")


@pytest.mark.parametrize("put", ["put_model_config", "put_gateway_config"])
def test_a_configuration_that_cannot_be_read_is_refused(target: LocalTarget, put: str) -> None:
    with pytest.raises(SpecError, match=r"cannot be|is invalid"):
        getattr(target, put)("model_config_list: [")


def test_a_replica_killed_under_load_costs_no_request_and_is_replaced(target: LocalTarget, small_store: Path) -> None:
    failed: list[str] = []
    answered: list[str] = []
    stop = threading.Event()
    url = f"{target.gateways()[0].url}/v1/models/scale:predict"

    def load() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                reply = session.post(url, json={"version": "v1", "records": [{"a": 1, "b": 1}]}, timeout=20)
                (answered if reply.status_code == 200 else failed).append(reply.text)

    clients = [threading.Thread(target=load) for _ in range(3)]
    for client in clients:
        client.start()
    eventually(lambda: len(answered) > 20, "load")
    victim = target.replicas()[0]
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    seen = len(answered)
    eventually(lambda: len(answered) > seen + 60, "responses without the replica")
    stop.set()
    for client in clients:
        client.join(timeout=30)
    assert failed == []
    assert [replica.alive for replica in target.replicas()] == [False, True]
    assert any("replica-0" in problem and "ended" in problem for problem in status(target).missing)
    target.up(release(small_store, cpus=0.5), timeout=TIMEOUT, progress=silent)
    assert all(replica.alive for replica in target.replicas())
    assert target.replicas()[0].pid != victim.pid
    assert status(target).missing == ()


def test_scaling_is_known_to_the_gateway(target: LocalTarget) -> None:
    for count in (1, 2):
        target.scale(count, timeout=TIMEOUT, progress=silent)
        assert len(target.replicas()) == count
        routes = requests.get(f"{target.gateways()[0].admin}/routes", timeout=5).json()
        assert routes["config"]["hash"] == settings_hash(target.gateway_config())
        assert [backend["address"] for backend in routes["backends"]] == [r.grpc for r in target.replicas()]
        assert answers(target) == [3.0, 6.0]
    with pytest.raises(TargetError, match="at least one replica"):
        target.scale(0, timeout=TIMEOUT, progress=silent)


def test_batching_is_changed_replica_by_replica_and_undone(target: LocalTarget, small_store: Path) -> None:
    before, flags = target.batching(), server_flags(target)
    assert before.parameters is None
    url, stop = f"{target.gateways()[0].url}/v1/models/scale:predict", threading.Event()
    lost: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            reply = requests.post(url, json={"version": "v1", "records": [{"a": 1, "b": 1}] * 3}, timeout=20)
            if reply.status_code != 200:
                lost.append(reply.text)

    client = threading.Thread(target=ask)
    client.start()
    text = BatchingParameters(max_batch_size=2, batch_timeout_micros=500, num_batch_threads=1).to_text()
    wanted = ReplicaBatching(parameters=text, grpc_threads=9, rows_per_call=2)
    target.with_batching(wanted, timeout=TIMEOUT, progress=silent)
    assert target.batching() == wanted
    for replica in target.replicas():
        with Client(replica.grpc) as direct:
            assert direct.predict("scale", {"x": np.ones((2, 3), np.float32)}, timeout=10).outputs["y"].shape == (2, 1)
            with pytest.raises(ModelServerError, match="2"):
                direct.predict("scale", {"x": np.ones((3, 3), np.float32)}, timeout=10)
    target.with_batching(before, timeout=TIMEOUT, progress=silent)
    stop.set()
    client.join(30)
    assert lost == []
    assert target.batching() == before
    assert server_flags(target) == flags
    running = pids(target)
    target.up(release(small_store, cpus=0.5), timeout=TIMEOUT, progress=silent)
    assert pids(target) == running, "nothing is left that up would have to correct"


def test_a_stand_in_binary_serves_with_the_same_flags(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "bin" / "tensorflow_model_server"
    binary.parent.mkdir()
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} -m tfserving.server "$@"\n')
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{binary.parent}{os.pathsep}{os.environ['PATH']}")
    target = LocalTarget(tmp_path / "state")
    wanted = release(small_store, engine=Engine.BINARY, replicas=1)
    target.up(wanted, timeout=TIMEOUT, progress=silent)
    assert answers(target) == [3.0, 6.0]
    processes = [Running.of(pid) for pid in pids(target)]
    assert set(target.down(progress=silent)) == {"gateway-0", "replica-0"}
    assert not any(process.alive() for process in processes)
    assert running_from(tmp_path) == []
    assert target.down(progress=silent) == ()
    assert "tfserving.server" in target.layout.log("replica-0").read_text()


DOCKER = """#!/bin/sh
echo "$*" >> {calls}
case "$1" in
  info) echo 28.0 ;;
  rm|update) ;;
  inspect) echo 0 ;;
  run) while [ "$1" != example.com/serving:2.20.0 ]; do shift; done; shift; exec {python} -m tfserving.server "$@" ;;
esac
"""


def test_a_container_serves_with_the_same_flags_and_is_removed(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, calls = tmp_path / "bin" / "docker", tmp_path / "calls"
    program.parent.mkdir()
    program.write_text(DOCKER.format(calls=calls, python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    target = LocalTarget(tmp_path / "state")
    container = Container(image="example.com/serving:2.20.0", entry_point="/bin/server", mounts=(str(small_store),))
    wanted = release(small_store, engine=Engine.DOCKER, replicas=1, container=container, cpus=0.5)
    target.up(wanted, timeout=TIMEOUT, progress=silent)
    assert answers(target) == [3.0, 6.0]
    assert target.cpu_limit() == "docker 0.5 CPU"
    assert target.down(progress=silent) == ("gateway-0", "replica-0")
    said = [line.split() for line in calls.read_text().splitlines()]
    name = "deployer-small-replica-0"
    assert [words[0] for words in said] == ["info", "rm", "run", "update", "inspect", "rm"]
    assert said[3] == ["update", "--cpus=0.5", name]
    assert said[-1][-1] == name
    run = said[2]
    port = target.layout.log("replica-0").name and next(w for w in run if w.startswith("--port=")).partition("=")[2]
    assert f"127.0.0.1:{port}:{port}" in run
    assert {f"{small_store}:{small_store}:ro", f"{tmp_path}/state/config:{tmp_path}/state/config:ro"} <= set(run)
    assert run[run.index("--entrypoint") + 1] == "/bin/server"
    assert {"--read-only", "--init", "--rm"} <= set(run)
    assert running_from(tmp_path) == []


def test_an_absent_binary_is_named(small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="tensorflow_model_server is not on PATH"):
        LocalTarget(tmp_path).up(release(small_store, engine=Engine.BINARY), timeout=TIMEOUT, progress=silent)
    with pytest.raises(TargetError, match="no release is running"):
        LocalTarget(tmp_path).replicas()


def test_a_gateway_port_in_use_is_named_and_nothing_is_left(small_store: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TargetError, match=f"port {port} is in use"):
            LocalTarget(tmp_path).up(
                release(small_store, replicas=1, gateway_port=port), timeout=TIMEOUT, progress=silent
            )
    assert running_from(tmp_path) == []


def test_a_gateway_serves_grpc_where_that_is_wanted_and_is_replaced_when_that_changes(
    small_store: Path, tmp_path: Path
) -> None:
    target = LocalTarget(tmp_path)
    try:
        target.up(release(small_store, replicas=1, grpc_port=0), timeout=TIMEOUT, progress=silent)
        (first,) = target.gateways()
        with Client(first.grpc) as client:
            assert {entry.version for entry in client.status("scale")} == {1, 2}
        target.up(release(small_store, replicas=1, grpc_port=0), timeout=TIMEOUT, progress=silent)
        assert target.gateways() == (first,)
        target.up(release(small_store, replicas=1), timeout=TIMEOUT, progress=silent)
        (second,) = target.gateways()
        assert (second.grpc, second.pid != first.pid) == ("", True)
    finally:
        target.down(progress=silent)


def test_a_server_that_ends_at_once_shows_its_last_words(small_store: Path, tmp_path: Path) -> None:
    flags = {"ssl_config_file": str(tmp_path / "absent")}
    with pytest.raises(TargetError, match="replica-0 exited during startup") as caught:
        LocalTarget(tmp_path).up(release(small_store, server_flags=flags), timeout=TIMEOUT, progress=silent)
    assert "ssl.config; No such file" in caught.value.cause
    assert "replica-0.log" in caught.value.hint


def test_a_start_that_takes_too_long_is_undone(small_store: Path, tmp_path: Path) -> None:
    files = {**release(small_store).files, "models.config": model_config(small_store, versions=(1, 9), stable=1)}
    with pytest.raises(WaitTimeout, match="replica-0 is not ready: "):
        LocalTarget(tmp_path).up(release(small_store, files=files, replicas=1), timeout=3, progress=silent)
    assert running_from(tmp_path) == []


def test_state_of_a_foreign_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"release": 1}')
    with pytest.raises(TargetError, match="not the state of a local release"):
        LocalTarget(tmp_path).replicas()


def test_two_deployers_do_not_change_one_release_at_once(small_store: Path, tmp_path: Path) -> None:
    target = LocalTarget(tmp_path)
    with target.layout.locked(), pytest.raises(TargetError, match="another deployer"):
        target.up(release(small_store), timeout=1, progress=silent)


def test_down_does_not_stop_an_unrelated_process_that_got_the_pid(small_store: Path, tmp_path: Path) -> None:
    target = LocalTarget(tmp_path)
    target.layout.directory.mkdir(exist_ok=True)
    stale = {"name": "replica-0", "pid": os.getpid(), "started": "1", "argv": [], "http_port": 1}
    state = {"release": "small", "engine": "embedded", "server_flags": [], "replicas": [stale]}
    target.layout.state.write_bytes(msgspec.json.encode(state))
    assert target.down(progress=silent) == ()
