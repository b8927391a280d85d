"""Turns a version directory into a servable: checks, load, warm-up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfserving import tflite
from tfserving.server.execution import lite, runtime
from tfserving.server.execution.servable import DirectRunner, Runner, Servable
from tfserving.server.metrics import Metrics
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError

Wrap = Callable[[str, Runner], Runner]
"""Puts batching in front of a version's session: takes the version directory and the session's runner."""

WarmUp = Callable[[str, Servable], None]
"""Replays the warm-up records of a version directory; raises StatusError when one fails."""


def no_batching(path: str, runner: Runner) -> Runner:
    """The `Wrap` of a server without --enable_batching."""
    del path
    return runner


def no_warm_up(path: str, servable: Servable) -> None:
    """The `WarmUp` of a server with --enable_model_warmup=false."""
    del path, servable


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Loads versions, all with the same settings. Calling it is a `manager.Load`, counted in the metrics."""

    tags: Sequence[str]
    config: m.ConfigProto
    wrap: Wrap = no_batching
    warm_up: WarmUp = no_warm_up
    metrics: Metrics
    tflite_interpreters: int = 0
    """For a version with a `model.tflite`; 0 is a server without --prefer_tflite_model."""

    def __call__(self, name: str, version: int, path: str) -> Servable:
        """Load one version directory. Errors: StatusError, with TensorFlow's texts where TensorFlow fails."""
        del name, version
        start = time.perf_counter()
        try:
            loaded, signatures = self._load(path)
        except StatusError:
            self.metrics.load_attempt_count.add(1, path, "fail")
            raise
        finally:
            self.metrics.load_latency.add(int((time.perf_counter() - start) * 1e6), path)
        self.metrics.load_attempt_count.add(1, path, "success")
        runner: Runner = loaded
        try:
            runner = self.wrap(path, loaded)
            servable = Servable(m.SignatureDefMap(signature_def=signatures), runner)
            self.warm_up(path, servable)
        except StatusError:
            runner.close()
            raise
        return servable

    def _load(self, path: str) -> tuple[Runner, Mapping[str, m.SignatureDef]]:
        file = Path(path, tflite.MODEL_FILE)
        if self.tflite_interpreters and file.exists():
            threads = max(1, self.config.intra_op_parallelism_threads)
            model = lite.load(file, interpreters=self.tflite_interpreters, threads=threads)
            return model, model.signatures
        if not _maybe_saved_model(path):
            raise StatusError(
                Code.NOT_FOUND,
                "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
                f"`saved_model.pb`)\nSpecified file path: {path}",
            )
        session = runtime.load(path, self.tags, self.config)
        return DirectRunner(session), session.meta.signature_def


def check_directory(name: str, version: int, path: str) -> None:
    """Fail as the real server does when it estimates the memory of a version that is no directory.

    Errors: StatusError FAILED_PRECONDITION for a plain file, NOT_FOUND for nothing at all.
    """
    try:
        os.listdir(path)
    except NotADirectoryError as error:
        raise _reserve_error(Code.FAILED_PRECONDITION, name, version, path, error) from error
    except OSError as error:
        raise _reserve_error(Code.NOT_FOUND, name, version, path, error) from error


def _reserve_error(code: Code, name: str, version: int, path: str, error: OSError) -> StatusError:
    return StatusError(
        code,
        f"Error while attempting to reserve resources to load servable {{name: {name} version: {version}}}: "
        f"{path}; {error.strerror}",
    )


def _maybe_saved_model(path: str) -> bool:
    return any(Path(path, name).exists() for name in ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb"))
