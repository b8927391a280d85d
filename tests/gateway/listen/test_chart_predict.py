"""What `helm test` runs, against a real gateway with TLS and keys."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import yaml
from certificates import Authority
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config
from paths import ROOT

KEY = "test-0123456789abcdef"
SCRIPT = ROOT / "charts" / "gateway" / "files" / "predict.py"


def test_a_closed_gateway_is_tested_with_a_key_and_found_closed_without(tmp_path: Path) -> None:
    server = FakeModelServer()
    Authority(tmp_path, "authority").issue("gateway", host="models.example.com")
    keys = {"keys": [{"name": "test", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump(keys))
    tls = {"cert_file": "gateway.crt", "key_file": "gateway.key"}
    closed = config(server.address, tls=tls, auth={"keys_file": "keys.yaml"})
    gateway = GatewayProcess(tmp_path, closed, "--drain-seconds", "0")

    def said(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-I", str(SCRIPT), gateway.url, "m"]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)

    found = said({"API_KEY": KEY})
    assert found.returncode == 0, found.stderr
    assert "m answered" in found.stdout
    without = said({})
    assert without.returncode == 0, without.stderr
    assert "is closed to requests without a key" in without.stdout
    assert said({"API_KEY": "wrong"}).returncode != 0
    assert gateway.stop() == 0
    server.stop()
