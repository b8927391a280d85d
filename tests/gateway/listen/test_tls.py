"""TLS of the public ports of a real gateway: new certificates, certificates of clients, and files that are bad."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import requests
import yaml
from certificates import Authority
from cryptography import x509
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config
from paths import ROOT

from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods

BODY = '{"records": [{"a": 1, "b": 2}]}'
TLS = {"cert_file": "gateway.crt", "key_file": "gateway.key"}
STATUS = m.GetModelStatusRequest(model_spec=m.ModelSpec(name="m")).SerializeToString()


def serial(gateway: GatewayProcess, authority: Authority) -> int:
    """The serial number of the certificate that a new connection gets."""
    host, port = gateway.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cafile=str(authority.file))
    with (
        socket.create_connection((host, int(port)), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"").serial_number


def test_a_new_certificate_is_taken_and_a_bad_one_is_not(tmp_path: Path) -> None:
    server, authority = FakeModelServer(), Authority(tmp_path, "authority")
    first = authority.issue("gateway")[2]
    gateway = GatewayProcess(tmp_path, config(server.address, tls=TLS), "--grpc-port", "0", "--drain-seconds", "0")
    gateway.session.verify, gateway.session.trust_env = str(authority.file), False
    assert gateway.url.startswith("https://")
    assert gateway.post(BODY).json()["predictions"] == [{"value": 30.0}]
    assert serial(gateway, authority) == first
    with pytest.raises(requests.ConnectionError):
        requests.post(gateway.url.replace("https", "http") + "/v1/models/m:predict", BODY, timeout=30)

    second = authority.issue("gateway")[2]
    eventually(lambda: serial(gateway, authority) == second, "new connections get the new certificate")
    assert gateway.post(BODY).status_code == 200, "the open connection goes on"
    with grpc.secure_channel(gateway.grpc, grpc.ssl_channel_credentials(authority.file.read_bytes())) as channel:
        assert channel.unary_unary(methods.GET_MODEL_STATUS.path)(STATUS, timeout=20)

    (tmp_path / "gateway.key").write_text("no key")
    eventually(lambda: gateway.metric("gateway_config_stale") == 1, "the bad key is noticed")
    assert serial(gateway, authority) == second
    authority.issue("gateway")
    eventually(lambda: gateway.metric("gateway_config_stale") == 0, "a good pair is taken")
    gateway.write(config(server.address))
    gateway.until("/routes", lambda routes: "restart" in (routes["config"]["error"] or ""))
    assert gateway.post(BODY).status_code == 200, "the port does not turn plain"
    assert gateway.stop() == 0
    assert "Traceback" not in "".join(gateway.log)
    server.stop()


def test_clients_without_a_certificate_of_the_authority_are_refused(tmp_path: Path) -> None:
    server, authority, other = FakeModelServer(), Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    authority.issue("gateway")
    good, bad = authority.issue("client"), other.issue("stranger")
    content = config(server.address, tls={**TLS, "client_ca_file": "authority.pem"})
    gateway = GatewayProcess(tmp_path, content, "--grpc-port", "0", "--drain-seconds", "0")
    url = gateway.url + "/v1/models/m:predict"
    for pair in (None, (str(bad[0]), str(bad[1]))):
        with pytest.raises(requests.ConnectionError):
            requests.post(url, BODY, verify=str(authority.file), cert=pair, timeout=30)
    answer = requests.post(url, BODY, verify=str(authority.file), cert=(str(good[0]), str(good[1])), timeout=30)
    assert answer.status_code == 200
    trusted = authority.file.read_bytes()
    for shown, code in ((bad, grpc.StatusCode.UNAVAILABLE), (None, grpc.StatusCode.UNAVAILABLE), (good, None)):
        own = (shown[1].read_bytes(), shown[0].read_bytes()) if shown is not None else (None, None)
        with grpc.secure_channel(gateway.grpc, grpc.ssl_channel_credentials(trusted, *own)) as channel:
            call = channel.unary_unary(methods.GET_MODEL_STATUS.path)
            if code is None:
                assert call(STATUS, timeout=20)
            else:
                with pytest.raises(grpc.RpcError) as refused:
                    call(STATUS, timeout=20)
                assert refused.value.code() is code
    assert gateway.stop() == 0
    server.stop()


@pytest.mark.parametrize("missing", ["gateway.crt", "gateway.key"])
def test_it_does_not_start_without_its_certificate(tmp_path: Path, missing: str) -> None:
    Authority(tmp_path, "authority").issue("gateway")
    (tmp_path / missing).unlink()
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(config("127.0.0.1:1", tls=TLS)))
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", f"--config={file}", "--port=0", "--admin-port=0"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 3
    assert f"{missing}: No such file" in ended.stderr
