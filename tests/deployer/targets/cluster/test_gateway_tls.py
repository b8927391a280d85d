"""Gateways of a cluster that speak TLS: how the deployer's requests reach them."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import Authority
from fake_api import FakeApi

from deployer.domain.gateway import Tls
from deployer.errors import SpecError
from deployer.targets.cluster.api import Place, proxy_path
from deployer.targets.cluster.helm_releases import HelmReleases
from deployer.targets.cluster.names import Names
from deployer.targets.cluster.target import ClusterTarget
from deployer.tools.helm import Helm


def target(api: FakeApi, tls: Tls | None) -> ClusterTarget:
    names = Names(release="demo")
    return ClusterTarget(names, Place(namespace="ns"), api.server(), HelmReleases(names, Helm(namespace="ns")), tls=tls)


def served(api: FakeApi) -> None:
    """A gateway with TLS on its public port alone, a model server without, and their Services."""
    for path in (
        proxy_path("ns", "demo-gateway-x", 8080, "/v1/models/m", secure=True),
        proxy_path("ns", "demo-gateway-x", 8081, "/routes"),
        proxy_path("ns", "demo-tf-serving-y", 8501, "/v1/models/m"),
    ):
        api._put(path, {})
    for name, port in (("demo-gateway", "http"), ("demo-tf-serving", "grpc")):
        path = f"/api/v1/namespaces/ns/services/{name}"
        api._put(path, {"metadata": {"name": name}, "spec": {"ports": [{"name": port, "port": 443}]}})


def test_the_api_server_is_asked_for_tls_where_the_gateway_speaks_it(tmp_path: Path) -> None:
    api = FakeApi()
    served(api)
    here = target(api, Tls(secret="s", ca_file=str(Authority(tmp_path, "authority").file)))
    for name, path in (
        ("demo-gateway-x", "/v1/models/m"),
        ("demo-gateway-x", "/routes"),
        ("demo-tf-serving-y", "/v1/models/m"),
    ):
        assert here.get(name, path, timeout=5).status == 200, (name, path)


def test_the_load_generator_gets_the_authority_and_no_file(tmp_path: Path) -> None:
    api, authority = FakeApi(), Authority(tmp_path, "authority")
    served(api)
    found = target(api, Tls(secret="s", ca_file=str(authority.file))).load_endpoints()
    assert found.gateways == ("https://demo-gateway.ns.svc:443",)
    assert found.tls is not None
    assert found.tls.ca == authority.file.read_text()
    assert target(api, None).load_endpoints().gateways == ("http://demo-gateway.ns.svc:443",)
    with pytest.raises(SpecError, match=r"gateway\.tls\.ca_file .* cannot be read"):
        target(api, Tls(secret="s", ca_file="/nowhere.pem")).load_endpoints()
