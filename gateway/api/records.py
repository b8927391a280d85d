"""From records to predictions: the right spec, the tensor, the model server, the answer read by the same spec.

The spec is chosen by the version that a label is expected to resolve to, and the answer says which version it really
was. When they differ the answer is thrown away and the request is done again for that exact version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from gateway.active import Model, Version
from gateway.backends.batching import Batcher
from gateway.backends.model_server import ModelServer, Prediction
from gateway.backends.rows import Rows
from gateway.backends.rpc import RpcError
from gateway.backends.signatures import Signatures
from gateway.errors import BadRequest, GatewayError, Unavailable
from gateway.lookup import Lookups
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Trace
from gateway.postprocess.interpret import OutputProblem, passed_through
from gateway.preprocess import Tensors
from gateway.preprocess.problems import RecordProblems
from gateway.routing.labels import Choice
from tfserving.wire.status import Code

ATTEMPTS: Final = 3
"""Times a request is done when other versions than expected keep answering."""
PARALLEL_PIECES: Final = 4
"""Calls in flight for one request that is split."""
RECORDS_AT_ONCE: Final = 200
"""Larger requests are preprocessed in pieces of this many records, so that small ones take their turn between them. A
thread would hold them up for longer: Python gives it the interpreter for 5 ms at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Predictions in the order of the records, as JSON-ready values, and the version that made them."""

    predictions: Sequence[object]
    version: int
    outputs: Mapping[str, Sequence[object]] = field(default_factory=dict)
    """The rows of the outputs that the spec passes through."""


class Pipeline:
    """Answers record requests."""

    def __init__(
        self, server: ModelServer, signatures: Signatures, batcher: Batcher, metrics: Metrics, lookups: Lookups
    ) -> None:
        self._server = server
        self._signatures = signatures
        self._batcher = batcher
        self._metrics = metrics
        self._lookups = lookups

    async def predict(
        self, model: Model, choice: Choice, records: Sequence[Mapping[str, object]], deadline: float, trace: Trace
    ) -> Answer:
        """Answer one request. Errors: GatewayError, RpcError."""
        version = await self._version_for(model, choice, deadline)
        for _ in range(ATTEMPTS):
            trace.version = str(version.number)
            looked_up = records
            if version.spec.lookup is not None:
                looked_up = await self._lookups.enrich(version.spec.lookup, records)
                trace.mark("lookup")
            tensors = await _tensors(version, looked_up)
            trace.mark("preprocess")
            await self._require_fit(model, version, deadline)
            try:
                prediction = await self._send(model, choice, version, Rows(tensors), deadline)
            except RpcError as error:
                actual = await self._suspect(model, choice, version, error, deadline)
                if actual is None:
                    raise
            else:
                actual = prediction.version
                if actual == version.number:
                    trace.mark("backend")
                    answer = _interpret(model, version, prediction, len(records))
                    trace.mark("interpret")
                    trace.records = len(records)
                    return answer
            trace.mark("backend")
            self._metrics.mismatches.add(model.name)
            if choice.version is None:
                model.resolved[choice] = actual
            version = self._known(model, choice, actual)
            choice = Choice(version=actual)
        raise Unavailable(f"model '{model.name}': the version that answers keeps changing; try later", stage="backend")

    async def _version_for(self, model: Model, choice: Choice, deadline: float) -> Version:
        """The version whose spec this request starts with."""
        if not model.versions:
            raise BadRequest(
                f"model '{model.name}' has no feature spec, so it takes no records; send instances or inputs",
                stage="spec",
            )
        number = model.expected_version(choice)
        if number is None or number not in model.versions:
            number = await self._signatures.resolve(model, choice, deadline)
        return self._known(model, choice, number)

    def _known(self, model: Model, choice: Choice, number: int) -> Version:
        version = model.versions.get(number)
        if version is None:
            known = ", ".join(map(str, sorted(model.versions)))
            if choice.version is not None and choice.version == number and number not in model.resolved.values():
                raise BadRequest(
                    f"version {number} of model '{model.name}' has no feature spec; send instances or inputs, "
                    f"or ask for one of {known}",
                    stage="spec",
                )
            raise Unavailable(
                f"version {number} of model '{model.name}' answers for {choice}, and the gateway has no feature spec "
                f"for it (it has {known})",
                stage="spec",
            )
        return version

    async def _require_fit(self, model: Model, version: Version, deadline: float) -> None:
        try:
            await self._signatures.require_fit(model, version, deadline)
        except RpcError as error:
            if error.code != Code.NOT_FOUND:
                raise
            # Not loaded (any more): the call itself will say what answers now.

    async def _send(self, model: Model, choice: Choice, version: Version, rows: Rows, deadline: float) -> Prediction:
        if len(rows) > model.settings.max_rows_per_call:
            return await self._send_in_pieces(model, choice, version, rows, deadline)

        async def call(joined: Rows, until: float) -> Prediction:
            return await self._server.predict(model.name, choice, model.settings.signature, joined.encoded(), until)

        if self._batcher.enabled:
            return await self._batcher.submit((model.name, choice, version.number), call, rows, deadline)
        return await call(rows, deadline)

    async def _send_in_pieces(
        self, model: Model, choice: Choice, version: Version, rows: Rows, deadline: float
    ) -> Prediction:
        """The first piece shows which version answers; the others ask for exactly that one."""
        size = model.settings.max_rows_per_call
        pieces = [rows[at : at + size] for at in range(0, len(rows), size)]
        places = asyncio.Semaphore(PARALLEL_PIECES)

        async def send(piece: Rows, whom: Choice) -> Prediction:
            async with places:
                return await self._server.predict(model.name, whom, model.settings.signature, piece.encoded(), deadline)

        first = await send(pieces[0], choice)
        if first.version != version.number:
            return first
        tasks = [asyncio.create_task(send(piece, Choice(version=first.version))) for piece in pieces[1:]]
        try:
            parts = [first, *await asyncio.gather(*tasks)]
        finally:
            for task in tasks:
                task.cancel()
        joined = {}
        for read in (version.spec.output.name, *version.spec.pass_through):
            if not all(read in part.outputs and part.outputs[read].ndim > 0 for part in parts):
                raise _broken_output(model, version, f"no '{read}' with one row per record")
            joined[read] = np.concatenate([part.outputs[read] for part in parts])
        return Prediction(outputs=joined, dtypes=first.dtypes, version=first.version)

    async def _suspect(
        self, model: Model, choice: Choice, version: Version, error: RpcError, deadline: float
    ) -> int | None:
        """A refused tensor may have been made for another version than the one that refused it: which one was it?

        None when the error is what it seems.
        """
        if choice.version is not None or error.code not in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION):
            return None
        actual = await self._signatures.resolve(model, choice, deadline)
        return actual if actual != version.number else None


async def _tensors(version: Version, records: Sequence[Mapping[str, object]]) -> Tensors:
    """The input tensors of a request. Errors: BadRequest with every problem of every record."""
    compiled = version.compiled
    try:
        if len(records) == 1 or (len(records) <= RECORDS_AT_ONCE and not compiled.pictures):
            return compiled.tensors(records)
        if compiled.pictures:  # Pillow decodes them without the interpreter
            return await asyncio.to_thread(compiled.tensors, records)
        compiled.require_room(len(records))
        parts: list[Tensors] = []
        problems: list[tuple[int, RecordProblems]] = []
        for at in range(0, len(records), RECORDS_AT_ONCE):
            try:
                parts.append(compiled.tensors(records[at : at + RECORDS_AT_ONCE]))
            except RecordProblems as error:
                problems.append((at, error))
            await asyncio.sleep(0)
        if problems:
            raise RecordProblems.joined(problems)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except RecordProblems as error:
        raise BadRequest(str(error), details=error.problems, stage="preprocess") from error


def _interpret(model: Model, version: Version, prediction: Prediction, records: int) -> Answer:
    try:
        values = prediction.values()
        predictions = version.interpreter.interpret(values)
        outputs = passed_through(values, version.spec.pass_through) if version.spec.pass_through else {}
    except OutputProblem as error:
        raise _broken_output(model, version, str(error)) from error
    for rows in (predictions, *outputs.values()):
        if len(rows) != records:
            raise _broken_output(model, version, f"{len(rows)} rows for {records} records")
    return Answer(predictions=predictions, version=prediction.version, outputs=outputs)


def _broken_output(model: Model, version: Version, what: str) -> GatewayError:
    return GatewayError(
        f"the output of model '{model.name}' version {version.number} is not what its feature spec says: {what}",
        stage="interpret",
    )
