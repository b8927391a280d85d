"""Warm-up files that end early or are none, and what the metrics say of a replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tfrecords import framed

from tfserving.server.execution.servable import Servable
from tfserving.server.inference.warmup import FILE, Replay
from tfserving.server.metrics import Metrics
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import StatusError
from tfserving.wire.tensor import Tensor

NO_OPERATION = framed(b"")
"""A record without a byte: a PredictionLog that asks for nothing."""
COUNT = ":tensorflow:serving:model_warmup_latency_count"


class OneNumber:
    """A model that answers one number, however many it is asked for."""

    def run(
        self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_ms: int, *, only_if_quick: bool = False
    ) -> list[Tensor]:
        return [Tensor.of(np.ones(1, np.float32))] * len(fetches)

    def close(self) -> None:
        pass


def regress(name: str, examples: int) -> bytes:
    """A record that asks for so many numbers."""
    log = m.PredictionLog()
    log.regress_log.request.model_spec.name = name
    for _ in range(examples):
        log.regress_log.request.input.example_list.examples.add()
    return framed(log.SerializeToString())


Replayed = Callable[[bytes], tuple[str, list[str]]]


@pytest.fixture
def replay(tmp_path: Path) -> Replayed:
    """Replays a file of these bytes: the error's text, and the counts of the metric by status."""

    def run(content: bytes) -> tuple[str, list[str]]:
        (tmp_path / FILE).parent.mkdir()
        (tmp_path / FILE).write_bytes(content)
        metrics, text = Metrics(), ""
        try:
            Replay(metrics, 1)(str(tmp_path), servable())
        except StatusError as error:
            text = str(error)
        lines = [line for line in metrics.text().splitlines() if line.startswith(COUNT)]
        return text, [line.split('status="')[1] for line in lines]

    return run


@pytest.mark.parametrize("content", [b"", NO_OPERATION, NO_OPERATION + NO_OPERATION[:11]])
def test_a_length_that_is_torn_is_the_end_of_the_file(replay: Replayed, content: bytes) -> None:
    assert replay(content) == ("", ['OK"} 1'])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (NO_OPERATION[:13], "truncated record at 0' failed with Read less bytes than requested"),
        (NO_OPERATION + NO_OPERATION[:12], "truncated record at 16' failed with Read less bytes than requested"),
        (b"no record, but long enough", "corrupted record at 0 (Is this even a TFRecord file?)"),
    ],
)
def test_a_torn_record_is_counted_with_its_reason(replay: Replayed, content: bytes, what: str) -> None:
    text, counted = replay(content)
    assert text == f"DATA_LOSS: {what}. Please verify your warmup data is in TFRecord format."
    assert counted == [f'DATA_LOSS: {what}"}} 1']


def test_a_record_that_fails_leaves_no_sample(replay: Replayed) -> None:
    record = framed(m.PredictionLog(session_run_log=b"x").SerializeToString())
    assert replay(record) == ("UNIMPLEMENTED: Unsupported log_type for warmup: 5", [])


def servable() -> Servable:
    """A regression signature in front of OneNumber."""
    signatures = m.SignatureDefMap()
    signature = signatures.signature_def["serving_default"]
    signature.inputs["inputs"].name = "in:0"
    signature.outputs["outputs"].name = "out:0"
    return Servable(signatures, OneNumber())


def test_runs_are_counted_under_the_name_in_the_record_whatever_becomes_of_their_outputs(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(regress("fits", 1) + regress("does not", 2))
    metrics = Metrics()
    with pytest.raises(StatusError, match="did not match output batch size"):
        Replay(metrics, 3)(str(tmp_path), servable())
    name = ":tensorflow:serving:runtime_latency_count"
    assert [line for line in metrics.text().splitlines() if line.startswith(name)] == [
        f'{name}{{model_name="fits",API="Regress",runtime="TF1"}} 3',
        f'{name}{{model_name="does not",API="Regress",runtime="TF1"}} 1',
    ]


def test_the_check_of_method_names_holds_for_warm_up_too(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(regress("", 1))
    with pytest.raises(StatusError, match="Expected regression signature method_name to be"):
        Replay(Metrics(), 1, check_method=True)(str(tmp_path), servable())
