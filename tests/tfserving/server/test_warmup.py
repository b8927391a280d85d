"""Warm-up files that end early or are none, and what the metrics say of a replay."""

from __future__ import annotations

import pytest

from tfserving.server.metrics import Metrics
from tfserving.server.warmup import FILE, Replay
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import StatusError

NO_OPERATION = bytes.fromhex("0000000000000000 29039807 d8ea82a2")
"""A record without a byte: a PredictionLog that asks for nothing."""
COUNT = ":tensorflow:serving:model_warmup_latency_count"


@pytest.fixture
def replay(tmp_path):
    """Replays a file of these bytes: the error's text, and the counts of the metric by status."""

    def run(content: bytes) -> tuple[str, list[str]]:
        (tmp_path / FILE).parent.mkdir()
        (tmp_path / FILE).write_bytes(content)
        metrics, text = Metrics(), ""
        try:
            Replay(metrics, 1)(str(tmp_path), None)
        except StatusError as error:
            text = str(error)
        lines = [line for line in metrics.text().splitlines() if line.startswith(COUNT)]
        return text, [line.split('status="')[1] for line in lines]

    return run


@pytest.mark.parametrize("content", [b"", NO_OPERATION, NO_OPERATION + NO_OPERATION[:11]])
def test_a_length_that_is_torn_is_the_end_of_the_file(replay, content):
    assert replay(content) == ("", ['OK"} 1'])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (NO_OPERATION[:13], "truncated record at 0' failed with Read less bytes than requested"),
        (NO_OPERATION + NO_OPERATION[:12], "truncated record at 16' failed with Read less bytes than requested"),
        (b"no record, but long enough", "corrupted record at 0 (Is this even a TFRecord file?)"),
    ],
)
def test_a_torn_record_is_counted_with_its_reason(replay, content, what):
    text, counted = replay(content)
    assert text == f"DATA_LOSS: {what}. Please verify your warmup data is in TFRecord format."
    assert counted == [f'DATA_LOSS: {what}"}} 1']


def test_a_record_that_fails_leaves_no_sample(replay):
    log = m.PredictionLog(session_run_log=b"x").SerializeToString()
    record = bytes.fromhex("03000000 00000000 b099490e") + log + b"crc!"
    assert replay(record) == ("UNIMPLEMENTED: Unsupported log_type for warmup: 5", [])
