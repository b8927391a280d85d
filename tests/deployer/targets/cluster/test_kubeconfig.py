"""How the deployer logs in to a cluster: kubeconfig files, exec plug-ins, a pod's service account, proxies."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import incluster_config

from deployer.errors import TargetError
from deployer.targets.cluster import kubeconfig
from deployer.targets.cluster.api import Place, connect
from deployer.targets.cluster.target import resolved

Seen = list[tuple[str, str]]
Write = Callable[..., str]


@pytest.fixture(autouse=True)
def _no_cluster_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv(kubeconfig.SERVICE_HOST, raising=False)


@pytest.fixture
def seen() -> Seen:
    """Target and Authorization header of every request."""
    return []


@pytest.fixture
def server(seen: Seen) -> Iterator[str]:
    """The URL of an API server that responds to everything with an empty object."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("authorization", "")))
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{listening.server_address[1]}"
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(server, user=…, cluster=…, name=…)` writes a kubeconfig with one context `name`; returns its path."""

    def file(server: str, *, user: dict[str, Any], cluster: dict[str, Any] | None = None, name: str = "one") -> str:
        content = {
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": {"server": server, **(cluster or {})}}],
            "users": [{"name": name, "user": user}],
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return file


def ask(file: str, *, context: str = "", times: int = 1) -> None:
    api = connect(Place(namespace="ns", context=context, kubeconfig=file))
    for _ in range(times):
        assert api.call("GET", "/version") == b"{}"


def test_a_token_is_sent(server: str, seen: Seen, write: Write) -> None:
    ask(write(server, user={"token": "abc"}))

    assert seen == [("/version", "Bearer abc")]


def test_a_user_with_a_password_is_sent(server: str, seen: Seen, write: Write) -> None:
    ask(write(server, user={"username": "jane", "password": "x"}))

    assert seen == [("/version", "Basic " + base64.b64encode(b"jane:x").decode())]


PLUG_IN = """#!{python}
import json
calls = open({calls!r}, "a+")
calls.write("x")
count = calls.tell()
ends = "2000-01-01T00:00:00Z" if count < 3 else "2999-01-01T00:00:00Z"
status = {{"token": f"t{{count}}", "expirationTimestamp": ends}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
"""


def test_what_an_exec_plug_in_gives_is_used_until_it_runs_out(
    server: str, seen: Seen, write: Write, tmp_path: Path
) -> None:
    plug_in, calls = tmp_path / "plug-in", tmp_path / "calls"
    plug_in.write_text(PLUG_IN.format(python=sys.executable, calls=str(calls)))
    plug_in.chmod(0o755)
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plug_in), "interactiveMode": "Never"}

    ask(write(server, user={"exec": command}), times=4)

    assert [token for _, token in seen] == ["Bearer t2", "Bearer t3", "Bearer t3", "Bearer t3"]


def test_certificates_inside_the_file_reach_the_connection(write: Write) -> None:
    inside = {key: base64.b64encode(key.encode()).decode() for key in ("ca", "certificate", "key")}
    file = write(
        "https://127.0.0.1:1",
        user={"client-certificate-data": inside["certificate"], "client-key-data": inside["key"]},
        cluster={"certificate-authority-data": inside["ca"], "tls-server-name": "kubernetes"},
    )

    options = kubeconfig.pool(kubeconfig.load(kubeconfig=file)).connection_pool_kw

    assert options["cert_reqs"] == "CERT_REQUIRED"
    assert options["server_hostname"] == "kubernetes"
    files = [Path(options[name]).read_text() for name in ("ca_certs", "cert_file", "key_file")]
    assert files == ["ca", "certificate", "key"]


def test_files_are_merged_and_a_context_of_each_can_be_named(server: str, seen: Seen, write: Write) -> None:
    first = write("http://127.0.0.1:1", user={"token": "first"}, name="first")
    second = write(server, user={"token": "second"}, name="second")
    files = f"{first}:{second}"

    ask(files, context="second")

    assert seen == [("/version", "Bearer second")]
    assert kubeconfig.load("first", files).host == "http://127.0.0.1:1"
    with pytest.raises(TargetError, match="no usable kube-context third"):
        kubeconfig.load("third", files)


def test_requests_go_through_the_proxy_that_the_file_names(server: str, seen: Seen, write: Write) -> None:
    ask(write("http://cluster.invalid", user={"token": "abc"}, cluster={"proxy-url": server}))

    assert seen == [("http://cluster.invalid/version", "Bearer abc")]


def test_requests_go_through_the_proxy_of_the_environment(
    server: str, seen: Seen, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server)

    ask(write("http://cluster.invalid", user={"token": "abc"}))

    assert seen == [("http://cluster.invalid/version", "Bearer abc")]


def test_a_server_that_no_proxy_names_is_asked_directly(
    server: str, seen: Seen, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")

    ask(write(server, user={"token": "abc"}))

    assert seen == [("/version", "Bearer abc")]


@pytest.fixture
def in_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod's environment; the path is where its token stands."""
    token, certificate = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("of-the-pod")
    certificate.write_text("ca")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificate))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return token


def test_a_pod_without_a_kubeconfig_uses_its_service_account(in_pod: Path, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")

    login = kubeconfig.load(kubeconfig=absent)

    assert (login.host, login.ssl_ca_cert) == ("https://10.0.0.1:443", str(tmp_path / "ca.crt"))
    assert kubeconfig.authorization(login) == "bearer of-the-pod"
    place = resolved(Place(namespace="ns", kubeconfig=absent))
    assert (place.context, str(place)) == ("", "this cluster, namespace ns")


def test_in_a_pod_a_kubeconfig_goes_before_the_service_account(in_pod: Path, server: str, write: Write) -> None:
    file = write(server, user={"token": "of-the-file"})

    assert kubeconfig.authorization(kubeconfig.load(kubeconfig=file)) == "Bearer of-the-file"
    assert resolved(Place(namespace="ns", kubeconfig=file)).context == "one"


def test_without_any_context_there_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no current kube-context") as failed:
        resolved(Place(namespace="ns", kubeconfig=str(tmp_path / "absent")))

    assert "deployer cluster up" in failed.value.hint


def test_a_verb_of_a_cluster_loads_only_what_it_needs(write: Write, tmp_path: Path) -> None:
    file = write("http://127.0.0.1:1", user={"token": "abc"})
    (tmp_path / "deployer.yaml").write_text("release: demo\nstore: pvc://demo/models\nmodels: [digits]\n")
    code = (
        "import json, sys; from deployer.cli.__main__ import main; "
        f"code = main(['status', '--target', 'cluster', '--kubeconfig', {file!r}]); "
        "print(json.dumps([code, sorted(sys.modules)]))"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=True)

    ended, loaded = json.loads(done.stdout.splitlines()[-1])
    assert ended == TargetError.exit_code, done.stderr
    assert "kubernetes.config.kube_config" in loaded
    heavy = ("kubernetes.client.api.", "kubernetes.client.models.", "deployer.targets.local", "deployer.release.local")
    libraries = ("tensorflow", "numpy", "grpc", "jinja2", "matplotlib")
    assert [name for name in loaded if name.startswith(heavy + libraries)] == []
