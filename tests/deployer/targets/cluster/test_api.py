"""The API server as the deployer uses it, against an HTTP server that responds as one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3

from deployer.errors import TargetError
from deployer.targets.base import CpuReading, HttpReply, MemoryReading
from deployer.targets.cluster.api import ApiServer, Refused, pod_path, proxy_path
from deployer.targets.cluster.bridge import bridge
from deployer.targets.cluster.objects import Pod
from deployer.targets.cluster.scale import PAUSED_BOUNDS, Scale
from deployer.targets.cluster.state import cpu, memory

AUTOSCALER = "/apis/autoscaling/v2/namespaces/ns/horizontalpodautoscalers/demo"
DEPLOYMENT = "/apis/apps/v1/namespaces/ns/deployments/demo"


def status(code: int, reason: str, message: str) -> dict[str, object]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


@dataclass
class FakeApiServer:
    """Objects by path; a merge patch changes one. `seen` are the requests."""

    objects: dict[str, dict[str, object]] = field(default_factory=dict)
    answers: dict[str, tuple[int, dict[str, object]]] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, list[str]], str]] = field(default_factory=list)

    def answer(self, method: str, target: str, body: bytes, authorization: str) -> tuple[int, object]:
        url = urlsplit(target)
        query = parse_qs(url.query)
        self.seen.append((method, url.path, query, authorization))
        if url.path in self.answers:
            return self.answers[url.path]
        if url.path == pod_path("ns"):
            first = "continue" not in query
            meta = {"continue": "more"} if first else {}
            return 200, {"metadata": meta, "items": [{"metadata": {"name": "a" if first else "b"}}]}
        if url.path not in self.objects:
            return 404, status(404, "NotFound", f"{url.path} not found")
        if method == "PATCH":
            merge(self.objects[url.path], json.loads(body))
        return 200, self.objects[url.path]


def merge(into: dict[str, object], change: dict[str, object]) -> None:
    for key, value in change.items():
        there = into.get(key)
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(there, dict):
            merge(there, value)
        else:
            into[key] = value


@pytest.fixture
def fake() -> FakeApiServer:
    return FakeApiServer()


@pytest.fixture
def api(fake: FakeApiServer) -> Iterator[ApiServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            code, content = fake.answer(self.command, self.path, body, self.headers.get("authorization", ""))
            answer = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PATCH(self) -> None:
            self.do_GET()

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with urllib3.PoolManager() as pool:
        yield ApiServer(f"http://127.0.0.1:{server.server_address[1]}", pool, lambda: "Bearer secret")
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_list_is_read_page_by_page_with_its_selector(fake: FakeApiServer, api: ApiServer) -> None:
    found = api.list(pod_path("ns"), Pod, labels="app=x")

    assert [pod.name for pod in found] == ["a", "b"]
    assert [query["labelSelector"] for _, _, query, _ in fake.seen] == [["app=x"]] * 2
    assert {authorization for *_, authorization in fake.seen} == {"Bearer secret"}


def test_an_error_quotes_the_api_server(fake: FakeApiServer, api: ApiServer) -> None:
    fake.answers[pod_path("ns", "p")] = (403, status(403, "Forbidden", "pods is forbidden: User jane cannot get"))

    with pytest.raises(Refused) as refused:
        api.read(pod_path("ns", "p"), Pod)

    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    assert "jane" in refused.value.cause
    assert "kubectl auth can-i" in refused.value.hint


def test_an_object_that_is_not_there_is_none_and_deleting_it_is_no_error(api: ApiServer) -> None:
    assert api.find(pod_path("ns", "gone"), Pod) is None
    api.delete(pod_path("ns", "gone"))


def test_the_response_of_a_pod_is_returned_whatever_its_status(fake: FakeApiServer, api: ApiServer) -> None:
    path = proxy_path("ns", "p", 8501, "/v1/models/x")
    fake.answers[path] = (404, {"error": "Could not find any versions of model x"})

    reply = api.proxied("GET", path, timeout=5)

    assert (reply.status, json.loads(reply.body)["error"]) == (404, "Could not find any versions of model x")


def test_what_the_api_server_says_in_place_of_a_pod_is_an_error(fake: FakeApiServer, api: ApiServer) -> None:
    path = proxy_path("ns", "p", 8501, "/v1/models/x")
    fake.answers[path] = (503, status(503, "ServiceUnavailable", "error trying to reach service: connection refused"))

    with pytest.raises(Refused, match="503"):
        api.proxied("GET", path, timeout=5)


def test_a_server_that_is_not_there_is_an_error_with_a_hint() -> None:
    with urllib3.PoolManager() as pool, pytest.raises(TargetError) as failed:
        ApiServer("http://127.0.0.1:9", pool, lambda: "").read("/version", object)

    assert "kubectl cluster-info" in failed.value.hint


def test_the_metrics_api_tells_the_working_set_of_model_servers(fake: FakeApiServer, api: ApiServer) -> None:
    containers = [
        {"name": "model-server", "usage": {"cpu": "5m", "memory": "123Ki"}},
        {"name": "sidecar", "usage": {"cpu": "5m", "memory": "9Gi"}},
    ]
    item = {"metadata": {"name": "p"}, "timestamp": "2026-11-25T09:00:00Z", "window": "10s", "containers": containers}
    fake.answers[memory.path("ns")] = (200, {"metadata": {}, "items": [item]})

    found = memory.readings(api.list(memory.path("ns"), memory.PodMetrics))

    assert found == {"p": MemoryReading(size=123 * 1024, at=1795597200.0)}


def test_scaling_holds_the_autoscaler_and_remembers_its_bounds_once(fake: FakeApiServer, api: ApiServer) -> None:
    fake.objects[AUTOSCALER] = {
        "metadata": {"name": "demo", "annotations": {}},
        "spec": {"minReplicas": 2, "maxReplicas": 10},
    }
    fake.objects[f"{DEPLOYMENT}/scale"] = {"spec": {"replicas": 3}}
    scale = Scale(api, "ns", "demo")

    scale.to(1)
    scale.to(4)

    held = scale.autoscaler()
    assert held is not None
    assert (held.spec.min_replicas, held.spec.max_replicas) == (4, 4)
    assert held.metadata.annotations == {PAUSED_BOUNDS: "2,10"}
    assert fake.objects[f"{DEPLOYMENT}/scale"] == {"spec": {"replicas": 4}}
    assert scale.resume()
    free = scale.autoscaler()
    assert free is not None
    assert (free.spec.min_replicas, free.spec.max_replicas, free.metadata.annotations) == (2, 10, {})
    assert not scale.resume()


def test_notes_tell_a_change_under_way_and_an_autoscaler_that_sees_nothing(fake: FakeApiServer, api: ApiServer) -> None:
    fake.objects[DEPLOYMENT] = {
        "metadata": {"name": "demo", "generation": 2},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, "updatedReplicas": 1, "replicas": 3},
    }
    fake.objects[AUTOSCALER] = {
        "metadata": {"name": "demo", "annotations": {PAUSED_BOUNDS: "2,10"}},
        "spec": {"minReplicas": 4, "maxReplicas": 4},
        "status": {
            "currentReplicas": 2,
            "desiredReplicas": 4,
            "conditions": [{"type": "ScalingActive", "status": "False", "message": "no metrics returned"}],
        },
    }

    assert Scale(api, "ns", "demo").notes() == (
        "demo is changing: 1 of 2 pods are new, 3 exist",
        "autoscaler of demo: 4 to 4, paused (its configured bounds are 2 to 10), "
        "2 now, 4 desired; no metrics: no metrics returned",
    )


def test_the_bridge_spreads_requests_over_pods_and_passes_their_responses_on(
    fake: FakeApiServer, api: ApiServer
) -> None:
    for pod in "ab":
        fake.answers[proxy_path("ns", pod, 8080, "/v1/models/m:predict")] = (400, {"error": f"by {pod}"})

    def send(name: str, path: str, body: bytes | None, *, timeout: float, headers: dict[str, str]) -> HttpReply:
        return api.proxied("POST", proxy_path("ns", name, 8080, path), body=body, timeout=timeout, headers=headers)

    with bridge(send, lambda: ["a", "b"]) as url, urllib3.PoolManager() as pool:
        answers = [pool.request("POST", f"{url}/v1/models/m:predict", body=b"{}") for _ in range(3)]

    assert [(a.status, a.json()["error"]) for a in answers] == [(400, "by a"), (400, "by b"), (400, "by a")]


def test_a_bridge_to_nobody_is_an_error() -> None:
    with pytest.raises(TargetError, match="no gateway"), bridge(lambda *_, **__: HttpReply(status=500, body=b""), list):
        pass


def test_the_autoscaler_of_gateways_is_held_at_what_runs_and_given_back(fake: FakeApiServer, api: ApiServer) -> None:
    fake.objects[AUTOSCALER] = {
        "metadata": {"name": "demo", "annotations": {}},
        "spec": {"minReplicas": 1, "maxReplicas": 5},
    }
    fake.objects[DEPLOYMENT] = {"metadata": {"name": "demo"}, "spec": {"replicas": 3}}
    fake.objects[f"{DEPLOYMENT}/scale"] = {"spec": {"replicas": 3}}
    scale = Scale(api, "ns", "demo")

    scale.hold()
    assert fake.objects[AUTOSCALER]["spec"] == {"minReplicas": 3, "maxReplicas": 3}

    assert scale.resume()
    assert fake.objects[AUTOSCALER]["spec"] == {"minReplicas": 1, "maxReplicas": 5}


RESOURCE = """\
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="model-server",namespace="demo",pod="a"} 4.5 1700000000500
container_cpu_usage_seconds_total{container="sidecar",namespace="demo",pod="a"} 0.5 1700000001000
container_cpu_usage_seconds_total{container="model-server",namespace="other",pod="a"} 9 1700000000000
container_memory_working_set_bytes{container="model-server",namespace="demo",pod="a"} 1e+06 1700000000500
"""


def test_cpu_of_a_pod_is_that_of_its_containers_at_the_moment_of_the_kubelet() -> None:
    assert cpu.readings(RESOURCE, "demo") == {"a": CpuReading(seconds=5.0, at=1_700_000_001.0)}
