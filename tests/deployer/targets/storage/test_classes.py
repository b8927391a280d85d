"""A PVC is only created where something would provide its volume."""

from __future__ import annotations

from typing import Any

import pytest
from fake_api import FakeApi

from deployer.domain.location import PvcStore
from deployer.errors import TargetError
from deployer.targets.cluster.objects import DEFAULT_CLASS
from deployer.targets.storage.classes import STORAGE_CLASSES
from deployer.targets.storage.pod import NewPvc, pvc_path, require_pvc

STORE = PvcStore(namespace="ml", pvc="models", subpath="")


def cluster(**classes: str) -> FakeApi:
    """An API server with these StorageClasses; the value says whether each is the default."""
    api = FakeApi()
    api._put("/api/v1/namespaces/ml", {"metadata": {"name": "ml"}})
    for name, default in classes.items():
        annotations = {DEFAULT_CLASS: default} if default else {}
        api._put(f"{STORAGE_CLASSES}/{name}", {"metadata": {"name": name, "annotations": annotations}})
    return api


def created(api: FakeApi, new: NewPvc) -> dict[str, Any]:
    require_pvc(api.server(), STORE, new, lambda _: None)
    spec: dict[str, Any] = api.objects[pvc_path(STORE)]["spec"]
    return spec


@pytest.mark.parametrize("mode", ["ReadWriteOnce", "ReadWriteMany"])
def test_the_default_class_provides_either_access_mode(mode: str) -> None:
    spec = created(cluster(slow="", fast="true"), NewPvc(size="1Gi", access_mode=mode))
    assert spec["accessModes"] == [mode]
    assert "storageClassName" not in spec


def test_a_class_that_was_named_needs_no_default() -> None:
    assert created(cluster(nfs="false"), NewPvc(size="1Gi", storage_class="nfs"))["storageClassName"] == "nfs"


@pytest.mark.parametrize(
    ("classes", "asked", "words", "hint"),
    [
        ({"nfs": "false", "ebs": ""}, "", "no default StorageClass, so PVC models would stay Pending", "ebs, nfs"),
        ({}, "", "no default StorageClass", "install a storage provisioner"),
        ({"nfs": "true"}, "nsf", "there is no StorageClass nsf", ": nfs"),
    ],
)
def test_without_a_class_nothing_is_created(classes: dict[str, str], asked: str, words: str, hint: str) -> None:
    api = cluster(**classes)
    with pytest.raises(TargetError, match=words) as refused:
        require_pvc(api.server(), STORE, NewPvc(size="1Gi", storage_class=asked), lambda _: None)
    assert hint in refused.value.hint
    assert pvc_path(STORE) not in api.objects


def test_whoever_may_not_see_the_classes_can_still_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    api = cluster()
    answer = api.request

    def request(method: str, url: str, **rest: Any) -> Any:
        if "/storageclasses" in url:
            return api._refusal(403, "Forbidden")
        return answer(method, url, **rest)

    monkeypatch.setattr(api, "request", request)
    assert created(api, NewPvc(size="1Gi"))["accessModes"] == ["ReadWriteOnce"]
