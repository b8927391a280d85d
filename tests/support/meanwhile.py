"""What a test has watched while it does something else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def again_and_again(look: Callable[[], None], *, pause: float = 0.1) -> Iterator[None]:
    """`look` is called in a thread of its own with pauses in between (seconds), for as long as the context lasts."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(pause):
            look()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
