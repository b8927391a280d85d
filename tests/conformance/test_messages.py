"""Messages as JSON: nothing on the wire is lost, and the way back gives the same."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from paths import ROOT
from replay.cases import Case, load
from replay.messages import decode, encode, request_type, response_type

from tfserving.wire import messages_pb2 as m

RECORDINGS = load(ROOT / "tests" / "conformance")
PREDICT = "/tensorflow.serving.PredictionService/Predict"
HEALTH = "/grpc.health.v1.Health/Check"


def calls() -> Iterator[tuple[Case, dict[str, Any]]]:
    """Every call of every case, also those in bursts."""
    for case in RECORDINGS.cases:
        steps: Any = case.steps
        for step in steps:
            for place in (step, *step.get("groups", ())):
                if isinstance(request := place.get("grpc"), dict):
                    yield case, request


def test_recorded_responses_survive_the_way_to_bytes_and_back() -> None:
    seen = 0
    for case in RECORDINGS.cases:
        answer = RECORDINGS.answers[case.id]
        if isinstance(answer, dict) and "response" in answer and case.group != "grpc-meta":
            steps: Any = case.steps
            kind = response_type(steps[0]["grpc"]["method"])
            data = encode(kind, answer["response"])
            # Compared as text: NaN is not equal to itself.
            assert json.dumps(decode(kind.DESCRIPTOR, data), sort_keys=True) == json.dumps(
                answer["response"], sort_keys=True
            )
            seen += 1
    assert seen > 150


def test_the_bytes_of_a_request_say_what_its_json_says() -> None:
    seen = 0
    for case, request in calls():
        # Of some the bytes are broken on purpose, then there is no JSON; two use fields that our messages leave out.
        if request.get("json") is not None and request.get("b64") and case.id not in LEFT_OUT:
            data = base64.b64decode(request["b64"])
            kind = request_type(request["method"])
            # As messages, since some requests have a zero on the wire that a library would leave out.
            written = kind.FromString(data).SerializeToString(deterministic=True)
            assert encode(kind, request["json"]) == written, case.id
            seen += 1
    assert seen > 300


LEFT_OUT = {
    case.id
    for case, request in calls()
    if request["method"].endswith("/SessionRun") or "request_options" in (request.get("json") or {})
}


def test_the_cases_with_fields_of_others_are_two() -> None:
    assert len(LEFT_OUT) == 2


def test_a_zero_on_the_wire_is_distinguished_from_none() -> None:
    kind = m.StatusProto.DESCRIPTOR
    assert decode(kind, b"") == {}
    assert decode(kind, b"\x08\x00") == {"error_code": 0}


def test_fields_that_a_message_does_not_have_are_named() -> None:
    assert decode(m.StatusProto.DESCRIPTOR, b"\x08\x05\x48\x01\x52\x01a") == {
        "error_code": 5,
        "unknown_fields": [9, 10],
    }


def test_a_field_of_another_wire_type_is_named() -> None:
    assert decode(m.StatusProto.DESCRIPTOR, b"\x0a\x01a") == {"error_code": {"wrong_wire_type": 1}}


def test_numbers_keep_their_sign_and_texts_their_bytes() -> None:
    tensor = m.TensorProto(int_val=[-1], uint64_val=[2**64 - 1], double_val=[0.1], string_val=[b"a\n", b"\0", b"\xff"])
    assert decode(m.TensorProto.DESCRIPTOR, tensor.SerializeToString()) == {
        "int_val": [-1],
        "uint64_val": [2**64 - 1],
        "double_val": [0.1],
        "string_val": ["a\n", {"b64": "AA=="}, {"b64": "/w=="}],
    }


def test_a_text_that_is_not_utf_8_does_not_hide_the_rest() -> None:
    # The real server may cut a message within a character; the classes of protobuf refuse all of such a response.
    assert decode(m.StatusProto.DESCRIPTOR, b"\x08\x05\x12\x02a\xc3") == {
        "error_code": 5,
        "error_message": {"b64": "YcM="},
    }


def test_numbers_one_by_one_are_the_same_as_packed() -> None:
    one_by_one, packed = b"\x38\x01\x38\x02", b"\x3a\x02\x01\x02"
    assert decode(m.TensorProto.DESCRIPTOR, one_by_one) == decode(m.TensorProto.DESCRIPTOR, packed)


def test_the_messages_of_the_health_service() -> None:
    assert encode(request_type(HEALTH), {"service": "a"}) == b"\x0a\x01a"
    assert decode(response_type(HEALTH).DESCRIPTOR, b"\x08\x01") == {"status": 1}


def test_a_field_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(ValueError, match="PredictRequest has no field nope"):
        encode(request_type(PREDICT), {"nope": 1})
