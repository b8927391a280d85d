"""A local release whose model servers speak TLS and ask the gateway for its certificate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from certificates import Authority

from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods

TLS = {
    "cert_file": "server.crt",
    "key_file": "server.key",
    "ca_file": "authority.pem",
    "mutual": True,
    "client_ca_file": "clients.pem",
    "client_cert_file": "gateway.crt",
    "client_key_file": "gateway.key",
}
STATUS = m.GetModelStatusRequest(model_spec=m.ModelSpec(name="scale")).SerializeToString()


class Release:
    """The folder with deployer.yaml, and what is said to it."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self._store = folder, store
        self.authority, self.clients = Authority(folder, "authority"), Authority(folder, "clients")
        self.authority.issue("server")
        self.clients.issue("gateway")
        (folder / "records.jsonl").write_text('{"record": {"a": 1, "b": 2}}\n')
        self.describe(TLS)

    def describe(self, tls: dict[str, object]) -> None:
        serving = {"replicas": 1, "tls": tls}
        content = {"release": "mutual", "store": str(self._store), "models": ["scale"], "serving": serving}
        (self.folder / "deployer.yaml").write_text(yaml.safe_dump(content))

    def say(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "deployer.cli", *arguments, "-f", str(self.folder / "deployer.yaml")]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)

    def predict(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.say("predict", "scale", "--records", str(self.folder / "records.jsonl"), *more)

    def replica(self) -> dict[str, int]:
        state = json.loads((self.folder / ".deployer/mutual/state.json").read_text())
        found: dict[str, int] = state["replicas"][0]
        return found


@pytest.fixture(scope="module")
def release(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    release = Release(tmp_path_factory.mktemp("mutual"), small_store)
    up = release.say("local", "up")
    assert up.returncode == 0, up.stderr
    yield release
    release.say("local", "down")


def asked(release: Release, pair: tuple[Path, Path] | None) -> grpc.StatusCode | None:
    """What the model server says to somebody who shows this certificate."""
    own = (pair[1].read_bytes(), pair[0].read_bytes()) if pair is not None else (None, None)
    credentials = grpc.ssl_channel_credentials(release.authority.file.read_bytes(), *own)
    with grpc.secure_channel(f"127.0.0.1:{release.replica()['grpc_port']}", credentials) as channel:
        try:
            channel.unary_unary(methods.GET_MODEL_STATUS.path)(STATUS, timeout=20)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return None


def test_the_gateway_shows_its_certificate_and_strangers_are_refused(release: Release) -> None:
    found = release.predict()
    assert found.returncode == 0, found.stderr
    assert release.say("doctor").returncode == 0
    folder = release.folder
    assert asked(release, (folder / "gateway.crt", folder / "gateway.key")) is None
    assert asked(release, None) is grpc.StatusCode.UNAVAILABLE
    stranger = release.authority.issue("stranger")
    assert asked(release, (stranger[0], stranger[1])) is grpc.StatusCode.UNAVAILABLE
    direct = release.predict("--direct")
    assert direct.returncode == 3
    assert "serving.tls" in direct.stderr


def test_the_private_key_is_in_no_file_that_others_may_read(release: Release, tmp_path: Path) -> None:
    rendered = release.say("render", "--output-dir", str(tmp_path))
    assert rendered.returncode == 0, rendered.stderr
    assert "PRIVATE KEY" not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    written = [p for p in (release.folder / ".deployer").rglob("*") if p.is_file() and "PRIVATE KEY" in p.read_text()]
    assert [path.name for path in written] == ["ssl.config"]
    assert os.stat(written[0]).st_mode & 0o077 == 0


def test_new_certificates_come_with_the_next_up_and_wrong_ones_say_so(release: Release) -> None:
    before = release.replica()["pid"]
    assert release.say("local", "up").returncode == 0
    assert release.replica()["pid"] == before
    release.authority.issue("server")
    assert release.say("local", "up").returncode == 0
    assert release.replica()["pid"] != before
    assert release.predict().returncode == 0
    assert release.say("local", "down").returncode == 0
    release.describe({**TLS, "ca_file": "clients.pem"})
    wrong = release.say("local", "up", "--timeout", "15")
    assert wrong.returncode == 8, wrong.stderr
    assert "CERTIFICATE_VERIFY_FAILED" in wrong.stderr
    release.describe({**TLS, "cert_file": "records.jsonl"})
    nothing = release.say("local", "up")
    assert nothing.returncode == 3
    assert "serving.tls: server_cert is no PEM text" in nothing.stderr
