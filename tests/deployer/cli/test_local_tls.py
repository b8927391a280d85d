"""A local release whose gateway speaks TLS, asks for certificates of clients and for keys, as a user types it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from certificates import Authority
from cryptography import x509
from eventually import eventually

KEY = "deployer-0cc175b9c0f1"
TLS = {
    "cert_file": "tls/gateway.crt",
    "key_file": "tls/gateway.key",
    "client_ca_file": "tls/clients.pem",
    "ca_file": "tls/authority.pem",
    "client_cert_file": "tls/deployer.crt",
    "client_key_file": "tls/deployer.key",
}


class Release:
    """The folder with deployer.yaml, and what is said to it."""

    def __init__(self, folder: Path, store: Path) -> None:
        (folder / "tls").mkdir()
        self.folder, self._store = folder, store
        self.authority, self.clients = Authority(folder / "tls", "authority"), Authority(folder / "tls", "clients")
        self.authority.issue("gateway")
        self.clients.issue("deployer")
        keys = {"keys": [{"name": "deployer", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}
        (folder / "keys.yaml").write_text(yaml.safe_dump(keys))
        (folder / "records.jsonl").write_text('{"record": {"a": 1, "b": 2}}\n')
        self.describe(TLS)

    def describe(self, tls: dict[str, str] | None) -> None:
        gateway = {"auth": {"keys_file": "keys.yaml"}, **({"tls": tls} if tls else {})}
        content = {"release": "closed", "store": str(self._store), "models": ["scale"], "gateway": gateway}
        (self.folder / "deployer.yaml").write_text(yaml.safe_dump({**content, "serving": {"replicas": 1}}))

    def say(self, *arguments: str, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "deployer.cli", *arguments, "-f", str(self.folder / "deployer.yaml")]
        env = {name: value for name, value in os.environ.items() if name != "DEPLOYER_API_KEY"}
        env |= {} if key is None else {"DEPLOYER_API_KEY": key}
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env=env)

    def predict(self, *more: str) -> subprocess.CompletedProcess[str]:
        records = str(self.folder / "records.jsonl")
        return self.say("predict", "scale", "--records", records, "-o", "json", *more)

    def gateway(self) -> dict[str, object]:
        state = json.loads((self.folder / ".deployer/closed/state.json").read_text())
        found: dict[str, object] = state["gateways"][0]
        return found

    def serial(self) -> int:
        """The serial number of the certificate that a new connection gets."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.load_cert_chain(self.folder / "tls/deployer.crt", self.folder / "tls/deployer.key")
        address = ("127.0.0.1", int(str(self.gateway()["http_port"])))
        with (
            socket.create_connection(address, timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"").serial_number


@pytest.fixture(scope="module")
def release(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    release = Release(tmp_path_factory.mktemp("closed"), small_store)
    up = release.say("local", "up")
    assert up.returncode == 0, up.stderr
    yield release
    assert release.say("local", "down").returncode == 0
    told = [path.read_text(errors="replace") for path in release.folder.rglob("*") if path.is_file()]
    assert not any(KEY in text for text in told), "the key stands in no file"


def test_every_request_of_the_deployer_speaks_tls_and_carries_its_key(release: Release, tmp_path: Path) -> None:
    status = release.say("status")
    assert status.returncode == 0, status.stdout + status.stderr
    assert "https://127.0.0.1:" in status.stdout
    found = release.predict()
    assert found.returncode == 0, found.stderr
    assert [answer["prediction"] for answer in json.loads(found.stdout)["result"]["answers"]] == [6.0]
    records = str(release.folder / "records.jsonl")
    batch = release.say("batch", "scale", "--input", records, "--output", str(tmp_path / "out"))
    assert batch.returncode == 0, batch.stderr
    doctor = release.say("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    short = ("--replicas", "1", "--rates", "300", "--seconds", "1", "--warmup", "0.5", "--refine", "0")
    experiment = release.say(
        "experiment", "run", "scale", "--records", records, *short, "--out", str(tmp_path / "found")
    )
    assert "without load through https://" in experiment.stderr
    assert experiment.returncode == 0, experiment.stderr
    told = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in content for content in told)
    assert '"errors":{}' in (tmp_path / "found" / "experiment.json").read_text().replace(" ", "")


def test_without_the_key_or_the_right_authority_there_is_no_prediction(release: Release) -> None:
    refused = release.say("predict", "scale", "--records", str(release.folder / "records.jsonl"), key=None)
    assert refused.returncode != 0
    assert "credentials are needed" in refused.stderr
    trusted = release.authority.file.read_text()
    try:
        Authority(release.folder / "tls", "authority")  # another one of the same name
        stranger = release.predict()
        assert stranger.returncode == 6, stranger.stderr
        assert "gateway.tls.ca_file" in stranger.stdout
        doctor = release.say("doctor")
        assert "TLS" in doctor.stdout
        assert "gateway.tls.ca_file" in doctor.stdout
    finally:
        release.authority.file.write_text(trusted)
    assert release.predict().returncode == 0


def test_a_certificate_is_rotated_without_a_restart_and_a_section_with_one(release: Release) -> None:
    before = release.gateway()["pid"]
    new = release.authority.issue("gateway")[2]
    eventually(lambda: release.serial() == new, "new connections get the new certificate")
    assert release.predict().returncode == 0
    replica = json.loads((release.folder / ".deployer/closed/state.json").read_text())["replicas"][0]["pid"]
    release.describe(None)
    plain = release.say("local", "up")
    assert plain.returncode == 0, plain.stderr
    assert release.gateway()["pid"] != before
    assert release.predict().returncode == 0
    assert "http://" in release.say("status").stdout
    release.describe(TLS)
    again = release.say("local", "up")
    assert again.returncode == 0, again.stderr
    assert release.predict().returncode == 0
    kept = json.loads((release.folder / ".deployer/closed/state.json").read_text())["replicas"][0]["pid"]
    assert kept == replica, "replicas know nothing of it"
