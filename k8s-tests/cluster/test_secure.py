"""A release that is closed to strangers: TLS and keys at the gateways, mTLS to the model servers, NetworkPolicies."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from certificates import Authority

from deployer.targets.cluster.api import Refused, proxy_path
from deployer.targets.cluster.names import GATEWAY
from deployer.targets.cluster.target import ClusterTarget
from gateway.settings import parse_settings
from tfserving.config import SSLConfig

KEY = "cluster-0123456789abcdef"
SECRETS = {"gateway": "gateway-tls", "keys": "gateway-keys", "serving": "serving-tls", "shown": "model-server-tls"}


def _put(cluster: Any, namespace: str, name: str, items: Mapping[str, str]) -> None:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in items.items()}
    cluster.api.create(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": name}, "data": data})


@pytest.fixture(scope="module")
def namespace(cluster: Any, new_namespace: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """With all Secrets; the certificates are for the names of the Services."""
    name: str = new_namespace("secure")
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder, "authority")
    ca = authority.file.read_text()

    def issued(host: str) -> tuple[str, str]:
        cert, key, _ = authority.issue(host.split(".")[0], host=host)
        return cert.read_text(), key.read_text()

    cert, key = issued(f"demo-gateway.{name}.svc")
    _put(cluster, name, SECRETS["gateway"], {"tls.crt": cert, "tls.key": key})
    cert, key = issued(f"demo-tf-serving-headless.{name}.svc")
    config = SSLConfig(server_key=key, server_cert=cert, custom_ca=ca, client_verify=True)
    _put(cluster, name, SECRETS["serving"], {"ssl.config": config.to_text()})
    cert, key = issued("gateway.example.com")
    _put(cluster, name, SECRETS["shown"], {"ca.crt": ca, "tls.crt": cert, "tls.key": key})
    keys = {"keys": [{"name": "deployer", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}
    _put(cluster, name, SECRETS["keys"], {"keys.yaml": yaml.safe_dump(keys)})
    return name


@pytest.fixture(scope="module")
def file(
    cluster: Any, deployer: Any, namespace: str, claim_of: Callable[..., str], describe: Callable[..., Path]
) -> Path:
    """The deployer.yaml of the release, which runs."""
    path = describe(claim_of(namespace))
    document = yaml.safe_load(path.read_text())
    closed = {"networkPolicy": {"enabled": True}}
    mutual = {"secret": SECRETS["serving"], "gateway_secret": SECRETS["shown"], "mutual": True}
    document["serving"] |= {"tls": mutual, "values": closed}
    document["gateway"] |= {
        "tls": {"secret": SECRETS["gateway"]}, "auth": {"keys_secret": SECRETS["keys"]}, "values": closed,
        "sampling": {"consent": True, "share": 1.0},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(document))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPLOYER_API_KEY", KEY)
        done = deployer("deploy", "-f", path, "--version", "digits=1", "--storage-image", cluster.image("gateway"))
    assert done.result["changed"], done.stderr
    return path


def test_a_request_with_the_key_passes_and_one_without_is_refused(
    cluster: Any, deployer: Any, digits: Any, namespace: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("predict", "digits", "-f", file, "--target", "cluster", "--records", digits.records)
    monkeypatch.setenv("DEPLOYER_API_KEY", KEY)
    assert deployer(*asked).result["accuracy"] > 0.7
    monkeypatch.delenv("DEPLOYER_API_KEY")
    refused = deployer(*asked).error
    assert "401" in refused["message"] or "credentials are needed" in str(refused)
    assert KEY not in str(refused)


def test_the_public_port_speaks_tls_alone_and_status_needs_no_key(
    cluster: Any, deployer: Any, namespace: str, file: Path
) -> None:
    assert deployer("status", "-f", file, "--target", "cluster").result["healthy"]
    target = ClusterTarget.open("demo", cluster.place(namespace))
    (pod,) = target.pods(GATEWAY)
    secure = proxy_path(namespace, pod.name, 8080, "/v1/models/digits", secure=True)
    assert target.api.proxied("GET", secure, timeout=20).status == 401
    plain = proxy_path(namespace, pod.name, 8080, "/v1/models/digits")
    with pytest.raises(Refused):
        target.api.proxied("GET", plain, timeout=20)
    backends = parse_settings(target.gateway_config()).backends
    assert backends.tls is not None
    assert backends.tls.cert_file == "/etc/model-server-tls/tls.crt"
    policies = target.api.read(f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies", dict)["items"]
    assert {policy["metadata"]["name"] for policy in policies} >= {"demo-gateway", "demo-tf-serving"}
