"""Replays the warm-up records of a version before it serves, so that the first real request is not the slow one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError

from tfserving.server.execution.servable import Servable
from tfserving.server.inference import examples as ex
from tfserving.server.inference.calls import (
    Run,
    run_classify,
    run_multi,
    run_predict,
    run_regress,
)
from tfserving.server.inference.inputs import ProtoInputs
from tfserving.server.metrics import Metrics
from tfserving.wire import messages_pb2 as m
from tfserving.wire.methods import DEFAULT_SIGNATURE
from tfserving.wire.status import Code, StatusError, invalid
from tfserving.wire.tfrecords import NotRecords, records

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000


@dataclass(frozen=True)
class Replay:
    """Runs every record `iterations` times; a `loader.WarmUp`.

    `check_method` is --enable_signature_method_name_check.
    """

    metrics: Metrics
    iterations: int
    check_method: bool = False

    def __call__(self, path: str, servable: Servable) -> None:
        """Replay the file of a version directory, if there is one. Errors: StatusError of the first failing record."""
        file = Path(path, FILE)
        if not file.is_file():
            return
        start = time.perf_counter()
        try:
            with file.open("rb") as stream:
                self._replay(stream, str(file), servable)
        except NotRecords as error:
            self._took(start, path, f"{error.code.name}: {error.what}")
            raise
        self._took(start, path, "OK")

    def _took(self, start: float, path: str, status: str) -> None:
        """Count a file that was read to its end, or as far as it could be read; a failing record leaves no sample."""
        self.metrics.model_warmup_latency.observe((time.perf_counter() - start) * 1e6, path, status)

    def _replay(self, stream: BinaryIO, path: str, servable: Servable) -> None:
        for number, record in enumerate(records(stream)):
            if number == MAX_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
            try:
                log = m.PredictionLog.FromString(record)
            except DecodeError as error:
                text = record.decode("utf-8", "replace")
                raise invalid(f"Failed to parse warmup record: {text} from {path}") from error
            for _ in range(self.iterations):
                self._run(servable, log)

    def _run(self, servable: Servable, log: m.PredictionLog) -> None:
        """Run a record, without a time limit. Its model is not looked up, but its run is counted under that name."""
        match log.WhichOneof("log_type"):
            case None:
                return
            case "predict_log":
                predict = log.predict_log.request
                name, inputs = predict.model_spec.signature_name, ProtoInputs(predict.inputs)
                run_predict(servable, name, inputs, predict.output_filter, self._named(predict.model_spec))
            case "classify_log":
                classify = log.classify_log.request
                name, run = classify.model_spec.signature_name or DEFAULT_SIGNATURE, self._named(classify.model_spec)
                run_classify(servable, name, ex.serialized_examples(classify.input), run)
            case "regress_log":
                regress = log.regress_log.request
                name, run = regress.model_spec.signature_name or DEFAULT_SIGNATURE, self._named(regress.model_spec)
                run_regress(servable, name, ex.serialized_examples(regress.input), run)
            case "multi_inference_log":
                multi = log.multi_inference_log.request
                spec = multi.tasks[0].model_spec if multi.tasks else m.ModelSpec()
                run_multi(servable, multi, self._named(spec))
            case other:
                number = m.PredictionLog.DESCRIPTOR.fields_by_name[other].number
                raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")

    def _named(self, spec: m.ModelSpec) -> Run:
        return Run(metrics=self.metrics, model=spec.name, check_method=self.check_method)
