"""Signatures of versions, asked of the model server once each: a version never changes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from gateway.active import Model, Version
from gateway.backends.model_server import Metadata, ModelServer, tensor_specs
from gateway.backends.rpc import RpcError
from gateway.errors import Misconfigured
from gateway.routing.labels import Choice
from gateway.spec import SpecProblem, check_signature
from tfserving.wire.status import Code

SIGNATURES_KEPT: Final = 1024
"""Versions whose signatures are remembered; the one that was not used for longest is forgotten first."""


class Signatures:
    """Metadata by model and version, and which feature specs were found to fit."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._known: OrderedDict[tuple[str, int], Metadata] = OrderedDict()
        self._fitting: dict[tuple[str, int], Version] = {}

    async def of(self, model: Model, choice: Choice, deadline: float) -> Metadata:
        """The metadata of the version that the choice is expected to resolve to. Errors: RpcError."""
        version = model.expected_version(choice)
        known = self._known.get((model.name, version)) if version is not None else None
        if known is not None:
            self._known.move_to_end((model.name, known.version))
            return known
        asked = Choice(version=version) if version is not None and choice.version is None else choice
        try:
            return await self._ask(model, asked, deadline)
        except RpcError as error:
            if asked == choice or error.code != Code.NOT_FOUND:
                raise
            return await self._ask(model, choice, deadline)

    async def resolve(self, model: Model, choice: Choice, deadline: float) -> int:
        """The version that a choice resolves to right now, from the model server. Errors: RpcError."""
        return (await self._ask(model, choice, deadline)).version

    async def require_fit(self, model: Model, version: Version, deadline: float) -> None:
        """That a version can be fed and read by its feature spec; asked once per loaded spec.

        Errors: Misconfigured with what does not fit; RpcError.
        """
        if self._fitting.get((model.name, version.number)) is version:
            return
        metadata = await self.of(model, Choice(version=version.number), deadline)
        name = model.settings.signature
        signature = metadata.signatures.signature_def.get(name)
        if signature is None:
            known = ", ".join(sorted(metadata.signatures.signature_def))
            raise Misconfigured(
                f"model '{model.name}' version {version.number} has no signature '{name}'; it has {known}", stage="spec"
            )
        try:
            inputs, outputs = tensor_specs(signature.inputs), tensor_specs(signature.outputs)
            check_signature(version.spec, inputs, outputs, signature.defaults)
        except SpecProblem as error:
            raise Misconfigured(
                f"the feature spec of model '{model.name}' version {version.number} does not fit it: {error}",
                stage="spec",
            ) from error
        self._fitting[model.name, version.number] = version

    async def _ask(self, model: Model, choice: Choice, deadline: float) -> Metadata:
        metadata = await self._server.metadata(model.name, choice, deadline)
        if choice.version is None:
            model.resolved[choice] = metadata.version
        self._known[model.name, metadata.version] = metadata
        if len(self._known) > SIGNATURES_KEPT:
            self._known.popitem(last=False)
        return metadata
