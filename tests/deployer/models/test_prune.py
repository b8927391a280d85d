"""Pruning never takes a version that something uses: what is served, labelled, rolled out, or gone back to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from storage_process import running, say_nothing
from stored_versions import publish

from deployer.cli.__main__ import main
from deployer.domain.history import History, Past
from deployer.errors import TargetError
from deployer.models import prune
from deployer.release.in_use import of_cluster_releases
from deployer.targets.cluster.api import ApiServer
from deployer.targets.cluster.objects import ConfigMap, Meta
from deployer.targets.history import FileHistory, encode
from deployer.targets.storage.layout import ModelStore

CONFIG = """
model_config_list { config {
  name: "loan" base_path: "/models/loan" model_platform: "tensorflow"
  model_version_policy { specific { versions: 3 versions: 4 } }
  version_labels { key: "stable" value: 4 }
} }
"""


def promoted(previous: int, to: int) -> History:
    return History(past=(Past(id="1", started=0, ended=1, who="ada", previous=previous, to=to, outcome="promoted"),))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for version in range(1, 7):
        publish(tmp_path / "store", version)
    return tmp_path / "store"


def test_what_the_local_release_serves_and_would_go_back_to_stays(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / ".deployer" / "demo"
    (state / "config").mkdir(parents=True)
    (state / "config" / "models.config").write_text(CONFIG)
    FileHistory(state / "rollouts").write("loan", promoted(previous=2, to=4))
    (tmp_path / "deployer.yaml").write_text("release: demo\nstore: store\nmodels: [loan]\n")
    monkeypatch.chdir(tmp_path)
    assert main(["models", "prune", "loan", "--store", "store", "--keep", "1", "-q"]) == 0
    text = capsys.readouterr().out
    assert "kept version 2: rollback target of release demo" in text
    assert "kept version 3: served by release demo" in text
    assert "kept version 4: label stable of release demo" in text
    assert ModelStore(root=store, model="loan").versions() == (2, 3, 4, 6)


def test_a_release_of_another_store_protects_nothing_here(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deployer.yaml").write_text("release: demo\nstore: elsewhere\nmodels: [loan]\n")
    monkeypatch.chdir(tmp_path)
    assert main(["models", "prune", "loan", "--store", "store", "--keep", "2", "-q"]) == 0
    assert ModelStore(root=store, model="loan").versions() == (5, 6)


class FakeApi:
    """As much of an API server as pruning asks for: the ConfigMaps of one namespace."""

    def __init__(self, *maps: ConfigMap) -> None:
        self.maps = maps

    def list(self, path: str, shape: type[Any]) -> tuple[ConfigMap, ...]:
        assert (path, shape) == ("/api/v1/namespaces/shop/configmaps", ConfigMap)
        return self.maps


def config_map(name: str, data: Mapping[str, str], model: str = "") -> ConfigMap:
    annotations = {"tfserving-deployer/model": model} if model else {}
    return ConfigMap(metadata=Meta(name=name, annotations=annotations), data=dict(data))


def in_use(*maps: ConfigMap) -> dict[int, str]:
    return of_cluster_releases(cast(ApiServer, FakeApi(*maps)), "shop", "loan")


def test_every_release_of_the_namespace_protects_what_it_uses() -> None:
    used = in_use(
        config_map("demo-tf-serving-models", {"model.config": CONFIG}),
        config_map("demo-rollouts-loan", {"history.json": encode(promoted(previous=2, to=4)).decode()}, model="loan"),
        config_map("demo-rollouts-other", {"history.json": encode(promoted(previous=1, to=4)).decode()}, model="other"),
        config_map("unrelated", {"a": "b"}),
    )
    assert used == {
        2: "rollback target of history demo-rollouts-loan",
        3: "served by demo-tf-serving-models",
        4: "label stable of demo-tf-serving-models",
    }


def test_nothing_is_removed_when_it_is_not_known_what_is_in_use() -> None:
    with pytest.raises(TargetError, match="demo-tf-serving-models cannot be parsed"):
        in_use(config_map("demo-tf-serving-models", {"model.config": "model_config_list {"}))


def test_versions_leave_a_pvc_by_one_rename_and_leftovers_are_removed(tmp_path: Path) -> None:
    with running(tmp_path / "claim") as agent:
        for version in (1, 2, 3, 4):
            publish(agent.root, version)
        left = agent.root / "loan" / ".removed-9-0123456789abcdef"
        (left / "variables").mkdir(parents=True)
        used = {2: "label stable of demo"}

        would = prune.prune_pvc(agent.storage(), "loan", keep=1, protected=used, dry_run=True, progress=say_nothing)
        assert (would.removed, agent.visible()) == ((1, 3), {"1", "2", "3", "4"})
        done = prune.prune_pvc(agent.storage(), "loan", keep=1, protected=used, progress=say_nothing)

        assert done.removed == (1, 3)
        assert done.kept == {2: "label stable of demo", 4: "one of the newest 1"}
        assert sorted(p.name for p in (agent.root / "loan").iterdir()) == ["2", "4"]
