"""The REST port over real sockets: routes, status codes, headers, connections, metrics.

Inference is a fake that answers with its own inputs, so that what is seen here is what the REST layer does; the real
models are behind it in test_rest_models.py.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest

from tfserving.server.inference import Described, Predicted
from tfserving.server.memory import Budget
from tfserving.server.metrics import Metrics
from tfserving.server.rest_api import RestServer
from tfserving.server.servable import NotQuick
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError

PREDICT = "/v1/models/echo:predict"


class FakeInference:
    """One model "echo", version 3, label "stable", whose output y is its float input x."""

    def __init__(self) -> None:
        self.signature_def = m.SignatureDef(method_name="tensorflow/serving/predict")
        self.signature_def.inputs["x"].dtype = m.DT_FLOAT
        self.failure: StatusError | None = None
        self.timeouts: list[float | None] = []
        self.gate = threading.Event()
        self.gate.set()
        self.quick = True

    def _find(self, spec):
        if spec.WhichOneof("version_choice") == "version_label" and spec.version_label != "stable":
            raise StatusError(Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}")
        if spec.name != "echo":
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        if spec.HasField("version") and spec.version.value != 3:
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: Specific(echo, {spec.version.value})")

    def signature(self, spec, name):
        self._find(spec)
        return None if name not in ("", "serving_default") else self.signature_def

    def predict(self, spec, inputs, *, output_filter=(), timeout, only_if_quick=False):
        self._find(spec)
        if only_if_quick and not (self.quick and self.gate.is_set()):
            raise NotQuick
        self.timeouts.append(timeout)
        self.gate.wait(10)
        if self.failure:
            raise self.failure
        return Predicted(outputs={"y": inputs["x"]}, name="echo", version=3, signature="serving_default")

    def status(self, name, version):
        if name != "echo":
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        status = m.ModelVersionStatus(version=3, state=m.ModelVersionStatus.AVAILABLE)
        return [status]

    def metadata(self, spec):
        self._find(spec)
        return Described(
            name="echo", version=3, signatures=m.SignatureDefMap(signature_def={"serving_default": self.signature_def})
        )


class Served:
    """A running server and its parts."""

    def __init__(self, **options) -> None:
        self.inference, self.metrics, self.budget = FakeInference(), Metrics(), Budget(1 << 30)
        settings = {"port": 0, "threads": 4, "timeout_ms": 30000, "cors": False, "prometheus_path": "/metrics"}
        self.server = RestServer(self.inference, self.metrics, **({"budget": self.budget} | settings | options))
        self.server.start()

    def ask(self, method, path, body=None, headers=None):
        """One request on a connection of its own: status, headers (lower-case) and body."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def raw(self, data, *, end=False):
        """Everything the server sends for these bytes until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as client:
            client.sendall(data)
            if end:
                client.shutdown(socket.SHUT_WR)
            received = b""
            while piece := client.recv(65536):
                received += piece
            return received


@pytest.fixture
def served():
    started = Served()
    yield started
    started.server.stop(0)


def error(body):
    return json.loads(body)["error"]


def test_predict_by_row_and_by_column(served):
    assert served.ask("POST", PREDICT, '{"instances":[1,2.5]}')[::2] == (
        200,
        b'{\n    "predictions": [1.0, 2.5\n    ]\n}',
    )
    status, headers, body = served.ask("POST", PREDICT, '{"inputs":[[1],[2]]}', {"Content-Type": "text/plain"})
    assert (status, json.loads(body)) == (200, {"outputs": [[1.0], [2.0]]})
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/echo/versions/3:predict",
        "/v1/models/echo/versions/003:predict",
        "/v1/models/echo/labels/stable:predict",
        "/V1/Models/echo:predict",
        "/v1/models/%65cho:predict",
    ],
)
def test_ways_to_name_a_version(served, path):
    assert served.ask("POST", path, '{"instances":[1]}')[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/nope:predict", 404, "Servable not found for request: Latest(nope)"),
        ("POST", "/v1/models/echo/versions/9:predict", 404, "Servable not found for request: Specific(echo, 9)"),
        ("POST", "/v1/models/echo/labels/x:predict", 400, "Unrecognized servable version label: x"),
        ("GET", "/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("GET", "/v1/models/nope?x=1", 404, "Could not find any versions of model nope?x=1"),
        ("GET", "/v1/models/n%20o%2Fpe", 404, "Could not find any versions of model n o/pe"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/versions/3", 400, "Missing model name in request."),
        *(
            (method, path, 400, f"Malformed request: {method} {path}")
            for method, path in [
                ("GET", "/v1/"),
                ("GET", "/v1/foo"),
                ("GET", "/v1/models/echo/"),
                ("GET", "/v1/models/echo/versions"),
                ("GET", "/v1/models/echo/versions/3/labels/stable"),
                ("GET", PREDICT),
                ("POST", "/v1/models/echo"),
                ("POST", "/v1/models/echo:PREDICT"),
                ("POST", "/v1/models/echo:predict?x=1"),
                ("POST", "/v1/models/echo/versions/abc:predict"),
                ("PUT", PREDICT),
                ("DELETE", PREDICT),
                ("PATCH", "/v1/models/echo"),
            ]
        ),
    ],
)
def test_errors_by_route(served, method, path, status, message):
    answered, headers, body = served.ask(method, path, '{"instances":[1]}' if method == "POST" else None)
    assert (answered, error(body)) == (status, message)
    assert headers["content-type"] == "application/json"


def test_a_version_beyond_64_bits_is_refused_without_words(served):
    assert served.ask("GET", f"/v1/models/echo/versions/{2**63}")[::2] == (400, b"")


@pytest.mark.parametrize("path", ["/", "/v1", "/healthz", "/v2/models/echo", "//v1/models/echo"])
def test_everything_else_is_a_page(served, path):
    status, headers, body = served.ask("GET", path)
    assert (status, headers["content-type"], headers["connection"]) == (404, "text/html", "close")
    assert b"<TITLE>404 Not Found</TITLE>" in body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("{", "JSON Parse error: Missing a name for object member. at offset: 1"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances":5}', "JSON Value: {\n    \"instances\": 5\n} Expecting 'instances' to be an list/array"),
        ('{"instances":[]}', "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        # Numbers are shown as the real server reads and writes them, which is wrong in the last digits.
        (
            '{"instances":-3.1267232e+135}',
            "JSON Value: {\n    \"instances\": -3.1267232000000008e135\n} Expecting 'instances' to be an list/array",
        ),
        ('{"instances":1e-310}', "JSON Value: {\n    \"instances\": 0.0\n} Expecting 'instances' to be an list/array"),
        ('{"signature_name":"zz","instances":[1]}', 'Serving signature name: "zz" not found in signature def'),
    ],
)
def test_bad_predict_bodies(served, body, message):
    status, _, answer = served.ask("POST", PREDICT, body)
    assert (status, error(answer)) == (400, message)


def test_wrong_shape_of_the_request(served):
    _, _, body = served.ask("POST", PREDICT, '{"instances":[1],"inputs":[1]}')
    assert error(body).endswith("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ")
    _, _, body = served.ask("POST", PREDICT, '{"signature_name":5,"instances":[1]}')
    assert error(body).endswith("not formatted correctly. 'signature_name' key must be a string value.")
    served.inference.signature_def.inputs.clear()
    _, _, body = served.ask("POST", PREDICT, '{"instances":[1]}')
    assert error(body) == "Failed to get input map for signature: DEFAULT"


def test_a_model_that_is_not_there_is_reported_after_json_that_is_not_json(served):
    assert served.ask("POST", "/v1/models/nope:predict", "{")[0] == 400
    assert served.ask("POST", "/v1/models/nope:predict", "{}")[0] == 404


@pytest.mark.parametrize(
    ("code", "status"),
    [(Code.DEADLINE_EXCEEDED, 504), (Code.UNAVAILABLE, 503), (Code.RESOURCE_EXHAUSTED, 429), (Code.CANCELLED, 499)],
)
def test_status_codes(served, code, status):
    served.inference.failure = StatusError(code, "why")
    answered, _, body = served.ask("POST", PREDICT, '{"instances":[1]}')
    assert (answered, error(body)) == (status, "why")


def test_a_bug_behind_the_api_is_a_500_and_not_the_end(served, caplog):
    served.inference.predict = None
    assert served.ask("POST", PREDICT, '{"instances":[1]}')[0] == 500
    assert "failed" in caplog.text
    assert served.ask("GET", "/v1/models/echo")[0] == 200


def test_status_and_metadata(served):
    _, _, body = served.ask("GET", "/v1/models/echo")
    assert body == (
        b'{\n "model_version_status": [\n  {\n   "version": "3",\n   "state": "AVAILABLE",\n   "status": {\n'
        b'    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
    )
    assert served.ask("GET", "/v1/models/echo/labels/bogus")[2] == body
    assert served.ask("GET", "/v1/models/echo/Metadata")[2] == body
    _, _, body = served.ask("GET", "/v1/models/echo/metadata")
    described = json.loads(body)
    assert described["model_spec"] == {"name": "echo", "signature_name": "", "version": "3"}
    signature = described["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["defaults"] == {}


@pytest.mark.parametrize(
    ("encoding", "pack", "status"),
    [
        ("gzip", gzip.compress, 200),
        ("x-gzip", gzip.compress, 200),
        ("gzip, identity", gzip.compress, 200),
        ("deflate", lambda body: body, 200),
        ("GZIP", gzip.compress, 400),
        ("gzip", lambda body: body, 400),
        ("gzip", lambda body: gzip.compress(body)[:-3], 400),
        ("gzip", lambda body: gzip.compress(body) + b"x", 400),
        ("gzip", lambda body: gzip.compress(body) * 2, 400),
    ],
)
def test_packed_bodies(served, encoding, pack, status):
    body = pack(b'{"instances":[1]}')
    assert served.ask("POST", PREDICT, body, {"Content-Encoding": encoding})[0] == status


def test_a_body_may_not_unpack_to_more_than_100_mib(served):
    bomb = gzip.compress(b'{"pad":"' + b" " * (100 << 20) + b'","instances":[1]}', 1)
    _, _, body = served.ask("POST", PREDICT, bomb, {"Content-Encoding": "gzip"})
    assert error(body) == "JSON Parse error: The document is empty"


def test_cors():
    served = Served(cors=True)
    try:
        for method, path in [("GET", "/v1/models/echo"), ("GET", "/v1/models/nope"), ("OPTIONS", PREDICT)]:
            _, headers, _ = served.ask(method, path, headers={"Origin": "http://a"})
            assert headers["access-control-allow-origin"] == "*"
            assert headers["access-control-allow-methods"] == "POST, GET"
            assert headers["access-control-allow-headers"] == "Content-Type"
        assert "access-control-allow-origin" not in served.ask("GET", "/metrics")[1]
    finally:
        served.server.stop(0)


@pytest.mark.parametrize(("origin", "status"), [("http://a", 200), ("https://b:1", 200), ("ftp://c", 400), (None, 400)])
def test_preflight(served, origin, status):
    answered, headers, body = served.ask("OPTIONS", PREDICT, headers={"Origin": origin} if origin else {})
    assert (answered, body) == (status, b"")
    assert headers["content-type"] == "text/html; charset=ISO-8859-1"
    assert "access-control-allow-origin" not in headers


def test_metrics_page(served):
    served.ask("POST", PREDICT, '{"instances":[1]}')
    served.ask("GET", "/v1/models/echo")
    served.ask("POST", "/v1/models/no%22pe:predict", "{}")
    served.ask("GET", "/v1/foo")
    served.ask("GET", "/nope")
    served.ask("OPTIONS", PREDICT)
    status, headers, body = served.ask("POST", "/metrics", "ignored")
    assert (status, headers["content-type"]) == (200, "text/plain")
    lines = body.decode().splitlines()
    counts = [line for line in lines if line.startswith(":tensorflow:serving:request_count{")]
    assert sorted(counts) == sorted(
        [
            ':tensorflow:serving:request_count{model_name="echo",status="OK"} 2',
            r':tensorflow:serving:request_count{model_name="no\"pe",status="NOT_FOUND"} 1',
            ':tensorflow:serving:request_count{model_name="",status="INVALID_ARGUMENT"} 1',
            ':tensorflow:serving:request_count{model_name="",status="FAILED_PRECONDITION"} 1',
        ]
    )
    latency = ":tensorflow:serving:request_latency_count"
    assert f'{latency}{{model_name="echo",API="predict",entrypoint="REST"}} 1' in lines
    assert f'{latency}{{model_name="echo",API="",entrypoint="REST"}} 1' in lines


def test_metrics_path_is_exact(served):
    status, _, body = served.ask("GET", "/metrics?x=1")
    assert (status, body) == (400, b"Unexpected path: /metrics?x=1. Should be /metrics")
    assert served.ask("GET", "/metrics/")[0] == 404
    without = Served(prometheus_path=None)
    assert without.ask("GET", "/metrics")[0] == 404
    without.server.stop(0)


@pytest.mark.parametrize(("timeout_ms", "seconds"), [(1500, 1.5), (0, None), (-1, None)])
def test_the_timeout_bounds_the_run(timeout_ms, seconds):
    served = Served(timeout_ms=timeout_ms)
    served.ask("POST", PREDICT, '{"instances":[1]}')
    served.server.stop(0)
    assert served.inference.timeouts == [seconds]


def test_requests_on_one_connection_are_answered_in_order(served):
    ask = b"GET /v1/models/%s HTTP/1.1\r\n%s\r\n"
    answers = served.raw(ask % (b"echo", b"") + ask % (b"nope", b"") + ask % (b"echo", b"Connection: close\r\n"))
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


def test_a_client_that_ends_its_side_still_gets_its_answer(served):
    assert served.raw(b"GET /v1/models/echo HTTP/1.1\r\n\r\n", end=True).startswith(b"HTTP/1.1 200")
    assert served.raw(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort", end=True) == b""


def test_a_refused_client_reads_why_although_it_keeps_sending(served):
    answer = served.raw(b"POST /v1/x HTTP/1.1\r\nContent-Length: 9999999\r\nExpect: x\r\n\r\n" + b"y" * 500000)
    assert answer.startswith(b"HTTP/1.1 417 Expectation Failed")


def test_a_tunnel_is_refused_and_left_to_its_client(served):
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as client:
        client.sendall(b"CONNECT localhost:443 HTTP/1.1\r\n\r\n")
        received = b""
        while not received.endswith(b"</HTML>\n"):
            received += client.recv(65536)
        assert received.startswith(b"HTTP/1.1 501 ")
        assert b"Content-Length" not in received
        client.sendall(b"GET /v1/models/echo HTTP/1.1\r\n\r\n")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_continue_is_sent_before_the_body(served):
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as client:
        client.sendall(f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 17\r\nExpect: 100-continue\r\n\r\n".encode())
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b'{"instances":[1]}')
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_ipv4_and_ipv6_are_both_served(served):
    families = {info[0] for info in socket.getaddrinfo("localhost", served.server.port, type=socket.SOCK_STREAM)}
    addresses = ["127.0.0.1"] + (["::1"] if socket.AF_INET6 in families else [])
    for address in addresses:
        socket.create_connection((address, served.server.port), timeout=5).close()


def test_one_thread_accepts_and_answers_nothing():
    served = Served(threads=1)
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=0.3) as client:
        client.sendall(b"GET /v1/models/echo HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            client.recv(1)
    served.server.stop(0)


def test_stop_lets_the_request_in_progress_finish():
    served = Served()
    served.inference.gate.clear()
    answers = []
    client = threading.Thread(target=lambda: answers.append(served.ask("POST", PREDICT, '{"instances":[1]}')[0]))
    client.start()
    while not served.inference.timeouts:
        time.sleep(0.01)
    stopping = threading.Thread(target=served.server.stop, args=(10,))
    stopping.start()
    while True:
        try:
            socket.create_connection(("127.0.0.1", served.server.port), timeout=1).close()
        except OSError:
            break
        time.sleep(0.01)
    served.inference.gate.set()
    client.join(10)
    stopping.join(10)
    assert answers == [200]


def test_a_port_in_use_is_reported(served):
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        Served(port=served.server.port)


def test_a_body_that_unpacks_beyond_the_budget_is_resource_exhausted():
    served = Served(budget=Budget(1_000_000))
    bomb = gzip.compress(b'{"instances":[' + b" " * 20_000_000 + b"1]}")
    status, _, body = served.ask("POST", "/v1/models/echo:predict", bomb, {"Content-Encoding": "gzip"})
    assert (status, body) == (429, b'{\n    "error": "the requests in progress leave no memory for this one"\n}')
    small = gzip.compress(b'{"instances":[1]}')
    assert served.ask("POST", "/v1/models/echo:predict", small, {"Content-Encoding": "gzip"})[0] == 200
    served.server.stop(10)


def test_a_model_that_is_not_quick_holds_up_no_other(served):
    served.inference.quick = False
    served.inference.gate.clear()
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(served.ask, "POST", "/v1/models/echo:predict", '{"instances":[1]}')
        assert [served.ask("GET", "/v1/models/echo")[0] for _ in range(5)] == [200] * 5
        assert not slow.done()
        served.inference.gate.set()
        assert slow.result()[0] == 200


ZEROS, NINES = b"0" * 5000, b"9" * 5000
"""More digits than Python turns into an integer."""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST %s HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (PREDICT.encode(), NINES), 413),
        (b"POST %s HTTP/1.1\r\nContent-Length: %s17\r\n\r\n" % (PREDICT.encode(), ZEROS) + b'{"instances":[1]}', 200),
        (b"GET /v1/models/echo/versions/%s HTTP/1.1\r\n\r\n" % NINES, 400),
        (b"GET /v1/models/echo/versions/%s3 HTTP/1.1\r\n\r\n" % ZEROS, 200),
    ],
    ids=["long length", "zeros before a length", "long version", "zeros before a version"],
)
def test_numbers_of_thousands_of_digits(served, sent, status):
    assert served.raw(sent, end=True).startswith(b"HTTP/1.1 %d " % status)


def test_an_exponent_of_thousands_of_digits(served):
    body = b'{"instances":[1e%s1,1e-%s]}' % (ZEROS, NINES)
    assert json.loads(served.ask("POST", PREDICT, body)[2]) == {"predictions": [10.0, 0.0]}
