"""One attempt at answering records: the tensors, the call, the predictions, by the spec of one version.

With dynamic batching an attempt is for the records of several requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from gateway.active import Model, Version
from gateway.api.large.records import LargeRecords
from gateway.backends.model_server import ModelServer, Prediction
from gateway.backends.rows import Rows
from gateway.backends.rpc import RpcError
from gateway.backends.signatures import Signatures
from gateway.errors import BadRequest, GatewayError
from gateway.observe.trace import Trace
from gateway.postprocess.interpret import OutputProblem, passed_through
from gateway.preprocess import Tensors
from gateway.preprocess.problems import RecordProblems
from gateway.routing.labels import Choice
from tfserving.wire.status import Code

PARALLEL_PIECES: Final = 4
"""Calls in flight for one request that is split."""
RECORDS_AT_ONCE: Final = 200
"""Larger requests are preprocessed in pieces of this many records, so that small ones take their turn between them. A
thread would hold them up for longer: Python gives it the interpreter for 5 ms at a time."""

_unpacking: Final = ThreadPoolExecutor(1, thread_name_prefix="pictures")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Predictions in the order of the records, as JSON-ready values, and the version that made them."""

    predictions: Sequence[object]
    version: int
    outputs: Mapping[str, Sequence[object]] = field(default_factory=dict)
    """The rows of the outputs that the spec passes through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The version that answered, and its response when it was the version whose spec made the rows."""

    version: int
    answer: Answer | None

    def part(self, start: int, stop: int) -> Outcome:
        """That of the records from `start` until `stop`."""
        if self.answer is None:
            return self
        outputs = {name: rows[start:stop] for name, rows in self.answer.outputs.items()}
        predictions = self.answer.predictions[start:stop]
        return Outcome(
            version=self.version, answer=Answer(predictions=predictions, version=self.version, outputs=outputs)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What is asked of a model, with the spec of the version that is expected to answer."""

    server: ModelServer
    signatures: Signatures
    model: Model
    choice: Choice
    version: Version

    async def prepare(self, records: Sequence[Mapping[str, object]], trace: Trace) -> Rows:
        """The rows of the records. Errors: BadRequest with every problem of every record."""
        tensors = await _tensors(self.version, records)
        trace.mark("preprocess")
        return Rows(tensors)

    async def run(self, rows: Rows, deadline: float, trace: Trace) -> Outcome:
        """Ask for predictions of rows. Errors: GatewayError, RpcError."""
        await self._require_fit(deadline)
        prediction = await self._send(rows, deadline, trace)
        if prediction.version != self.version.number:
            return Outcome(version=prediction.version, answer=None)
        trace.mark("backend")
        answer = _interpret(self.model, self.version, prediction, len(rows))
        trace.mark("interpret")
        return Outcome(version=prediction.version, answer=answer)

    async def _require_fit(self, deadline: float) -> None:
        try:
            await self.signatures.require_fit(self.model, self.version, deadline)
        except RpcError as error:
            if error.code != Code.NOT_FOUND:
                raise
            # Not loaded (any more): the call itself will say what answers now.

    async def _send(self, rows: Rows, deadline: float, trace: Trace) -> Prediction:
        if len(rows) > self.model.settings.max_rows_per_call:
            return await self._send_in_pieces(rows, deadline, trace)
        return await self._call(rows, self.choice, deadline, trace)

    async def _call(self, rows: Rows, whom: Choice, deadline: float, trace: Trace) -> Prediction:
        signature = self.model.settings.signature
        return await self.server.predict(self.model.name, whom, signature, rows.encoded(), deadline, trace)

    async def _send_in_pieces(self, rows: Rows, deadline: float, trace: Trace) -> Prediction:
        """The first piece shows which version responds; the others ask for exactly that one."""
        model, version = self.model, self.version
        size = model.settings.max_rows_per_call
        pieces = [rows[at : at + size] for at in range(0, len(rows), size)]
        places = asyncio.Semaphore(PARALLEL_PIECES)

        async def send(piece: Rows, whom: Choice) -> Prediction:
            async with places:
                return await self._call(piece, whom, deadline, trace)

        first = await send(pieces[0], self.choice)
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


async def _tensors(version: Version, records: Sequence[Mapping[str, object]]) -> Tensors:
    """The input tensors of a request. Errors: BadRequest with every problem of every record."""
    compiled = version.compiled
    try:
        at_once = RECORDS_AT_ONCE
        if isinstance(records, LargeRecords):
            at_once = min(at_once, records.at_once)
        if len(records) <= at_once and not compiled.pictures:
            return compiled.tensors(records[:])
        if compiled.pictures:  # Pillow decodes them without the interpreter; one thread bounds what that takes
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(_unpacking, lambda: compiled.tensors(list(records)))
        compiled.require_room(len(records))
        parts: list[Tensors] = []
        problems: list[tuple[int, RecordProblems]] = []
        for at in range(0, len(records), at_once):
            try:
                parts.append(compiled.tensors(records[at : at + at_once]))
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
