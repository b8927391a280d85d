"""Publishing into a claim of a real cluster: beside pods that serve from it, killed, interrupted, refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.domain.location import PvcStore, parse_store
from deployer.domain.pods import Pods
from deployer.targets.cluster.api import pod_path
from deployer.targets.cluster.objects import Pod, Pvc
from deployer.targets.storage import manifest
from deployer.targets.storage.layout import ModelStore
from deployer.targets.storage.pod import pod_name, pvc_path, storage_in

ROOT = Path(__file__).resolve().parents[2]
PADDING = 48 * 2**20
"""Bytes of the large version: enough seconds on the way to be interrupted."""


def ignore(_: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def namespace(new_namespace: Callable[[str], str]) -> str:
    return new_namespace("publish")


@pytest.fixture(scope="module")
def store(namespace: str, claim_of: Callable[..., str]) -> str:
    return claim_of(namespace)


@pytest.fixture(scope="module")
def large(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with version 3 of `digits`, which carries a large asset."""
    root = tmp_path_factory.mktemp("large")
    known = manifest.read(digits.store / "digits" / "2")
    place = ModelStore(root=root, model="digits")
    with place.stage(3) as staging:
        shutil.copytree(digits.store / "digits" / "2", staging.path, dirs_exist_ok=True)
        (staging.path / "assets").mkdir(exist_ok=True)
        (staging.path / "assets" / "padding.bin").write_bytes(os.urandom(PADDING))
        files = manifest.measure(staging.path)
        (staging.path / manifest.MANIFEST).write_bytes(manifest.encode(replace(known, version=3, files=files)))
        place.publish(staging)
    return root


def listed(cluster: Any, store: str) -> dict[str, int]:
    """What is in the model's directory of the claim: names, and bytes of the files below."""
    place = parse_store(store, "/")
    assert isinstance(place, PvcStore)
    pvc = cluster.api.read(pvc_path(place), Pvc)
    image = cluster.image("gateway")
    reached = storage_in(cluster.api, place, pvc, image=image, pods=Pods(), timeout=120, progress=ignore)
    with reached as storage:
        found = {}
        for entry in storage.entries("digits") or ():
            below = [storage.digest(f"digits/{entry.name}/{path}") for path in storage.files(f"digits/{entry.name}")]
            found[entry.name] = sum(fact.size for fact in below if fact is not None)
        return found


def publisher(cluster: Any, large: Path, store: str) -> tuple[str, ...]:
    where = ("--store", str(large), "--to", store, "--image", cluster.image("gateway"))
    return ("publish", "digits", "--version", "3", *where)


def interrupted(cluster: Any, large: Path, store: str, how: signal.Signals) -> int:
    """Begin to publish the large version, and send `how` once the first bytes have been reported; the exit code."""
    argv = [sys.executable, "-m", "deployer.cli.__main__", *publisher(cluster, large, store)]
    environment = {**os.environ, "KUBECONFIG": cluster.kubeconfig}
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "sending version 3" in line:
                break
        time.sleep(0.3)
        process.send_signal(how)
        process.stderr.read()
        return process.wait(60)


def storage_pod(cluster: Any, namespace: str) -> Pod | None:
    found: Pod | None = cluster.api.find(pod_path(namespace, pod_name("models")), Pod)
    return None if found is None or found.terminating else found


def test_published_versions_are_there_and_a_second_time_is_fine(
    cluster: Any, deployer: Any, digits: Any, namespace: str, store: str
) -> None:
    again = deployer(
        *("publish", "digits", "--store", digits.store, "--all", "--to", store, "--image", cluster.image("gateway"))
    ).result

    assert [(one["version"], one["outcome"], one["sent"]) for one in again] == [
        (1, "already published", 0),
        (2, "already published", 0),
    ]
    assert storage_pod(cluster, namespace) is None


def test_a_number_with_other_content_is_refused(
    cluster: Any, deployer: Any, digits: Any, tmp_path: Path, store: str
) -> None:
    known = manifest.read(digits.store / "digits" / "1")
    place = ModelStore(root=tmp_path, model="digits")
    with place.stage(1) as staging:
        shutil.copytree(digits.store / "digits" / "1", staging.path, dirs_exist_ok=True)
        (staging.path / manifest.MANIFEST).write_bytes(manifest.encode(replace(known, source="elsewhere")))
        place.publish(staging)

    refused = deployer(
        *("publish", "digits", "--store", tmp_path, "--to", store, "--image", cluster.image("gateway"))
    ).error

    assert refused["exit_code"] == 4
    assert "version 1 of model digits already exists" in refused["message"]
    assert "as version 3 or later" in refused["hint"]


def test_interrupted_it_leaves_nothing_visible_and_the_next_run_continues(
    cluster: Any, deployer: Any, namespace: str, store: str, large: Path
) -> None:
    """Ctrl-C deletes the pod; SIGKILL cannot, so the pod ends by itself and the next run waits for that."""
    assert interrupted(cluster, large, store, signal.SIGINT) == 130
    assert storage_pod(cluster, namespace) is None
    interrupted(cluster, large, store, signal.SIGKILL)
    there = listed(cluster, store)
    assert "3" not in there
    (unfinished,) = [size for name, size in there.items() if name.startswith(".staging-3-")]

    (published,) = deployer(*publisher(cluster, large, store)).result

    assert published["outcome"] == "published"
    assert published["sent"] <= published["size"] - unfinished
    assert set(listed(cluster, store)) == {"1", "2", "3"}


def test_it_works_while_replicas_serve_from_the_pvc(
    cluster: Any,
    deployer: Any,
    digits: Any,
    new_namespace: Callable[[str], str],
    describe: Callable[..., Path],
) -> None:
    space = new_namespace("serving")
    store = f"pvc://{space}/models"
    publish = ("publish", "digits", "--store", digits.store, "--to", store, "--image", cluster.image("gateway"))
    assert deployer(*publish, "--version", "1", "--create", "1Gi").result[0]["outcome"] == "published"
    file = describe(store)
    assert deployer("deploy", "-f", file, "--storage-image", cluster.image("gateway")).result["changed"]

    (second,) = deployer(*publish, "--version", "2").result

    assert second["outcome"] == "published"
    assert deployer("status", "-f", file, "--target", "cluster").result["healthy"]


def test_a_pod_that_cannot_start_is_explained(cluster: Any, deployer: Any, digits: Any, namespace: str) -> None:
    absent = deployer("publish", "digits", "--store", digits.store, "--to", f"pvc://{namespace}/absent").error
    assert absent["message"] == f"there is no PVC absent in namespace {namespace}"

    where = ("--store", digits.store, "--to", f"pvc://{namespace}/models", "--timeout", "20s")
    stuck = deployer("publish", "digits", *where, "--image", "tfserving-deployer/deployer:nope").error

    assert stuck["exit_code"] == 8
    assert "tfserving-deployer/deployer:nope" in stuck["cause"]
    assert storage_pod(cluster, namespace) is None
