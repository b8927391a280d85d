"""Input that once made an internal error, and records of any shape for specs of any shape."""

from __future__ import annotations

import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gateway_process import GatewayProcess, config
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.preprocess import Rates, RateTable, compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.spec import parse_spec

HUGE = "9" * 5000
"""More digits than Python turns into an integer."""
texts = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud800", "\x00", "NaN", "a", "stable", "🦊"])
numbers = st.floats() | st.integers() | st.sampled_from([2**63, -(2**63), 2**64, 10**400, 1e308, 5e-324, -0.0])
scalars = st.none() | st.booleans() | numbers | texts
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(texts | st.sampled_from(["f0", "b64"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def raw(gateway: GatewayProcess, sent: bytes, *, half_close: bool = False) -> bytes:
    """What comes back until the gateway closes the connection."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(partial(connection.recv, 65536), b""))


def test_a_client_that_leaves_within_its_body_is_no_error(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, config("127.0.0.1:1"), "--drain-seconds", "0")
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 31\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert gateway.told("/routes").status_code == 200
    assert gateway.stop() == 0
    log = "".join(gateway.log)
    assert "Traceback" not in log
    assert "requests accepted: 1, completed: 0, abandoned: 1" in log


def test_a_client_that_closes_its_half_after_asking_gets_its_response(gateway: GatewayProcess) -> None:
    body = b'{"records": [{"a": 1, "b": 2}]}'
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: gateway\r\ncontent-length: %d\r\n\r\n" % len(body)
    answer = raw(gateway, head + body, half_close=True)
    assert answer.startswith(b"HTTP/1.1 200 OK"), answer
    assert b"connection: close" in answer


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_version_with_thousands_of_digits_is_refused(gateway: GatewayProcess, method: str) -> None:
    path = f"/v1/models/m/versions/{HUGE}"
    answer = gateway.get(path) if method == "GET" else gateway.post({"records": [{}]}, path=f"{path}:predict")
    assert answer.status_code == 400


def test_numbers_with_thousands_of_digits_in_headers_and_bodies(gateway: GatewayProcess) -> None:
    body = '{"records": [{"a": 1, "b": 2}]}'
    assert gateway.post(body, x_request_timeout_ms=HUGE).status_code == 200, "it is more than limits.timeout_ms"
    assert gateway.post(body, x_request_timeout_ms="0" * 5000).status_code == 400
    head = (
        f"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {'0' * 5000}31\r\n\r\n"
    )
    assert raw(gateway, (head + body).encode()).startswith(b"HTTP/1.1 200 ")
    refused = gateway.post(body.replace("1", HUGE))
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/json")


bounds = st.floats(-1e6, 1e6)
NUMERIC: dict[str, st.SearchStrategy[Any]] = {
    "min": bounds.filter(lambda bound: bound <= 0), "max": bounds.filter(lambda bound: bound >= 0),
    "clip": st.fixed_dictionaries({"min": st.floats(-0.5, 0), "max": st.floats(0, 1e30)}),
    "normalize": st.fixed_dictionaries({"mean": bounds, "std": st.floats(1e-30, 1e30)}),
}  # fmt: skip
words = st.lists(st.text("abc", min_size=1, max_size=2), min_size=1, max_size=4, unique=True)
features = st.one_of(
    *(st.fixed_dictionaries({"type": st.just(kind)}, optional=NUMERIC) for kind in ("float", "int")),
    st.fixed_dictionaries({"type": st.just("vector"), "length": st.integers(1, 3)}, optional=NUMERIC),
    st.fixed_dictionaries({"type": st.just("bool")}, optional={"default": st.booleans()}),
    st.fixed_dictionaries({"type": st.just("category"), "vocabulary": words}),
    st.just({"type": "float", "currency": {"field": "money", "to": "EUR"}}),
)
any_records = st.lists(
    st.dictionaries(st.sampled_from(["f0", "f1", "f2", "money", "x"]), documents, max_size=5) | documents, max_size=3
)


@settings(max_examples=300)
@given(listed=st.lists(features, min_size=1, max_size=3), records=any_records, data=st.data())
def test_any_spec_makes_of_any_records_finite_numbers_or_problems(
    listed: list[dict[str, Any]], records: list[Any], data: st.DataObject
) -> None:
    named = [feature | {"name": f"f{index}"} for index, feature in enumerate(listed)]
    width = sum(
        feature["length"] if feature["type"] == "vector" else len(feature.get("vocabulary", "1")) for feature in named
    )
    dtype = data.draw(st.sampled_from(["float32", "float64", "float16"]))
    spec = {
        "features": named,
        "input": {"name": "x", "dtype": dtype, "shape": [-1, width]},
        "output": {"name": "y", "kind": "raw"},
    }
    compiled = compile_spec(parse_spec(json.dumps(spec)), Rates(RateTable(base="USD", rates={"EUR": 0.5})))
    try:
        tensor = compiled.vectorize(records)
    except RecordProblems as error:
        for problem in error.problems:
            assert 0 <= problem.record < len(records)
            assert problem.problem
            record = records[problem.record]
            assert problem.feature or not isinstance(record, dict) or "" in record
        return
    assert tensor.shape == (len(records), width)
    assert np.isfinite(tensor).all()
