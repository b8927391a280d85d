"""A version on the model server that will serve it: loaded in a process of its own, and asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deployer.errors import ExportError, TargetError
from deployer.models.proof import reasons
from deployer.targets.local.one_server import OneServer, Program, one_server
from tfserving.client import Client, ModelServerError
from tfserving.wire.tensors import Array, TensorError

LOAD_TIMEOUT = 300.0
CALL_TIMEOUT = 120.0
NO_WARMUP = "--enable_model_warmup=false"

Inputs = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Prover:
    """Starts model servers for proofs. `program` is what will serve the version; `flags` are further ones of it."""

    program: Program = field(default_factory=Program)
    flags: tuple[str, ...] = ()
    load_timeout: float = LOAD_TIMEOUT

    @contextmanager
    def serving(self, versions: Mapping[str, Path], *, warm_up: bool) -> Iterator[Served]:
        """Version directories by name, served. Errors: ExportError for one that does not load, with TensorFlow's
        reason and its remedy; ToolError, WaitTimeout."""
        flags = self.flags if warm_up else (*self.flags, NO_WARMUP)
        try:
            with one_server(self.program, versions, flags=flags, timeout=self.load_timeout) as server:
                for message in server.failed.values():
                    raise refused(message, warm_up=warm_up)
                yield Served(server)
        except TargetError as error:
            raise ExportError(error.message, cause=error.cause, hint=error.hint) from error


class Served:
    """Versions that a model server has loaded, by the names that they were given."""

    def __init__(self, server: OneServer) -> None:
        self._client: Client = server.client

    def run(self, name: str, signature: str, inputs: Inputs) -> dict[str, Array]:
        """Outputs of one signature by name. Errors: ExportError with TensorFlow's reason."""
        try:
            found = self._client.predict(name, dict(inputs), version=1, signature=signature, timeout=CALL_TIMEOUT)
        except ModelServerError as error:
            raise ExportError(
                f"signature '{signature}' refuses the sample inputs on the model server",
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


def refused(message: str, *, warm_up: bool) -> ExportError:
    """The error for a version that the server could not load, from the server's message."""
    cause = reasons.sentence(message)
    if warm_up and reasons.about_warmup(message):
        return ExportError(
            "the model server refuses the warm-up records of this version",
            cause=cause,
            hint=reasons.remedy(message, "--warmup new writes records from the sample inputs in their place"),
        )
    return ExportError(
        "the model server cannot load this version",
        cause=cause,
        hint=reasons.remedy(message, "save the model again with the TensorFlow that is installed here"),
    )


def row_by_row(served: Served, name: str, signature: str, inputs: Inputs, joined: Mapping[str, Array]) -> str:
    """Why rows cannot share a batch, by asking for the first rows alone; empty when their responses are the same.

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
            return f"it refuses a single row: {error.cause or error.message}"
        for output, value in sorted(found.items()):
            if len(joined[output]) != rows:
                return f"output '{output}' has {len(joined[output])} rows for {rows} rows of input"
            if not same(joined[output][row : row + 1], value):
                return f"output '{output}' of a row depends on the other rows of the request"
    return ""


def same(one: Array, other: Array, *, rtol: float = 1e-3, atol: float = 1e-4) -> bool:
    """Whether two arrays hold the same values; numbers may differ as other batch sizes round."""
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "fc":
        return bool(np.allclose(one, other, rtol=rtol, atol=atol, equal_nan=True))
    return bool(np.array_equal(one, other))


def names(values: Sequence[str]) -> str:
    """Names in a sentence."""
    return ", ".join(sorted(values)) or "nothing"
