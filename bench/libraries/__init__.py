"""What the libraries cost that this project does without: `python -m bench libraries [NAME]`.

Each comparison takes turns between own code and library in one run, so that both share the noise of the machine, and
prints CPU time and the median of the ratios of all rounds. docs/decisions/ says what follows. What is no dependency has
to be installed first: h2 in the project's environment, locust on PATH.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median

NAMES = ("metrics", "http1", "http2", "loadgen", "lease")
ROUNDS = 9


def main(arguments: list[str]) -> None:
    """Run the named comparisons, by default all."""
    for name in arguments or NAMES:
        importlib.import_module(f"bench.libraries.{name}").main()


def compare(title: str, cases: Mapping[str, Callable[[], object]], times: int, *, rounds: int = ROUNDS) -> None:
    """CPU time of one call of each case in this process, and its ratio to that of the first."""
    figures: dict[str, list[float]] = {what: [] for what in cases}
    for turn in range(rounds + 1):
        for what, case in cases.items():
            started = time.process_time()
            for _ in range(times):
                case()
            if turn:  # the first warms up
                figures[what].append((time.process_time() - started) / times * 1e6)
    show(title, figures)


async def compare_calls(
    title: str, cases: Mapping[str, Callable[[], Awaitable[object]]], calls: int, *, in_flight: int = 8
) -> None:
    """The same for calls that wait, so many of them at a time."""
    figures: dict[str, list[float]] = {what: [] for what in cases}

    async def worker(case: Callable[[], Awaitable[object]]) -> None:
        for _ in range(calls // in_flight):
            await case()

    for turn in range(ROUNDS + 1):
        for what, case in cases.items():
            started = time.process_time()
            await asyncio.gather(*(worker(case) for _ in range(in_flight)))
            if turn:
                figures[what].append((time.process_time() - started) / calls * 1e6)
    show(title, figures)


def show(title: str, figures: Mapping[str, list[float]]) -> None:
    """Print microseconds by case, one figure a round, beside those of the first case."""
    print(f"{title}; us of CPU, median of {len(next(iter(figures.values())))} rounds in turns")
    first = next(iter(figures.values()))
    for what, micros in figures.items():
        ratio = median(theirs / ours for theirs, ours in zip(micros, first, strict=True))
        print(f"  {what:<44}{median(micros):>9.1f}{ratio:>8.2f} x")
