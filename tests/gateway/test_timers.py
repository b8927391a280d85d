"""Shared timers: what is due is called, what is cancelled is not, and a limit ends what it surrounds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest
import uvloop

from gateway.timers import Timer, Timers


def run(work: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(work, 30))


def test_calls_are_made_in_their_time_whatever_the_order_they_were_asked_for() -> None:
    async def work() -> None:
        timers, last = Timers(asyncio.get_running_loop(), slack=0.001), asyncio.Event()
        called: list[str] = []
        timers.call_later(0.15, last.set)
        timers.call_later(0.1, lambda: called.append("late"))
        timers.call_later(0.02, lambda: called.append("early"))
        timers.call_later(0.05, lambda: called.append("cancelled")).cancel()
        await last.wait()
        assert called == ["early", "late"]
        assert not timers.pending

    run(work())


def test_a_timer_that_another_cancels_at_the_same_time_is_not_called() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        timers = Timers(loop, slack=0.001)
        called: list[int] = []
        pair: list[Timer] = []

        def call(one: int, other: int) -> None:
            called.append(one)
            pair[other].cancel()

        when = loop.time() + 0.02
        pair += [timers.call_at(when, partial(call, 0, 1)), timers.call_at(when, partial(call, 1, 0))]
        await asyncio.sleep(0.1)
        assert len(called) == 1

    run(work())


def test_a_limit_that_passes_is_a_timeout_and_one_that_does_not_leaves_the_task_alone() -> None:
    async def work() -> None:
        timers = Timers(asyncio.get_running_loop(), slack=0.001)
        with pytest.raises(TimeoutError):
            async with timers.limit(asyncio.get_running_loop().time() + 0.02):
                await asyncio.sleep(20)
        async with timers.limit(asyncio.get_running_loop().time() + 0.02):
            pass
        await asyncio.sleep(0.1)

    run(work())


def test_a_task_cancelled_within_a_limit_is_cancelled_not_timed_out() -> None:
    async def work() -> None:
        timers = Timers(asyncio.get_running_loop(), slack=0.001)

        async def limited() -> None:
            async with timers.limit(asyncio.get_running_loop().time() + 20):
                await asyncio.sleep(20)

        task = asyncio.create_task(limited())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not timers.pending

    run(work())
