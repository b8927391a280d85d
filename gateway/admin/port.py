"""The gateway's end of the admin port: it starts the process that serves it, and tells it what there is to say."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.admin import server
from gateway.admin.place import place
from gateway.api.http import Response

log = logging.getLogger("gateway.admin")

TELL_SECONDS: Final = 0.25
"""How often the process hears how the gateway is."""
LOOP_LATE_SECONDS: Final = 0.02
"""A turn that comes so much later than it should means that the event loop is busy."""
PUSH_SECONDS: Final = 5.0
"""How often it gets the pages of `PUSHED` without asking, so that there is always one for when the loop is busy."""
PUSHED: Final = ("/metrics", "/routes")
RESTART_SECONDS: Final = 1.0
"""After the process has ended by itself, which it should not."""
END_SECONDS: Final = 5.0
MOST_UNSENT: Final = 4 * 1024 * 1024
"""Bytes that may wait for the process."""


class AdminPort:
    """Serves `listener` from `start` to `close`.

    `unready` says what keeps the gateway from being ready; `answer` gives the page of a path; `attempt` answers a
    prediction that a user tries on the page, from path, API key and body.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        unready: Callable[[], list[str]],
        answer: Callable[[str], Awaitable[Response]],
        attempt: Callable[[str, str, bytes], Awaitable[Response]],
    ) -> None:
        self._listener = listener
        self._unready = unready
        self._answer = answer
        self._attempt = attempt
        self._writer: asyncio.StreamWriter | None = None
        self._busy = False
        self._keeper: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the process; returns when it serves."""
        self._keeper = asyncio.create_task(self._keep_running(), name="admin port")
        await self._started.wait()

    def tell(self) -> None:
        """Say how the gateway is, now and not at the next turn."""
        self._write(server.write_frame({"unready": self._unready(), "busy": self._busy}))

    async def close(self) -> None:
        """End the process and close the port."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        self._listener.close()

    async def _keep_running(self) -> None:
        while True:
            await self._run()
            log.error("the process of the admin port has ended; it is started again")
            await asyncio.sleep(RESTART_SECONDS)

    async def _run(self) -> None:
        """Start the process and serve it until it ends."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            descriptors = (self._listener.fileno(), theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", server.__file__, *map(str, descriptors), pass_fds=descriptors
            )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        self._writer = writer
        teller = asyncio.create_task(self._keep_telling(process.pid))
        try:
            await self._listen(reader)
        finally:
            teller.cancel()
            self._writer = None
            writer.close()  # it ends when the link does
            await _ended(process)

    async def _keep_telling(self, pid: int) -> None:
        loop, turn, due = asyncio.get_running_loop(), 0, 0.0
        while True:
            self._busy = 0 < due < loop.time() - LOOP_LATE_SECONDS
            self.tell()
            place(pid, beside_us=self._busy)
            if turn % round(PUSH_SECONDS / TELL_SECONDS) == 0:
                for target in PUSHED:
                    await self._deliver(target, pushed=True)
            turn += 1
            due = loop.time() + TELL_SECONDS
            await asyncio.sleep(TELL_SECONDS)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                head, body = server.sizes(await reader.readexactly(8))
                asked = await reader.readexactly(head + body)
            except (asyncio.IncompleteReadError, OSError):
                return
            fields = server.read_head(asked[:head])
            if "ask" not in fields:
                self._started.set()
                continue
            if "path" in fields:
                work = self._try(fields["ask"], fields["path"], fields["key"], asked[head:])
            else:
                work = self._deliver(fields["ask"])
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, target: str, *, pushed: bool = False) -> None:
        self._send(target, await self._answer(target), pushed=pushed)

    async def _try(self, name: str, path: str, key: str, body: bytes) -> None:
        self._send(name, await self._attempt(path, key, body), pushed=False)

    def _send(self, target: str, response: Response, *, pushed: bool) -> None:
        kind = dict(response.headers).get(b"content-type", b"application/json").decode()
        fields = {"target": target, "status": response.status, "type": kind, "pushed": pushed}
        self._write(server.write_frame(fields, response.body))

    def _write(self, frame: bytes) -> None:
        """Send to the process, unless it is too slow to take it: it hears the same again soon."""
        if self._writer is not None and self._writer.transport.get_write_buffer_size() < MOST_UNSENT:
            self._writer.write(frame)


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
