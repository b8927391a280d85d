"""The REST API over real sockets: routes, status codes, headers, bodies, metrics.

The model is a fake that answers with its own inputs; the real models are behind the API in test_rest_models.py.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
from rest_echo import NINES, PREDICT, ZEROS, Served, error

from tfserving.server.memory import Budget
from tfserving.wire.status import Code, StatusError


def test_predict_by_row_and_by_column(served: Served) -> None:
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
def test_ways_to_name_a_version(served: Served, path: str) -> None:
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
def test_errors_by_route(served: Served, method: str, path: str, status: int, message: str) -> None:
    answered, headers, body = served.ask(method, path, '{"instances":[1]}' if method == "POST" else None)
    assert (answered, error(body)) == (status, message)
    assert headers["content-type"] == "application/json"


def test_a_version_beyond_64_bits_is_refused_without_words(served: Served) -> None:
    assert served.ask("GET", f"/v1/models/echo/versions/{2**63}")[::2] == (400, b"")


@pytest.mark.parametrize("path", ["/", "/v1", "/healthz", "/v2/models/echo", "//v1/models/echo"])
def test_everything_else_is_a_page(served: Served, path: str) -> None:
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
            "JSON Value: {\n    \"instances\": -3.1267232e135\n} Expecting 'instances' to be an list/array",
        ),
        ('{"instances":1e-310}', "JSON Value: {\n    \"instances\": 0.0\n} Expecting 'instances' to be an list/array"),
        ('{"signature_name":"zz","instances":[1]}', 'Serving signature name: "zz" not found in signature def'),
    ],
)
def test_bad_predict_bodies(served: Served, body: str, message: str) -> None:
    status, _, answer = served.ask("POST", PREDICT, body)
    assert (status, error(answer)) == (400, message)


def test_wrong_shape_of_the_request(served: Served) -> None:
    _, _, body = served.ask("POST", PREDICT, '{"instances":[1],"inputs":[1]}')
    assert error(body).endswith("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ")
    _, _, body = served.ask("POST", PREDICT, '{"signature_name":5,"instances":[1]}')
    assert error(body).endswith("not formatted correctly. 'signature_name' key must be a string value.")
    served.inference.signature_def.inputs.clear()
    _, _, body = served.ask("POST", PREDICT, '{"instances":[1]}')
    assert error(body) == "Failed to get input map for signature: DEFAULT"


def test_a_model_that_is_not_there_is_reported_after_json_that_is_not_json(served: Served) -> None:
    assert served.ask("POST", "/v1/models/nope:predict", "{")[0] == 400
    assert served.ask("POST", "/v1/models/nope:predict", "{}")[0] == 404


@pytest.mark.parametrize(
    ("code", "status"),
    [(Code.DEADLINE_EXCEEDED, 504), (Code.UNAVAILABLE, 503), (Code.RESOURCE_EXHAUSTED, 429), (Code.CANCELLED, 499)],
)
def test_status_codes(served: Served, code: Code, status: int) -> None:
    served.inference.failure = StatusError(code, "why")
    answered, _, body = served.ask("POST", PREDICT, '{"instances":[1]}')
    assert (answered, error(body)) == (status, "why")


def test_a_bug_behind_the_api_is_a_500_and_not_the_end(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.inference.bug = KeyError("x")
    assert served.ask("POST", PREDICT, '{"instances":[1]}')[0] == 500
    assert "failed" in caplog.text
    assert served.ask("GET", "/v1/models/echo")[0] == 200


def test_status_and_metadata(served: Served) -> None:
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
def test_packed_bodies(served: Served, encoding: str, pack: Callable[[bytes], bytes], status: int) -> None:
    body = pack(b'{"instances":[1]}')
    assert served.ask("POST", PREDICT, body, {"Content-Encoding": encoding})[0] == status


def test_a_body_may_not_unpack_to_more_than_100_mib(served: Served) -> None:
    bomb = gzip.compress(b'{"pad":"' + b" " * (100 << 20) + b'","instances":[1]}', 1)
    _, _, body = served.ask("POST", PREDICT, bomb, {"Content-Encoding": "gzip"})
    assert error(body) == "JSON Parse error: The document is empty"


def test_a_body_that_unpacks_beyond_the_budget_is_resource_exhausted() -> None:
    served = Served(budget=Budget(1_000_000))
    bomb = gzip.compress(b'{"instances":[' + b" " * 20_000_000 + b"1]}")
    status, _, body = served.ask("POST", "/v1/models/echo:predict", bomb, {"Content-Encoding": "gzip"})
    assert (status, body) == (429, b'{\n    "error": "the requests in progress leave no memory for this one"\n}')
    small = gzip.compress(b'{"instances":[1]}')
    assert served.ask("POST", "/v1/models/echo:predict", small, {"Content-Encoding": "gzip"})[0] == 200
    served.server.stop(10)


def test_cors() -> None:
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
def test_preflight(served: Served, origin: str | None, status: int) -> None:
    answered, headers, body = served.ask("OPTIONS", PREDICT, headers={"Origin": origin} if origin else {})
    assert (answered, body) == (status, b"")
    assert headers["content-type"] == "text/html; charset=ISO-8859-1"
    assert "access-control-allow-origin" not in headers


def test_metrics_page(served: Served) -> None:
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


def test_metrics_path_is_exact(served: Served) -> None:
    status, _, body = served.ask("GET", "/metrics?x=1")
    assert (status, body) == (400, b"Unexpected path: /metrics?x=1. Should be /metrics")
    assert served.ask("GET", "/metrics/")[0] == 404
    without = Served(prometheus_path=None)
    assert without.ask("GET", "/metrics")[0] == 404
    without.server.stop(0)


@pytest.mark.parametrize(("timeout_ms", "seconds"), [(1500, 1.5), (0, None), (-1, None)])
def test_the_timeout_bounds_the_run(timeout_ms: int, seconds: float | None) -> None:
    served = Served(timeout_ms=timeout_ms)
    served.ask("POST", PREDICT, '{"instances":[1]}')
    served.server.stop(0)
    assert served.inference.timeouts == [seconds]


def test_an_exponent_of_thousands_of_digits(served: Served) -> None:
    body = b'{"instances":[1e%s1,1e-%s]}' % (ZEROS, NINES)
    assert json.loads(served.ask("POST", PREDICT, body)[2]) == {"predictions": [10.0, 0.0]}
