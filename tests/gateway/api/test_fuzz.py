"""Whatever is sent: no 500, no hang, no traceback in the log."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SETTINGS = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([10**400, -(2**63) - 1, 2**64, 1e308, -0.0, "\ud800", "b64", "NaN"])
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "x", "b64", ""]) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
RECORD = st.dictionaries(st.sampled_from(["a", "b", "c"]), ANYTHING, max_size=3)
NEARLY = st.fixed_dictionaries(
    {"records": st.lists(RECORD | ANYTHING, max_size=4) | ANYTHING},
    optional={"version": st.just("v1") | ANYTHING, "metadata": ANYTHING, "instances": ANYTHING},
)
TENSORS = st.dictionaries(st.sampled_from(["instances", "inputs", "signature_name", "records"]), ANYTHING, max_size=3)
PATHS = st.sampled_from(["", "/labels/stable", "/labels/canary", "/versions/1", "/versions/9", "/labels/none"])


def quiet(gateway: GatewayProcess) -> bool:
    """Whether nothing in the log so far is a traceback, and the gateway still answers."""
    return gateway.told("/routes").status_code == 200 and not any("Traceback" in line for line in gateway.log)


@SETTINGS
@given(document=NEARLY | TENSORS | ANYTHING, path=PATHS)
def test_any_json_gets_a_prediction_or_a_reason(
    gateway: GatewayProcess, server: FakeModelServer, document: Any, path: str
) -> None:
    body = json.dumps(document)
    answer = gateway.post(body.encode(), path=f"/v1/models/m{path}:predict")
    assert answer.status_code in (200, 400, 404), (body, answer.text)
    if answer.status_code != 200:
        assert answer.json()["error"]
    assert quiet(gateway)


@SETTINGS
@given(records=st.lists(RECORD, min_size=1, max_size=4).filter(lambda records: "\\ud" not in json.dumps(records)))
def test_every_bad_record_is_named_with_feature_and_reason(
    gateway: GatewayProcess, server: FakeModelServer, records: list[dict[str, Any]]
) -> None:
    body = json.dumps({"records": records})
    answer = gateway.post(body.encode())
    if re.search("NaN|Infinity", body) and re.search(r"\d{309}", body):
        # Neither reader takes it: one no NaN, the other, as TensorFlow Serving, no number that is larger than a double.
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
        return
    fine = [
        set(record) == {"a", "b"}
        and all(type(value) in (int, float) and abs(value) < 3e38 for value in record.values())
        for record in records
    ]
    if all(fine):
        assert answer.status_code == 200, answer.text
        return
    assert answer.status_code == 400, answer.text
    details = answer.json()["details"]
    assert {detail["record"] for detail in details} == {index for index, good in enumerate(fine) if not good}
    assert all(detail["feature"] in ("a", "b", "c") and detail["problem"] for detail in details)
    assert answer.json()["error"].startswith(f"record {details[0]['record']}: feature '{details[0]['feature']}': ")


@SETTINGS
@given(body=st.binary(max_size=64) | st.sampled_from([b'{"records"', b'{"records": ' + b"[" * 5000, b'"records"']))
def test_any_bytes_get_a_reason(gateway: GatewayProcess, server: FakeModelServer, body: bytes) -> None:
    answer = gateway.post(body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]
    assert quiet(gateway)


LINES = st.lists(
    st.sampled_from(
        [
            b"content-length: 3", b"content-length: -1", b"content-length: 99999999999999999999", b"content-length: x",
            b"transfer-encoding: chunked", b"expect: 100-continue", b"connection: upgrade", b"upgrade: websocket",
            b"connection: close", b"content-encoding: gzip", b"x-request-timeout-ms: 50", b"x-request-timeout-ms: -1",
            b"x-request-id: \xff\x01", b"host: x", b"LONG: b",
        ]
    )
    | st.binary(max_size=20),
    max_size=5,
)  # fmt: skip
TARGETS = st.sampled_from(
    [
        b"/v1/models/m:predict", b"/v1/models/%ff%00:predict", b"*", b"http://x/livez",
        b"/v1/models/m/versions/0:predict", b"/v1/models/\xc3\xa9:predict", b"x:443", b"//",
        b"/metrics?", b"/v1/models/m:predict#f",
    ]
) | st.binary(max_size=12)  # fmt: skip
METHODS = st.sampled_from([b"GET", b"POST", b"CONNECT", b"OPTIONS", b"HEAD", b"PRI", b"get"]) | st.binary(max_size=5)


@SETTINGS
@given(
    method=METHODS,
    target=TARGETS,
    lines=LINES,
    body=st.binary(max_size=40),
    version=st.sampled_from([b"1.1", b"1.0", b"2.0", b"9"]),
)
def test_any_bytes_on_the_port_get_a_response_or_are_rejected(
    gateway: GatewayProcess, method: bytes, target: bytes, lines: list[bytes], body: bytes, version: bytes
) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    sent = b"\r\n".join([method + b" " + target + b" HTTP/" + version, *lines, b"", b""]) + body
    sent = sent.replace(b"LONG", b"a" * 70000)
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except TimeoutError:
            raise
        except OSError:
            pass  # reset: what was sent after a refusal is not read any more
    assert b" 500 " not in answer.partition(b"\r\n")[0], (sent[:400], answer[:400])
    assert quiet(gateway), (sent[:400], gateway.log[-40:])
