"""A model_config for single pods: what the chart's side-car gives its server, and what the deployer writes for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from eventually import eventually
from fake_api import FakeApi
from paths import ROOT

from deployer.errors import TargetError
from deployer.targets.cluster.live_config import LiveConfig
from deployer.targets.cluster.names import NEWCOMER_KEY
from deployer.targets.cluster.objects import Pod
from deployer.targets.cluster.own_configs import OWN_CONFIG, OwnConfigs

SCRIPT = ROOT / "charts/tf-serving/files/model-config.sh"
MODELS = "/api/v1/namespaces/ns/configmaps/models"
PODS = "/api/v1/namespaces/ns/pods"


class Volume:
    """A projected volume as a kubelet keeps it: a link to a folder that is never changed, only replaced."""

    def __init__(self, directory: Path) -> None:
        self.offered = directory / "offered"
        self.followed = directory / "models" / "model.config"
        self.followed.parent.mkdir(parents=True)
        self.looks = directory / "looks"
        """Gets a line whenever the side-car has looked."""
        self.looks.touch()
        self.offered.mkdir()
        self._count = 0

    def offer(self, **files: str) -> None:
        self._count += 1
        generation = self.offered / f"..{self._count}"
        generation.mkdir()
        for name, text in files.items():
            (generation / f"{name}.config").write_text(text)
        link = self.offered / "..data_tmp"
        link.symlink_to(generation.name)
        link.replace(self.offered / "..data")

    def looked(self) -> int:
        """How often the side-car has looked."""
        return len(self.looks.read_text().splitlines())

    def reaches(self, text: str) -> None:
        """Wait until the server is given this text."""
        eventually(lambda: self.followed.exists() and self.followed.read_text() == text, text)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """A volume with the side-car of the chart at work on it."""
    volume = Volume(tmp_path)
    volume.offer(model="release", own="")
    script = SCRIPT.read_text().replace("/etc/tf-serving", str(tmp_path))
    script = script.replace("sleep 1", f"echo >> {volume.looks}; sleep 0.1")
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.DEVNULL) as side_car:
        yield volume
        side_car.terminate()
        assert side_car.wait(timeout=30) == 0


def test_a_pod_follows_its_own_file_before_that_of_newcomers_and_that_before_the_release(volume: Volume) -> None:
    volume.reaches("release")
    volume.offer(model="release", newcomer="newcomer", own="")
    volume.reaches("newcomer")
    volume.offer(model="another release", newcomer="newcomer", own="own")
    volume.reaches("own")
    volume.offer(model="another release", newcomer="newcomer", own="")
    volume.reaches("newcomer")
    volume.offer(model="another release", own="")
    volume.reaches("another release")


def test_a_file_that_is_not_there_for_a_moment_leaves_the_server_what_it_has(volume: Volume) -> None:
    volume.reaches("release")
    volume.offer(own="")
    looks = volume.looked()
    eventually(lambda: volume.looked() >= looks + 2, "the side-car has looked, from beginning to end")
    assert volume.followed.read_text() == "release"


class Namespace:
    """Pods and the models' ConfigMap of one release."""

    def __init__(self) -> None:
        self.fake = FakeApi()
        self.fake.objects[MODELS] = {"metadata": {"name": "models", "resourceVersion": "1"}, "data": {}}
        self.api = self.fake.server()
        newcomer = LiveConfig(self.api, namespace="ns", name="models", key=NEWCOMER_KEY)
        self.own = OwnConfigs(self.api, namespace="ns", newcomer=newcomer, pods=self.pods)

    def start(self, name: str, *, able: bool = True) -> None:
        annotations = {OWN_CONFIG: ""} if able else {}
        meta = {"name": name, "resourceVersion": "1", "annotations": annotations}
        self.fake.objects[f"{PODS}/{name}"] = {"metadata": meta}

    def end(self, name: str) -> None:
        del self.fake.objects[f"{PODS}/{name}"]

    def pods(self) -> list[Pod]:
        return [msgspec.convert(pod, Pod) for path, pod in self.fake.objects.items() if path.startswith(PODS)]


def test_only_the_annotated_pod_follows_another_config() -> None:
    namespace = Namespace()
    namespace.start("a")
    namespace.start("b")
    assert namespace.own.read() == {}
    namespace.own.put("a", "text")
    assert namespace.own.read() == {"a": "text"}
    namespace.own.put("a", None)
    assert namespace.own.read() == {}


def test_what_newcomers_get_leaves_those_that_run_with_what_they_have() -> None:
    namespace = Namespace()
    namespace.start("a")
    namespace.own.put_newcomer("first", release="release")
    namespace.start("b")
    assert namespace.own.read() == {"a": "release", "b": "first"}
    namespace.own.put_newcomer("second", release="another release")
    namespace.start("c")
    assert namespace.own.read() == {"a": "release", "b": "first", "c": "second"}
    assert namespace.own.newcomer() == "second"


def test_without_a_file_for_newcomers_all_follow_the_release_again() -> None:
    namespace = Namespace()
    namespace.start("a")
    namespace.own.put_newcomer("new", release="release")
    namespace.own.put("a", None)
    namespace.own.put_newcomer(None, release="release")
    assert namespace.own.newcomer() is None
    assert namespace.own.read() == {}
    assert NEWCOMER_KEY not in namespace.fake.objects[MODELS]["data"]


def test_a_pod_that_has_gone_needs_no_telling() -> None:
    namespace = Namespace()
    namespace.start("a")
    namespace.start("b")
    namespace.end("a")
    namespace.own.put("a", "text")
    assert namespace.own.read() == {}


def test_pods_that_follow_one_file_together_are_refused_with_the_remedy() -> None:
    namespace = Namespace()
    namespace.start("a")
    namespace.start("b", able=False)
    with pytest.raises(TargetError, match="b and the other pods") as refused:
        namespace.own.require()
    assert "serving.rollout_policy" in refused.value.hint
    namespace.end("b")
    namespace.own.require()
