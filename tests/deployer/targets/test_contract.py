"""What rollouts and experiments rely on of a target: a real local release keeps it, and so do the fakes of the tests.

ClusterTarget is held to the same by k8s-tests/cluster.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
import yaml
from eventually import eventually
from fake_gateway import FakeGateway
from fake_release import FakeRelease
from fake_target import FakeTarget

from deployer.errors import TargetError
from deployer.experiment.stages import between, read_stages
from deployer.release import gateway_metrics, local
from deployer.release.render.render import Choice
from deployer.targets import proof
from deployer.targets.base import Rebatchable, ReplicaBatching, Target
from deployer.targets.local.target import LocalTarget
from tfserving.config import BatchingParameters, ModelServerConfig, Specific

DESCRIPTION = "release: contract\nstore: {store}\nmodels: [scale]\nserving: {{replicas: 2, max_load_retries: 0}}\n"


def ignore(_: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def real(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTarget]:
    """Two replicas that serve version 1 of `scale`, and a gateway; every test leaves them so."""
    file = tmp_path_factory.mktemp("contract") / "deployer.yaml"
    file.write_text(DESCRIPTION.format(store=small_store))
    target = local.up(local.UpRequest(file=file, choices={"scale": Choice(versions=(1,))}), ignore).target
    yield target
    target.down(progress=ignore)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A target that serves `model`, and how one record gets to its gateway."""

    target: Rebatchable
    model: str
    record: dict[str, float]

    def predict(self) -> requests.Response:
        """One prediction through the gateway that load is sent to."""
        (url,) = self.target.load_endpoints().gateways
        body = {"version": "v1", "records": [self.record]}
        return requests.post(f"{url}/v1/models/{self.model}:predict", json=body, timeout=30)


@pytest.fixture(params=["fake", "local"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """What an experiment measures."""
    if request.param == "fake":
        with FakeGateway() as gateway:
            target = FakeTarget(gateway, service=0.0)
            target.scale(2, timeout=1, progress=ignore)
            yield Served(target=target, model="digits", record={"x": 7})
    else:
        yield Served(target=request.getfixturevalue("real"), model="scale", record={"a": 1, "b": 1})


def names(target: Target) -> list[str]:
    return [replica.name for replica in target.replicas()]


def test_replicas_are_as_many_as_was_asked_for_and_as_before_in_the_end(served: Served) -> None:
    target = served.target
    assert names(target) == ["replica-0", "replica-1"]
    with suppress(KeyboardInterrupt), target.held(timeout=120, progress=ignore):
        target.scale(1, timeout=120, progress=ignore)
        assert names(target) == ["replica-0"]
        assert served.predict().status_code == 200
        raise KeyboardInterrupt
    assert names(target) == ["replica-0", "replica-1"]
    assert served.predict().status_code == 200


def test_gateways_say_where_they_are_and_what_they_have_counted(served: Served) -> None:
    target = served.target
    assert target.load_endpoints().gateways == tuple(gateway.url for gateway in target.gateways())
    (gateway,) = target.gateways()
    before = read_stages(target, served.model)
    for _ in range(3):
        assert served.predict().status_code == 200
    found = between(before, read_stages(target, served.model))
    assert found.stages_ms["backend"] > 0
    assert target.get(gateway.name, "/nowhere", timeout=5).status == 404


def test_cpu_time_is_that_of_every_process_and_only_grows(served: Served) -> None:
    target = served.target
    before = target.cpu_readings()
    assert before.keys() == {*names(target), *(gateway.name for gateway in target.gateways())}

    def worked() -> bool:  # CPU time is counted in ticks of 10 ms
        served.predict()
        return sum(one.seconds for one in target.cpu_readings().values()) > sum(one.seconds for one in before.values())

    eventually(worked, "the predictions took CPU time")
    after = target.cpu_readings()
    assert after.keys() == before.keys()
    assert all(after[name].seconds >= before[name].seconds for name in before)
    assert all(after[name].at >= before[name].at for name in before)
    assert target.cpu_limit() != ""


def test_batching_is_what_it_was_changed_to_and_can_be_undone(served: Served) -> None:
    target, before = served.target, served.target.batching()
    assert before.parameters is None
    text = BatchingParameters(max_batch_size=2, batch_timeout_micros=500, num_batch_threads=1).to_text()
    wanted = ReplicaBatching(parameters=text, grpc_threads=9, rows_per_call=2)
    target.with_batching(wanted, timeout=120, progress=ignore)
    assert target.batching() == wanted
    assert served.predict().status_code == 200
    target.with_batching(before, timeout=120, progress=ignore)
    assert target.batching() == before
    assert served.predict().status_code == 200


@dataclass(frozen=True, kw_only=True)
class Rolled:
    """A target whose configuration rollouts change.

    `becomes` waits until something holds; `refuses` runs what it is given, and waits until every replica has looked
    twice at a configuration that it refuses; `kill` ends one replica.
    """

    target: Target
    becomes: Callable[[Callable[[], object]], None]
    refuses: Callable[[Callable[[], object]], None]
    kill: Callable[[], str]

    def put(self, *versions: int, **labels: int) -> ModelServerConfig:
        """Configure these versions and labels of the one model."""
        (model,) = ModelServerConfig.parse(self.target.model_config()).models
        wanted = ModelServerConfig(models=(replace(model, policy=Specific(versions=versions), labels=labels),))
        self.target.put_model_config(wanted.to_text())
        return wanted

    def missing(self, wanted: ModelServerConfig) -> list[str]:
        """What replicas do not serve as configured."""
        return [text for name in names(self.target) for text in proof.missing_from(self.target, name, wanted)]

    def served(self, wanted: ModelServerConfig) -> list[tuple[dict[int, str], dict[str, int | None]]]:
        """The versions and labels of every replica."""
        found = [proof.served(self.target, name, wanted)[0] for name in names(self.target)]
        return [(dict(one.versions), dict(one.labels)) for one in found]


def a_fake_one() -> Rolled:
    release = FakeRelease()

    def becomes(holds: Callable[[], object]) -> None:
        for _ in range(10):
            if holds():
                return
            release.sleep(1)
        raise AssertionError("not in ten seconds of the fake's own time")

    def refuses(act: Callable[[], object]) -> None:
        act()
        release.sleep(1)
        release.sleep(1)

    def kill() -> str:
        release.kill_replica()
        return "replica-0"

    return Rolled(target=release, becomes=becomes, refuses=refuses, kill=kill)


def the_real_one(target: LocalTarget) -> Rolled:
    def refusals(name: str) -> int:
        return target.layout.log(name).read_text(errors="replace").count("Failed to read or apply ModelServerConfig")

    def refuses(act: Callable[[], object]) -> None:
        before = {name: refusals(name) for name in names(target)}
        act()
        eventually(lambda: all(refusals(name) >= count + 2 for name, count in before.items()), "two refusals")

    def kill() -> str:
        victim = target.replicas()[0]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        eventually(lambda: not target.replicas()[0].alive, "it is dead")
        return victim.name

    def becomes(holds: Callable[[], object]) -> None:
        eventually(holds, "the target as it is configured")

    return Rolled(target=target, becomes=becomes, refuses=refuses, kill=kill)


@pytest.fixture(params=["fake", "local"])
def rolled(request: pytest.FixtureRequest) -> Rolled:
    """What a rollout moves: version 1 is stable."""
    return a_fake_one() if request.param == "fake" else the_real_one(request.getfixturevalue("real"))


def test_what_is_put_is_what_is_read_and_what_every_replica_comes_to_serve(rolled: Rolled) -> None:
    wanted = rolled.put(1, 2, stable=1)
    assert ModelServerConfig.parse(rolled.target.model_config()) == wanted
    rolled.becomes(lambda: not rolled.missing(wanted))
    assert rolled.served(wanted) == [({1: "AVAILABLE", 2: "AVAILABLE"}, {"stable": 1})] * 2
    back = rolled.put(1, stable=1)
    rolled.becomes(lambda: all(versions.get(2, "END") == "END" for versions, _ in rolled.served(back)))
    assert not rolled.missing(back)


def test_a_label_moves_to_what_is_loaded_only_and_a_configuration_that_moves_it_sooner_is_refused_whole(
    rolled: Rolled,
) -> None:
    wanted = ModelServerConfig.parse(rolled.target.model_config())
    rolled.refuses(lambda: rolled.put(1, 2, stable=2))
    for versions, labels in rolled.served(wanted):
        assert versions[1] == "AVAILABLE"
        assert versions.get(2, "END") == "END"
        assert labels == {"stable": 1}
    both = rolled.put(1, 2, stable=1)
    rolled.becomes(lambda: not rolled.missing(both))
    moved = rolled.put(1, 2, stable=2)
    rolled.becomes(lambda: not rolled.missing(moved))
    again = rolled.put(1, 2, stable=1)
    rolled.becomes(lambda: not rolled.missing(again))
    alone = rolled.put(1, stable=1)
    rolled.becomes(lambda: not rolled.missing(alone))


def test_a_version_that_is_not_served_is_not_asked(rolled: Rolled) -> None:
    target = rolled.target
    for name in names(target):
        body = b'{"instances": [[1, 2, 3]]}'
        assert target.post(name, "/v1/models/scale/versions/1:predict", body, timeout=30).status == 200
        assert target.get(name, "/v1/models/scale/versions/7/metadata", timeout=30).status == 404


def test_gateways_follow_their_configuration_and_count_by_label(rolled: Rolled) -> None:
    target, before = rolled.target, rolled.target.gateway_config()
    document = yaml.safe_load(before)
    document["models"]["scale"]["labels"] = {"stable": 1, "canary": 1}
    document["models"]["scale"]["routing"] = {"weights": {"stable": 60, "canary": 40}}
    target.put_gateway_config(yaml.safe_dump(document))
    text = target.gateway_config()
    assert yaml.safe_load(text)["models"]["scale"]["routing"]["weights"] == {"stable": 60, "canary": 40}
    (gateway,) = target.gateways()
    rolled.becomes(lambda: not proof.not_following(target, gateway.name, text))
    target.put_gateway_config(before)
    rolled.becomes(lambda: not proof.not_following(target, gateway.name, target.gateway_config()))
    assert gateway_metrics.read(target, "scale").silent == frozenset()


def test_a_replica_that_has_ended_is_reported_so(rolled: Rolled) -> None:
    """Last in this module: the local release is not repaired."""
    target = rolled.target
    name = rolled.kill()
    assert [replica.alive for replica in target.replicas()] == [False, True]
    with pytest.raises(TargetError):
        target.get(name, "/v1/models/scale", timeout=10)
    assert target.get("replica-1", "/v1/models/scale", timeout=10).status == 200
