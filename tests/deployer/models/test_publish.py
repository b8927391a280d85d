"""Publishing through the storage agent: the agent runs as a process here, exactly as it is sent to a pod."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import kubernetes_validate
import pytest
from storage_process import TOKEN, Agent, running, say_nothing, start

from deployer.cli.__main__ import main
from deployer.domain.location import PvcStore
from deployer.domain.pods import Pods
from deployer.domain.store import Manifest, SignatureFact
from deployer.errors import ExportError, TargetError, UsageError
from deployer.models import publish
from deployer.models.publish import UPLOAD_CHUNK_BYTES, Published
from deployer.models.pvc import PvcCatalog
from deployer.targets.agents import pod as agent_pod
from deployer.targets.cluster.policies import owner_of, policy_manifest
from deployer.targets.storage import agent as storage_agent
from deployer.targets.storage import manifest
from deployer.targets.storage.layout import ModelStore
from deployer.targets.storage.pod import pod_manifest

BIG = UPLOAD_CHUNK_BYTES * 2 + 12345


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with running(tmp_path / "claim") as agent:
        yield agent


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., publish.LocalVersion]:
    def write(version: int = 3, content: bytes = b"x" * BIG, root: Path = tmp_path / "store") -> publish.LocalVersion:
        place = ModelStore(root=root, model="loan")
        with place.stage(version) as staging:
            (staging.path / "variables").mkdir()
            (staging.path / "assets.extra").mkdir()
            (staging.path / "saved_model.pb").write_bytes(b"graph")
            (staging.path / "variables" / "variables.index").write_bytes(b"")
            (staging.path / "variables" / "variables.data-00000-of-00001").write_bytes(content)
            known = Manifest(
                model="loan",
                version=version,
                created="2026-11-22T12:00:00Z",
                source="loan.keras",
                tensorflow="2.21.0",
                signature="serving_default",
                signatures={"serving_default": SignatureFact(inputs={}, outputs={})},
                files=manifest.measure(staging.path),
            )
            (staging.path / manifest.MANIFEST).write_bytes(manifest.encode(known))
            place.publish(staging)
        return publish.read_verified(root, "loan", version, say_nothing)

    return write


def test_a_version_arrives_whole(agent: Agent, export: Callable[..., publish.LocalVersion]) -> None:
    version = export()
    said: list[str] = []
    clock = iter(range(0, 10_000, 3))

    published = publish.publish(version, agent.storage(), said.append, clock=lambda: next(clock))

    size = sum(fact.size for fact in version.files.values())
    assert published == Published(model="loan", version=3, outcome="published", files=4, size=size, sent=size)
    there = agent.root / "loan" / "3"
    assert manifest.verify(there, manifest.read(there)) == ()
    assert (there / "variables" / "variables.index").read_bytes() == b""
    assert agent.visible() == {"3"}
    assert [p.name for p in (agent.root / "loan").iterdir()] == ["3"]
    assert any("4.2 MB of 8.4 MB" in sentence for sentence in said)


def test_the_same_content_is_already_published(agent: Agent, export: Callable[..., publish.LocalVersion]) -> None:
    version = export()
    publish.publish(version, agent.storage(), say_nothing)

    again = publish.publish(version, agent.storage(), say_nothing)

    assert (again.outcome, again.sent) == ("already published", 0)
    assert not [call for call in agent.calls if not call.startswith("GET")]


def test_other_content_under_the_same_number_is_refused(
    agent: Agent, export: Callable[..., publish.LocalVersion], tmp_path: Path
) -> None:
    publish.publish(export(), agent.storage(), say_nothing)
    other = export(content=b"other", root=tmp_path / "elsewhere")

    with pytest.raises(ExportError, match="version 3 of model loan already exists") as refused:
        publish.publish(other, agent.storage(), say_nothing)

    assert "version 4" in refused.value.hint
    there = agent.root / "loan" / "3"
    assert manifest.verify(there, manifest.read(there)) == ()


def test_cut_anywhere_nothing_is_visible_and_the_next_run_continues(
    agent: Agent, export: Callable[..., publish.LocalVersion]
) -> None:
    version = export(content=b"x" * (UPLOAD_CHUNK_BYTES + 5))
    publish.publish(version, agent.storage(), say_nothing)
    requests = len(agent.calls)
    size = sum(fact.size for fact in version.files.values())
    for fail_at in range(requests - 1):
        shutil.rmtree(agent.root / "loan")
        with pytest.raises(TargetError):
            publish.publish(version, agent.storage(fail_at=fail_at), say_nothing)
        assert agent.visible() == set()
        written = sum(p.stat().st_size for p in agent.root.rglob("*") if p.is_file())

        published = publish.publish(version, agent.storage(), say_nothing)

        assert published.sent == size - written
        assert agent.visible() == {"3"}
        assert manifest.verify(agent.root / "loan" / "3", version.manifest) == ()


def test_a_file_cut_in_the_middle_continues_and_a_wrong_beginning_does_not(
    agent: Agent, export: Callable[..., publish.LocalVersion]
) -> None:
    version = export(content=bytes(range(256)) * (BIG // 256))
    data = "variables/variables.data-00000-of-00001"
    whole = (version.path / data).read_bytes()
    for beginning, kept in ((whole[:1_000_001], 1_000_001), (b"wrong" + whole[5:1000], 0), (whole + b"more", 0)):
        staged = agent.root / version.staging / data
        staged.parent.mkdir(parents=True)
        staged.write_bytes(beginning)

        published = publish.publish(version, agent.storage(), say_nothing)

        assert published.sent == published.size - kept
        assert manifest.verify(agent.root / "loan" / "3", version.manifest) == ()
        shutil.rmtree(agent.root / "loan")


def test_unfinished_copies_that_nobody_needs_are_deleted(
    agent: Agent, export: Callable[..., publish.LocalVersion]
) -> None:
    version = export()
    other_content = f"loan/.staging-3-{publish.PUBLISH_HOST_ID}00000000"
    other_version = f"loan/.staging-4-{publish.PUBLISH_HOST_ID}00000000"
    of_an_exporter = "loan/.staging-3-0123456789abcdef"
    for path in (other_content, other_version, of_an_exporter):
        (agent.root / path).mkdir(parents=True)

    publish.publish(version, agent.storage(), say_nothing)

    assert not (agent.root / other_content).exists()
    assert (agent.root / other_version).exists()
    assert (agent.root / of_an_exporter).exists()


def test_a_foreign_file_in_the_copy_is_not_published(agent: Agent, export: Callable[..., publish.LocalVersion]) -> None:
    version = export()
    (agent.root / version.staging / "assets").mkdir(parents=True)
    (agent.root / version.staging / "assets" / "foreign.txt").write_text("hello")

    with pytest.raises(ExportError, match="was changed in transit") as refused:
        publish.publish(version, agent.storage(), say_nothing)

    assert refused.value.cause == "assets/foreign.txt is not in the manifest"
    assert agent.visible() == set()
    assert publish.publish(version, agent.storage(), say_nothing).outcome == "published"


def test_a_damaged_version_is_never_read(export: Callable[..., publish.LocalVersion], tmp_path: Path) -> None:
    version = export()
    (version.path / "saved_model.pb").write_bytes(b"grapf")

    with pytest.raises(ExportError, match="has changed since its export") as refused:
        publish.read_verified(tmp_path / "store", "loan", 3, say_nothing)

    assert "saved_model.pb has sha256" in refused.value.cause


def test_versions_are_chosen_by_number_or_newest_or_all(
    export: Callable[..., publish.LocalVersion], tmp_path: Path
) -> None:
    for number in (1, 2, 5):
        export(number, b"small")
    store = tmp_path / "store"

    assert publish.choose(store, "loan", (), every=False) == (5,)
    assert publish.choose(store, "loan", (), every=True) == (1, 2, 5)
    assert publish.choose(store, "loan", (2, 1), every=False) == (1, 2)
    with pytest.raises(UsageError):
        publish.choose(store, "loan", (2,), every=True)
    with pytest.raises(ExportError):
        publish.choose(store, "other", (), every=False)


REFUSED = (
    ("PUT", "/content?path=loan/3/saved_model.pb&offset=0", 400),
    ("PUT", "/content?path=loan/.staging-3-0123456789abcdef&offset=0", 400),
    ("PUT", "/content?path=loan/.staging-3-0123456789abcdef/../../x&offset=0", 400),
    ("PUT", "/content?path=loan/.staging-3-0123456789abcdef/x&offset=1", 404),
    ("PUT", "/content?path=loan/.staging-3-0123456789abcdef/x&offset=y", 400),
    ("POST", "/stage?path=../outside", 400),
    ("POST", "/discard?path=loan/3", 400),
    ("POST", "/publish?path=loan/3&version=4", 400),
    ("POST", "/remove?path=loan/.staging-3-0123456789abcdef", 400),
    ("POST", "/remove?path=loan", 400),
    ("POST", "/remove?path=../loan/3", 400),
    ("GET", "/content?path=/etc/passwd", 400),
    ("GET", "/list?path=absent", 404),
    ("GET", "/elsewhere", 404),
)


def test_the_agent_touches_staging_directories_only(agent: Agent) -> None:
    (agent.root / "loan" / "3").mkdir(parents=True)
    (agent.root / "loan" / ".staging-3-0123456789abcdef").mkdir()
    headers = {storage_agent.TOKEN_HEADER: TOKEN}
    for method, path, status in REFUSED:
        reply = agent.send(method, path, b"" if method != "GET" else None, headers=headers, timeout=5)

        assert (path, reply.status) == (path, status)
        assert sorted(p.name for p in agent.root.rglob("*")) == [".staging-3-0123456789abcdef", "3", "loan"]


def test_the_agent_wants_the_token(agent: Agent) -> None:
    with pytest.raises(TargetError) as refused:
        agent.storage(token="guess").entries()
    assert "x-storage-token is missing or wrong" in refused.value.cause


def test_an_agent_that_nobody_asks_ends(tmp_path: Path) -> None:
    with start(tmp_path, idle=0.2) as process:
        assert process.wait(10) == 0


def test_versions_in_a_pvc_are_listed_and_verified_there(
    agent: Agent, export: Callable[..., publish.LocalVersion]
) -> None:
    for number in (1, 2):
        publish.publish(export(number, b"small"), agent.storage(), say_nothing)
    (agent.root / "loan" / "4").mkdir()
    (agent.root / "loan" / "2" / "saved_model.pb").write_bytes(b"grapf")

    listed = PvcCatalog(agent.storage()).versions()
    one, two = (PvcCatalog(agent.storage()).verify("loan", number, progress=say_nothing)[0] for number in (1, 2))

    assert [(v.model, v.version, v.state) for v in listed] == [
        ("loan", 1, "published"),
        ("loan", 2, "published"),
        ("loan", 4, "no manifest"),
    ]
    assert one.faults == ()
    assert [fault.path for fault in two.faults] == ["saved_model.pb"]
    with pytest.raises(ExportError, match="no version 3"):
        PvcCatalog(agent.storage()).verify("loan", 3, progress=say_nothing)
    with pytest.raises(ExportError, match="no model other"):
        PvcCatalog(agent.storage()).versions("other")


def test_a_version_in_a_pvc_is_inspected_there(
    agent: Agent, export: Callable[..., publish.LocalVersion], small_store: Path
) -> None:
    for number in (1, 2):
        publish.publish(export(number, b"small"), agent.storage(), say_nothing)
    shutil.copytree(small_store / "scale" / "1", agent.root / "scale" / "1")
    (agent.root / "scale" / "1" / manifest.MANIFEST).unlink(missing_ok=True)
    (agent.root / "scale" / "2").mkdir()

    newest, foreign = PvcCatalog(agent.storage()).inspect("loan"), PvcCatalog(agent.storage()).inspect("scale", 1)

    assert (newest.version, newest.path) == (2, "loan/2")
    assert newest.manifest is not None
    assert "saved_model.pb" in newest.manifest.files
    assert (foreign.manifest, list(foreign.signatures)) == (None, ["serving_default"])
    assert foreign.features is not None
    assert "features" in foreign.features
    with pytest.raises(ExportError, match=r"scale/2 in the PVC is not a SavedModel: it has no saved_model\.pb"):
        PvcCatalog(agent.storage()).inspect("scale")
    with pytest.raises(ExportError, match="no version 9"):
        PvcCatalog(agent.storage()).inspect("loan", 9)


@pytest.mark.parametrize("to", ["models", "s3://bucket", "pvc://Bad_Name/claim", "pvc://a/b/../c"])
def test_what_is_not_a_pvc_is_rejected(
    to: str, export: Callable[..., publish.LocalVersion], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", "loan", "--store", str(tmp_path), "--to", to]) == 2
    assert "write pvc://NAMESPACE/PVC" in capsys.readouterr().err


def test_a_dry_run_reads_the_store_and_asks_nothing_of_a_cluster(
    export: Callable[..., publish.LocalVersion], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(3, b"small")
    where = ("--store", str(tmp_path / "store"), "--to", "pvc://shop/models", "--kubeconfig", str(tmp_path / "absent"))

    assert main(["publish", "loan", *where, "--dry-run"]) == 0

    assert capsys.readouterr().out.startswith("version 3 of model loan would be published (4 files")


def test_the_policy_of_the_pod_lets_it_call_nobody() -> None:
    pod = cast(dict[str, Any], pod_manifest(PvcStore(namespace="shop", pvc="m"), image="i", pods=Pods(), token=TOKEN))
    own = agent_pod.labels("storage-agent", instance=pod["metadata"]["name"])
    created = json.dumps({"metadata": {"name": pod["metadata"]["name"], "uid": "u"}}).encode()
    owner = owner_of(created, version="v1", kind="Pod")
    policy = cast(dict[str, Any], policy_manifest("p", own, owner, calls_release=False))
    kubernetes_validate.validate(policy, "1.30", strict=True)
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert policy["spec"]["egress"] == []
    assert policy["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": "u"}
    ]


def test_the_pod_is_valid_restricted_and_does_not_hold_the_token() -> None:
    store = PvcStore(namespace="shop", pvc="models", subpath="team")
    pod = pod_manifest(store, image="i:1", pods=Pods(), token=TOKEN, node="n")
    kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", **pod}, "1.30", strict=True)
    spec = cast(dict[str, Any], pod["spec"])
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert TOKEN not in container["command"]
    assert container["volumeMounts"] == [{"name": "store", "mountPath": "/store", "subPath": "team"}]
