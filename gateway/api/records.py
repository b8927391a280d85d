"""From records to predictions: the right spec, the tensor, the model server, the response read by the same spec.

The spec is chosen by the version that a label is expected to resolve to, and the response says which version it really
was. When they differ the response is thrown away and the request is done again for that exact version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.active import Model, Version
from gateway.api.attempt import Answer, Attempt, Outcome
from gateway.backends.batching import Batcher
from gateway.backends.model_server import ModelServer
from gateway.backends.rpc import RpcError
from gateway.backends.signatures import Signatures
from gateway.drift import Drift
from gateway.errors import BadRequest, Unavailable
from gateway.lookup import Lookups
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Trace
from gateway.routing.labels import Choice
from tfserving.wire.status import Code

ATTEMPTS: Final = 3
"""Times a request is done when other versions than expected keep answering."""


class Pipeline:
    """Answers record requests."""

    def __init__(
        self,
        server: ModelServer,
        signatures: Signatures,
        batcher: Batcher[Outcome],
        metrics: Metrics,
        lookups: Lookups,
        drift: Drift,
    ) -> None:
        self._server = server
        self._signatures = signatures
        self._batcher = batcher
        self._metrics = metrics
        self._lookups = lookups
        self._drift = drift

    async def predict(
        self, model: Model, choice: Choice, records: Sequence[Mapping[str, object]], deadline: float, trace: Trace
    ) -> Answer:
        """Answer one request. Errors: GatewayError, RpcError."""
        version, label = await self._version_for(model, choice, deadline), choice.label or ""
        for _ in range(ATTEMPTS):
            trace.version = str(version.number)
            looked_up = records
            if version.spec.lookup is not None:
                looked_up = await self._lookups.enrich(version.spec.lookup, records)
                trace.mark("lookup")
            try:
                outcome = await self._attempt(model, choice, version, looked_up, deadline, trace)
            except RpcError as error:
                actual = await self._suspect(model, choice, version, error, deadline)
                if actual is None:
                    raise
            else:
                actual = outcome.version
                if outcome.answer is not None:
                    trace.records = len(records)
                    self._watch(model, version, label, looked_up, outcome.answer)
                    return outcome.answer
            trace.mark("backend")
            self._metrics.mismatches.add(model.name)
            if choice.version is None:
                model.resolved[choice] = actual
            version = self._known(model, choice, actual)
            choice = Choice(version=actual)
        raise Unavailable(f"model '{model.name}': the version that responds keeps changing; try later", stage="backend")

    def _watch(
        self, model: Model, version: Version, label: str, records: Sequence[Mapping[str, object]], answer: Answer
    ) -> None:
        """Count for drift what was answered; labels that the config does not know make no series."""
        if model.watches:
            label = label if label in model.settings.labels else ""
            output = version.spec.output
            self._drift.take(model.name, version.number, label, records, answer.predictions, model.watches, output)

    async def _attempt(
        self,
        model: Model,
        choice: Choice,
        version: Version,
        records: Sequence[Mapping[str, object]],
        deadline: float,
        trace: Trace,
    ) -> Outcome:
        attempt = Attempt(server=self._server, signatures=self._signatures, model=model, choice=choice, version=version)
        # Records of several requests in one call would not be found again.
        if self._batcher.enabled and not self._server.cache.on(model.name):
            # By identity: after a change of the config, rows of the old spec are not joined with those of the new one.
            key = (model.name, choice, id(version))
            most = model.settings.max_rows_per_call
            return await self._batcher.submit(key, attempt, records, deadline, trace, most=most)
        return await attempt.run(await attempt.prepare(records, trace), deadline, trace)

    async def _version_for(self, model: Model, choice: Choice, deadline: float) -> Version:
        """The version whose spec this request starts with."""
        if not model.versions:
            raise BadRequest(
                f"model '{model.name}' has no feature spec, so it accepts no records; send instances or inputs",
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
                    f"or use one of {known}",
                    stage="spec",
                )
            raise Unavailable(
                f"version {number} of model '{model.name}' responds for {choice}, and the gateway has no feature spec "
                f"for it (it has {known})",
                stage="spec",
            )
        return version

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
