"""The page over HTTP: a table of routes behind a token. Only whoever has the printed URL, on this machine, gets in.

A page of another site that resolves its name to loopback (DNS rebinding) is stopped by the Host header; one that sends
a form, by the token header, which browsers do not send across sites without asking first.
"""

from __future__ import annotations

import asyncio
import hmac
import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from deployer.dashboard.actions import Actions
from deployer.dashboard.board import Board
from deployer.dashboard.view import ACTIONS
from deployer.dashboard.watcher import Watcher
from deployer.decode import json_as
from deployer.domain.rollout import Event

TOKEN_HEADER = b"x-dashboard-token"
KEEP_ALIVE_SECONDS = 15.0
ACTION_BYTES_MAX = 4096
SAFE = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    action: str


@dataclass(frozen=True, kw_only=True)
class App:
    """The ASGI application. `hosts` are the values of Host that are accepted."""

    token: str
    hosts: frozenset[bytes]
    board: Board
    watcher: Watcher
    actions: Actions
    read_only: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if headers.get(b"host") not in self.hosts:
            return await _text(send, 421, "this address is not that of the dashboard")
        given, _, path = str(scope["path"]).removeprefix("/").partition("/")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return await _text(send, 403, "open the URL that `deployer dashboard` printed; it has a token")
        match scope["method"], path:
            case "GET", "":
                return await _send(send, 200, b"text/html; charset=utf-8", page())
            case "GET", "events":
                return await self._events(receive, send)
            case "GET", _ if path.startswith("reports/"):
                return await self._report(path.removeprefix("reports/"), send)
            case "POST", "act" | "examine" if self._ours(headers):
                return await self._post(path, receive, send)
            case "POST", _:
                return await _text(send, 403, "only the page itself may ask for that")
        return await _text(send, 404, "there is no such page")

    def _ours(self, headers: Mapping[bytes, bytes]) -> bool:
        same_site = headers.get(b"sec-fetch-site", b"same-origin") == b"same-origin"
        return same_site and hmac.compare_digest(headers.get(TOKEN_HEADER, b""), self.token.encode())

    async def _post(self, path: str, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if path == "examine":
            self.watcher.examine()
            return await _text(send, 202, "doctor examines the release")
        if self.read_only:
            return await _text(send, 403, "the dashboard was started with --read-only")
        try:
            order = json_as(body, _Order)
            event = Event(order.action)
        except (msgspec.MsgspecError, ValueError) as error:
            return await _text(send, 400, str(error))
        if event not in ACTIONS:
            return await _text(send, 400, f"the page can {', '.join(ACTIONS)}")
        if not self.actions.start(order.model, event):
            return await _text(send, 409, "another action is running")
        return await _text(send, 202, f"{event.value} of {order.model}")

    async def _events(self, receive: Receive, send: Send) -> None:
        """Every topic now, and each again when it changes, until the page is closed."""
        headers = [(b"content-type", b"text/event-stream"), *SAFE]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        gone = asyncio.create_task(_disconnected(receive))
        number = 0
        try:
            with self.board.listening() as changed:
                while not (gone.done() or self.board.closed):
                    changed.clear()
                    number, documents = self.board.since(number)
                    text = b"".join(b"event: %s\ndata: %s\n\n" % (name.encode(), data) for name, data in documents)
                    await send({"type": "http.response.body", "body": text or b": still here\n\n", "more_body": True})
                    waiting = asyncio.create_task(changed.wait())
                    await asyncio.wait({gone, waiting}, timeout=KEEP_ALIVE_SECONDS, return_when="FIRST_COMPLETED")
                    waiting.cancel()
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _report(self, path: str, send: Send) -> None:
        """A file of an experiment; as a document of no origin, so that it cannot use the token of its URL."""
        folder = self.watcher.reports.resolve()
        file = (folder / path).resolve()
        if folder not in file.parents or not file.is_file():
            return await _text(send, 404, "there is no such report")
        content = await asyncio.to_thread(file.read_bytes)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return await _send(send, 200, kind.encode(), content, (b"content-security-policy", b"sandbox"))


@cache
def page() -> bytes:
    """The file."""
    return resources.files(__package__).joinpath("page.html").read_bytes()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(receive: Receive) -> bytes:
    """The body, as far as it is of a size that an action has."""
    content = b""
    while True:
        message = await receive()
        content = (content + message.get("body", b""))[: ACTION_BYTES_MAX + 1]
        if not message.get("more_body"):
            return content if len(content) <= ACTION_BYTES_MAX else b""


async def _text(send: Send, status: int, text: str) -> None:
    await _send(send, status, b"text/plain; charset=utf-8", text.encode())


async def _send(send: Send, status: int, kind: bytes, content: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(content)), *SAFE, *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
