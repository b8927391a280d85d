"""A version on the model server that will serve it: loads it in a separate process and sends it requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from deployer.errors import ExportError, TargetError
from deployer.models.proof import reasons
from deployer.targets.local.one_server import TFLITE, OneServer, Program, one_server
from tfserving.client import Client, ModelServerError
from tfserving.wire.tensors import Array, TensorError

LOAD_TIMEOUT = 300.0
CALL_TIMEOUT = 120.0
NO_WARMUP = "--enable_model_warmup=false"

Inputs = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Prover:
    """Starts model servers for checks. `program` is the model server, `flags` are additional flags for it."""

    program: Program = field(default_factory=Program)
    flags: tuple[str, ...] = ()
    load_timeout: float = LOAD_TIMEOUT

    def of_tflite(self) -> Prover:
        """One that serves the model.tflite of a version."""
        return replace(self, flags=(*self.flags, *TFLITE))

    @contextmanager
    def serving(self, versions: Mapping[str, Path], *, warm_up: bool) -> Iterator[Served]:
        """Serve version directories by name.

        Errors: ExportError for a version that does not load, with TensorFlow's reason and its remedy; ToolError,
        WaitTimeout.
        """
        flags = self.flags if warm_up else (*self.flags, NO_WARMUP)
        try:
            with one_server(self.program, versions, flags=flags, timeout=self.load_timeout) as server:
                for message in server.failed.values():
                    raise load_error(message, warm_up=warm_up)
                yield Served(server)
        except TargetError as error:
            raise ExportError(error.message, cause=error.cause, hint=error.hint) from error


class Served:
    """The versions that a model server has loaded, by name."""

    def __init__(self, server: OneServer) -> None:
        self._client: Client = server.client

    def run(self, name: str, signature: str, inputs: Inputs) -> dict[str, Array]:
        """Outputs of one signature by name. Errors: ExportError with TensorFlow's reason."""
        try:
            found = self._client.predict(name, dict(inputs), version=1, signature=signature, timeout=CALL_TIMEOUT)
        except ModelServerError as error:
            raise ExportError(
                f"the model server rejected the sample inputs of signature '{signature}'",
                cause=reasons.sentence(error.message),
                hint=reasons.remedy(error.message, reasons.OTHER_SAMPLES),
            ) from error
        except TensorError as error:
            raise ExportError(
                f"the sample inputs of signature '{signature}' cannot be sent",
                cause=str(error),
                hint=reasons.OTHER_SAMPLES,
            ) from error
        return {output: np.asarray(value) for output, value in found.outputs.items()}


def load_error(message: str, *, warm_up: bool) -> ExportError:
    """The error for a version that the server could not load, from the server's message."""
    cause = reasons.sentence(message)
    if warm_up and reasons.about_warmup(message):
        return ExportError(
            "the warm-up requests of this version fail on the model server",
            cause=cause,
            hint=reasons.remedy(message, "use --warmup new, which replaces them with requests from the sample inputs"),
        )
    return ExportError(
        "the model server cannot load this version",
        cause=cause,
        hint=reasons.remedy(message, "save the model again with the installed tensorflow version"),
    )


def row_by_row(served: Served, name: str, signature: str, inputs: Inputs, joined: Mapping[str, Array]) -> str:
    """Why rows cannot share a batch: compares the first rows sent alone with `joined`; empty if they are equal.

    `joined` is the response to all rows together. Numbers may differ by rounding.
    """
    rows = min((len(array) for array in inputs.values()), default=0)
    if rows < 2:
        return ""
    for row in range(min(rows, 2)):
        alone = {key: array[row : row + 1] for key, array in inputs.items()}
        try:
            found = served.run(name, signature, alone)
        except ExportError as error:
            return f"a request with a single row fails: {error.cause or error.message}"
        for output, value in sorted(found.items()):
            if len(joined[output]) != rows:
                return f"output '{output}' has {len(joined[output])} rows for {rows} rows of input"
            if not same(joined[output][row : row + 1], value):
                return f"output '{output}' of a row depends on the other rows of the request"
    return ""


def same(first: Array, second: Array, *, rtol: float = 1e-3, atol: float = 1e-4) -> bool:
    """Whether two arrays are equal; numbers may differ by the rounding of different batch sizes."""
    if first.shape != second.shape:
        return False
    if first.dtype.kind in "fc":
        return bool(np.allclose(first, second, rtol=rtol, atol=atol, equal_nan=True))
    return bool(np.array_equal(first, second))


def names(values: Sequence[str]) -> str:
    """Names in a sentence."""
    return ", ".join(sorted(values)) or "nothing"
