"""A stand-in for a gateway, with a known capacity, for tests and for looking at the generator alone."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgspec

_HEAD_END = b"\r\n\r\n"


@dataclass(kw_only=True)
class Behaviour:
    """How the fake answers; may be changed while it runs.

    Each of `workers` serves one request at a time for `service` seconds, so capacity is workers / service. While
    `stalled`, none serves. One response in `wrong_every` names another label, one in `refuse_every` is a 503. The next
    `busy` requests get a 429 with Retry-After: 2.
    """

    workers: int = 1000
    service: float = 0.0
    stalled: bool = False
    wrong_every: int = 0
    refuse_every: int = 0
    busy: int = 0


class FakeGateway:
    """The record API on a free port of 127.0.0.1, in a thread. It predicts `str(record["x"] % 3)`."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.url = ""
        self.requests = 0
        self._loop = asyncio.new_event_loop()
        self._queue: asyncio.Queue[tuple[asyncio.StreamWriter, bytes]] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="fake gateway", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def stall(self, seconds: float, *, after: float) -> None:
        """Stop serving `after` seconds from now, for `seconds`."""

        def arrange() -> None:
            self._loop.call_later(after, setattr, self.behaviour, "stalled", True)
            self._loop.call_later(after + seconds, setattr, self.behaviour, "stalled", False)

        self._loop.call_soon_threadsafe(arrange)

    def _main(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._read, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        running: set[asyncio.Task[None]] = set()
        workers = asyncio.ensure_future(self._work(running))
        await self._stop.wait()
        server.close()
        workers.cancel()
        everything = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(_HEAD_END)
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self._queue.put_nowait((writer, await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _work(self, running: set[asyncio.Task[None]]) -> None:
        while True:
            writer, body = await self._queue.get()
            while self.behaviour.stalled or len(running) >= self.behaviour.workers:
                await asyncio.sleep(0.0005)
            task = asyncio.ensure_future(self._answer(writer, body))
            running.add(task)
            task.add_done_callback(running.discard)

    async def _answer(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        self.requests += 1
        number = self.requests
        if self.behaviour.service:
            await asyncio.sleep(self.behaviour.service)
        if self.behaviour.refuse_every and number % self.behaviour.refuse_every == 0:
            self._write(writer, b"503 Service Unavailable", b'{"error": "full"}')
            return
        if self.behaviour.busy:
            self.behaviour.busy -= 1
            self._write(writer, b"429 Too Many Requests\r\nRetry-After: 2", b'{"error": "busy"}')
            return
        records: list[dict[str, Any]] = msgspec.json.decode(body)["records"]
        shift = 1 if self.behaviour.wrong_every and number % self.behaviour.wrong_every == 0 else 0
        predictions = [{"top_prediction": str((r["x"] + shift) % 3)} for r in records]
        answer = {"predictions": predictions, "metadata": {"model_version": 1}}
        self._write(writer, b"200 OK", msgspec.json.encode(answer))

    def _write(self, writer: asyncio.StreamWriter, status: bytes, body: bytes) -> None:
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
