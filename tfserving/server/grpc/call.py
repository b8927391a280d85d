"""One request of a client, and what the requests of that client keep in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfserving.http2.sending import Stream
from tfserving.server.memory import Budget

if TYPE_CHECKING:
    from tfserving.server.grpc.connection import ServerConnection


class Call(Stream):
    """One request. `connection` takes the response.

    `taken` says that it has arrived whole, `at_work` that a thread has its bytes, `declared` how long its message is
    (-1: not known yet), `held` how many bytes of the budget it holds.
    """

    __slots__ = ("at_work", "connection", "declared", "held", "taken")

    def __init__(self, connection: ServerConnection, number: int, fields: dict[str, str]) -> None:
        super().__init__()
        self.connection = connection
        self.id = number
        self.fields = fields
        self.taken = self.at_work = False
        self.declared = -1
        self.held = 0

    @property
    def body(self) -> bytes:
        """All that was received; whole when the call is handed over."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)


class Account:
    """The bytes that the calls of one client hold of the server's budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    def hold(self, call: Call, size: int, *, alone: bool = False) -> bool:
        """Count bytes that a call keeps in memory; with `alone` the first ones of a client only against the total.

        False, and nothing counted, when they are not free.
        """
        if self._held + size > self._budget.one_client and not (alone and not self._held):
            return False
        if not self._budget.take(size):
            return False
        self._held += size
        call.held += size
        return True

    def release(self, call: Call) -> None:
        """Give back what a call holds."""
        if call.held:
            self._budget.give(call.held)
            self._held -= call.held
            call.held = 0
