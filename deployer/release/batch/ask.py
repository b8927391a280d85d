"""One chunk of rows until each has a prediction or a reason: bad rows are removed and the rest is sent again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from deployer.errors import TargetError, WaitTimeout
from deployer.records import http1
from deployer.records.endpoint import RecordApi
from deployer.records.rows import Row
from deployer.release.batch.pace import Pace, Rate
from deployer.release.batch.pack import body
from deployer.tools.client_tls import CERTIFICATE_HINT

BUSY_STATUSES: Final = (408, 429, 502, 503, 504)
ATTEMPTS: Final = 3
"""Times that a request is sent that fails although the release is not busy."""
DEADLINE_ATTEMPTS: Final = 5
"""Times that one row alone may miss its deadline while other requests succeed."""
LISTED: Final = 100
"""Problems that a gateway lists in one response; past them, the reasons of the last record named may be incomplete."""


class Problem(msgspec.Struct, frozen=True):
    """Why a row has no prediction. `feature` is empty when the row as a whole is meant."""

    feature: str
    problem: str

    def __str__(self) -> str:
        return f"feature '{self.feature}': {self.problem}" if self.feature else self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """A row with its prediction, a JSON object as the gateway wrote it, and the version that made it."""

    row: Row
    prediction: bytes
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A row without a prediction, with all reasons."""

    row: Row
    problems: tuple[Problem, ...]


Outcome = Predicted | Bad


class _Metadata(msgspec.Struct):
    model_version: int


class _Response(msgspec.Struct):
    predictions: list[msgspec.Raw]
    metadata: _Metadata


class _Detail(msgspec.Struct):
    record: int
    problem: str
    feature: str = ""


class _Refusal(msgspec.Struct):
    error: str = ""
    details: list[_Detail] = []


_response = msgspec.json.Decoder(_Response).decode
_refusal = msgspec.json.Decoder(_Refusal).decode


class Asker:
    """Sends rows to the gateways in turn, at one pace for all that is sent. Made inside a running event loop.

    `request_timeout` bounds one request, `patience` the time without success, both in seconds. `clock` and `sleep`
    are the time that pace and patience go by.
    """

    def __init__(
        self,
        endpoint: RecordApi,
        *,
        pace: Pace,
        rate: Rate | None,
        request_timeout: float,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.pace = pace
        self.requests = 0
        self._rate = rate
        self._pools = [http1.Pool(url, timeout=request_timeout, tls=endpoint.tls) for url in endpoint.urls]
        self._path = endpoint.path
        self._headers = endpoint.headers
        self._patience = patience
        self._clock, self._sleep = clock, sleep
        self._last_processed = clock()
        self._in_flight = 0
        self._turns = asyncio.Lock()
        self._ended = asyncio.Event()

    def close(self) -> None:
        """Close the connections; requests in flight must have ended."""
        for pool in self._pools:
            pool.close()

    async def ask(self, rows: Sequence[Row]) -> list[Outcome]:
        """The outcome of each row, in order.

        Errors: TargetError when the release fails for another reason than a row, WaitTimeout when it stays busy.
        """
        outcomes: dict[int, Outcome] = {}
        for row in rows:
            if row.problem:
                outcomes[row.number] = Bad(row=row, problems=(Problem("", row.problem),))
        pending = [[row for row in rows if not row.problem]]
        while pending:
            if part := pending.pop():
                found, again = await self._settle(part, usual=len(part) * 2 > len(rows))
                outcomes |= {outcome.row.number: outcome for outcome in found}
                pending += again
        return [outcomes[row.number] for row in rows]

    async def _settle(self, rows: list[Row], *, usual: bool) -> tuple[list[Outcome], list[list[Row]]]:
        """Send one request: what is decided, and what has to be sent again."""
        failures = late = 0
        began = self._clock()
        while True:
            reply = await self._send(rows, usual=usual)
            if reply.status == 200:
                return self._predictions(rows, reply.body), []
            if reply.status in BUSY_STATUSES:
                if len(rows) > 1 and reply.status in (408, 504):  # perhaps too much for one deadline
                    return [], _halves(rows)
                late += reply.status == 504
                if late >= DEADLINE_ATTEMPTS and self._last_processed > began:  # others succeed: it is this row
                    return [Bad(row=rows[0], problems=(Problem("", _read_refusal(reply.body).error),))], []
                continue
            refusal = _read_refusal(reply.body)
            if reply.status == 400 and refusal.details:
                return _without_bad(rows, refusal.details)
            if reply.status in (400, 413):
                if len(rows) > 1:
                    return [], _halves(rows)
                return [Bad(row=rows[0], problems=(Problem("", refusal.error or f"HTTP {reply.status}"),))], []
            failures += 1
            if failures == ATTEMPTS or reply.status < 500:
                raise TargetError(
                    f"the gateway returned {reply.status} for row {rows[0].number} ({rows[0]})",
                    cause=refusal.error,
                    hint="`deployer doctor` says what is wrong",
                )

    def _predictions(self, rows: list[Row], content: bytes) -> list[Outcome]:
        try:
            response = _response(content)
        except msgspec.MsgspecError as error:
            raise TargetError(
                f"the response to the rows from {rows[0].number} on is not that of a gateway",
                hint="`deployer status` shows what is running",
            ) from error
        if len(response.predictions) != len(rows):
            raise TargetError(
                f"{len(response.predictions)} predictions for {len(rows)} records",
                hint="`deployer doctor` finds the cause",
            )
        version = response.metadata.model_version
        return [
            Predicted(row=row, prediction=bytes(raw), version=version)
            for row, raw in zip(rows, response.predictions, strict=True)
        ]

    async def _send(self, rows: list[Row], *, usual: bool) -> http1.Response:
        """The response to one request. A lost connection counts as status 503."""
        content = body(rows)
        await self._turn(len(rows))
        began = self._clock()
        try:
            pool = self._pools[self.requests % len(self._pools)]
            self.requests += 1
            reply = await pool.request(http1.post(pool.authority, self._path, content, headers=self._headers))
        except http1.HttpError as error:
            if error.code == "certificate":
                raise TargetError(
                    "the gateway's certificate is not trusted", cause=str(error), hint=CERTIFICATE_HINT
                ) from error
            status = 504 if error.code == "timeout" else 503
            reply = http1.Response(status, msgspec.json.encode({"error": str(error)}))
        finally:
            self._in_flight -= 1
            self._ended.set()
        now = self._clock()
        if reply.status not in BUSY_STATUSES:
            self._last_processed = now
            if usual and reply.status == 200:
                self.pace.succeeded(now, now - began)
            return reply
        self.pace.rejected(now, reply.retry_after)
        if now - self._last_processed > self._patience:
            raise WaitTimeout(
                f"no request succeeded for {self._patience:g} s; the last response was {reply.status}",
                cause=_read_refusal(reply.body).error,
                hint="`deployer status` shows what runs; the same command continues where it stopped",
            )
        return reply

    async def _turn(self, rows: int) -> None:
        """Wait until a request may start, in the order in which they came."""
        async with self._turns:
            while wait := self.pace.wait(self._clock(), self._in_flight):
                if math.isinf(wait):
                    self._ended.clear()
                    await self._ended.wait()
                else:
                    await self._sleep(wait)
            if self._rate is not None and (wait := self._rate.reserve(self._clock(), rows)):
                await self._sleep(wait)
            self._in_flight += 1


def _halves(rows: list[Row]) -> list[list[Row]]:
    middle = len(rows) // 2
    return [rows[middle:], rows[:middle]]  # the first half is taken from the end of the list, so it goes first


def _without_bad(rows: list[Row], details: Sequence[_Detail]) -> tuple[list[Outcome], list[list[Row]]]:
    """The bad rows, and the rest; a row whose reasons may have been cut off counts as not yet known."""
    reasons: dict[int, list[Problem]] = {}
    for detail in details:
        reasons.setdefault(detail.record, []).append(Problem(detail.feature, detail.problem))
    if len(details) >= LISTED and len(reasons) > 1:
        reasons.popitem()
    bad: list[Outcome] = [Bad(row=rows[at], problems=tuple(problems)) for at, problems in reasons.items()]
    return bad, [[row for at, row in enumerate(rows) if at not in reasons]]


def _read_refusal(content: bytes) -> _Refusal:
    try:
        return _refusal(content)
    except msgspec.MsgspecError:
        return _Refusal(error=content[:300].decode(errors="replace"))
