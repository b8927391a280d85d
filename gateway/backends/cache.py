"""Responses of Predict that are served again: to requests for the same version with the same input tensors.

Off by default, for each model. A version never changes, so a response is right for as long as its version serves the
request. Which version a label means is taken from a response that is at most `CONFIRMED_FOR` seconds old: then one
request goes to a model server although its response is known. Responses of a version that no label means any more are
dropped. Concurrent equal requests make one call.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from gateway.backends.retry import Fault, fault_of
from gateway.backends.rpc import RpcError
from gateway.observe.metrics import Metrics
from gateway.observe.trace import BYPASS, COLLAPSED, HIT, MISS, Trace
from gateway.routing.labels import Choice
from gateway.settings import ModelSettings
from tfserving.wire.status import Code

CONFIRMED_FOR: Final = 1.0
"""Seconds for which a response shows which version a label, or the newest version, is."""
ENTRY_BYTES: Final = 512
"""What an entry takes besides its response."""
LARGEST_REQUEST: Final = 4 * 1024 * 1024
"""Larger requests pass by: their hash would hold other requests up."""

Digest = bytes
"""Names the input tensors, the signature and the outputs of a request."""
Call = Callable[[], Awaitable[bytes]]
"""Asks a model server. Errors: RpcError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    response: bytes
    until: float

    @property
    def size(self) -> int:
        return len(self.response) + ENTRY_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Confirmed:
    version: int
    until: float


class ResponseCache:
    """Responses by model, version and digest, the least recently used first. For one event loop."""

    def __init__(self, metrics: Metrics, time: Callable[[], float]) -> None:
        """`time` is in the seconds of the loop's clock, as deadlines are."""
        self._metrics, self._time = metrics, time
        self._seconds: dict[str, float] = {}
        self._most = 0
        self.size = 0
        """Bytes of all entries."""
        self._entries: OrderedDict[tuple[str, int, Digest], _Entry] = OrderedDict()
        self._of_version: dict[tuple[str, int], set[Digest]] = {}
        self._confirmed: dict[tuple[str, Choice], _Confirmed] = {}
        self._labels: dict[str, Mapping[str, int]] = {}
        self._flights: dict[tuple[str, Choice, Digest], asyncio.Future[bytes]] = {}

    def configure(self, models: Mapping[str, ModelSettings], most: int) -> None:
        """Keep responses of the models that have a time for it, at most `most` bytes; drop what a moved label meant."""
        self._seconds = {name: model.cache_seconds for name, model in models.items() if model.cache_seconds is not None}
        self._most = most
        for model, choice in list(self._confirmed):
            settings = models.get(model)
            label = choice.label or ""
            same = settings is not None and settings.labels.get(label) == self._labels.get(model, {}).get(label)
            if model not in self._seconds or not same:
                self._unconfirm(model, choice)
        for model, version in list(self._of_version):
            if model not in self._seconds:
                self._drop_version(model, version)
        self._labels = {name: models[name].labels for name in self._seconds}
        self._make_room()

    def takes(self, model: str, size: int, trace: Trace) -> bool:
        """Whether a request of `size` bytes for a model is looked up and its response kept."""
        return model in self._seconds and size <= LARGEST_REQUEST and trace.cache != BYPASS

    def on(self, model: str) -> bool:
        """Whether responses of a model are kept."""
        return model in self._seconds

    async def response(
        self, model: str, choice: Choice, digest: Digest, deadline: float, trace: Trace, call: Call,
        version_of: Callable[[bytes], int],
    ) -> bytes:  # fmt: skip
        """The response to a request, known, or that of `call`, which is made once for all that wait for it.

        `version_of` reads the version from a response. Errors: RpcError.
        """
        flight_key = (model, choice, digest)
        while True:
            known = self._find(model, choice, digest)
            if known is not None:
                self._count(model, HIT, trace)
                return known
            flight = self._flights.get(flight_key)
            if flight is None:
                self._count(model, MISS, trace)
                response = await self._fly(flight_key, call)
                self._keep(model, choice, digest, response, version_of(response))
                return response
            if (shared := await _landed(flight, deadline - self._time())) is not None:
                self._count(model, COLLAPSED, trace)
                return shared

    def _count(self, model: str, result: str, trace: Trace) -> None:
        self._metrics.cache_requests.add(model, result)
        trace.looked_up(result)

    def _find(self, model: str, choice: Choice, digest: Digest) -> bytes | None:
        now, confirmed = self._time(), self._confirmed.get((model, choice))
        if confirmed is None or confirmed.until <= now:
            return None
        key = (model, confirmed.version, digest)
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until <= now:
            self._drop(key, "expired")
            return None
        self._entries.move_to_end(key)
        return entry.response

    async def _fly(self, key: tuple[str, Choice, Digest], call: Call) -> bytes:
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            response = await call()
        except RpcError as error:
            if fault_of(error) is Fault.UNCONVERGED:
                self._unconfirm(*key[:2])
            flight.set_exception(RpcError(error.code, error.message, local=error.local))
            flight.exception()  # looked at, if nobody else waits
            raise
        except BaseException:
            flight.cancel()
            raise
        finally:
            del self._flights[key]
        flight.set_result(response)
        return response

    def _keep(self, model: str, choice: Choice, digest: Digest, response: bytes, version: int) -> None:
        seconds = self._seconds.get(model)
        if seconds is None:
            return
        now, before = self._time(), self._confirmed.get((model, choice))
        self._confirmed[model, choice] = _Confirmed(version=version, until=now + CONFIRMED_FOR)
        if before is not None and before.version != version:
            self._drop_unless_meant(model, before.version)
        entry = _Entry(response=response, until=now + seconds)
        if entry.size > self._most:
            return
        key = (model, version, digest)
        old = self._entries.pop(key, None)
        self.size += entry.size - (old.size if old is not None else 0)
        self._entries[key] = entry
        self._of_version.setdefault((model, version), set()).add(digest)
        self._make_room()

    def _make_room(self) -> None:
        while self.size > self._most:
            self._drop(next(iter(self._entries)), "full")

    def _unconfirm(self, model: str, choice: Choice) -> None:
        gone = self._confirmed.pop((model, choice), None)
        if gone is not None:
            self._drop_unless_meant(model, gone.version)

    def _drop_unless_meant(self, model: str, version: int) -> None:
        if not any(name == model and one.version == version for (name, _), one in self._confirmed.items()):
            self._drop_version(model, version)

    def _drop_version(self, model: str, version: int) -> None:
        for digest in list(self._of_version.get((model, version), ())):
            self._drop((model, version, digest), "moved")

    def _drop(self, key: tuple[str, int, Digest], why: str) -> None:
        self.size -= self._entries.pop(key).size
        self._metrics.cache_dropped.add(why)
        digests = self._of_version[key[:2]]
        digests.discard(key[2])
        if not digests:
            del self._of_version[key[:2]]


def digest_of(signature: str, inputs: Mapping[str, bytes], outputs: Iterable[str]) -> Digest:
    """The digest of a request: serialized TensorProtos by the name of the input, and the outputs that it names."""
    hashed = blake2b(digest_size=32)
    pieces = [signature.encode()]
    for name in sorted(inputs):
        pieces += (name.encode(), inputs[name])
    pieces.append(b"")
    pieces += [name.encode() for name in outputs]
    for piece in pieces:
        hashed.update(len(piece).to_bytes(8, "big"))
        hashed.update(piece)
    return hashed.digest()


async def _landed(flight: asyncio.Future[bytes], seconds: float) -> bytes | None:
    """The response of a call that another request makes; None when that request gave up before there was one.

    Errors: RpcError, also when `seconds` pass first.
    """
    await asyncio.wait((flight,), timeout=max(0.0, seconds))
    if not flight.done():
        raise RpcError(Code.DEADLINE_EXCEEDED, "no response before the deadline", local=True)
    if flight.cancelled():
        return None
    error = flight.exception()
    if error is None:
        return flight.result()
    if isinstance(error, RpcError) and error.local and error.code == Code.DEADLINE_EXCEEDED:
        return None  # The deadline of that request, not of this one.
    assert isinstance(error, RpcError)
    raise RpcError(error.code, error.message, local=error.local)
