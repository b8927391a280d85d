"""The gateway's end: it starts the process with the first large body, and ends it with a body that nobody waits for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Final

from gateway.api.large.messages import PREFIX, Failed, Reply, Task, decode_reply, encode, lengths, prefix
from gateway.errors import DeadlinePassed, Unavailable

log = logging.getLogger("gateway.large")

LARGE: Final = 1 << 18
"""Bytes of JSON above which a body is read in the process."""
END_SECONDS: Final = 5.0


class LargeReader:
    """Reads one body at a time; the others wait their turn."""

    def __init__(self, memory: Callable[[], int]) -> None:
        """`memory` gives the bytes that a body may take, decoded."""
        self._memory = memory
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def read(self, task: Task, body: bytes, deadline: float) -> Reply:
        """What a body says. `deadline` is in loop time.

        Errors: StatusError and BadRequest for a wrong body; DeadlinePassed; Unavailable when the process ended.
        """
        try:
            async with asyncio.timeout_at(deadline), self._turn:
                reply = await self._ask(task, body)
        except TimeoutError as error:
            raise DeadlinePassed("the deadline passed while the body was read", stage="decode") from error
        if isinstance(reply, Failed):
            raise reply.error()
        return reply

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_SECONDS)

    async def _ask(self, task: Task, body: bytes) -> Reply:
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        said = encode(task)
        try:
            process.stdin.write(prefix(said, body) + said)
            process.stdin.write(body)
            await process.stdin.drain()
            size, _ = lengths(await process.stdout.readexactly(PREFIX))
            reply: Reply = decode_reply(await process.stdout.readexactly(size))
            return reply
        except (asyncio.IncompleteReadError, OSError) as error:
            await self.close()
            log.error("the process that reads large bodies has ended; the next one starts it again")
            raise Unavailable("the body could not be read; try later", stage="decode") from error
        except BaseException:  # nobody waits any more: what it reads is of no use
            self._process = None
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.api.large", str(self._memory()), stdin=pipe, stdout=pipe,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        return self._process
