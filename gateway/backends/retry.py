"""What a failed call says about the model server, and whether another one may be asked.

Predict is idempotent, so repeating is always safe; the question is whether it can help. The texts are TensorFlow
Serving's own: its codes alone do not tell a full queue from a dying process.
"""

from __future__ import annotations

from enum import Enum

from gateway.backends.rpc import RpcError
from tfserving.wire.status import Code


class Fault(Enum):
    """Why a call failed, as far as it matters for repeating it."""

    FINAL = "final"
    """The response would be the same anywhere."""
    BROKEN = "broken"
    """The process or the way to it is gone: ask another, and remember it against this one."""
    BUSY = "busy"
    """Alive but full: ask another."""
    UNCONVERGED = "unconverged"
    """This replica has not the version or the label, or not yet: ask others that may have it."""
    POISONED = "poisoned"
    """Rejected because of other requests of its batch: ask again, once."""
    SILENT = "silent"
    """No response in time. Nothing is left to repeat it in; remembered against a server that says nothing at all."""


MOST = {Fault.UNCONVERGED: 16, Fault.POISONED: 1}
"""How often one call is repeated for a reason; for the others, as often as there are replicas."""
REPEATABLE = frozenset({Fault.BROKEN, Fault.BUSY, Fault.UNCONVERGED, Fault.POISONED})


def fault_of(error: RpcError) -> Fault:
    """Classify an error of a call."""
    text = error.message
    if error.code == Code.UNAVAILABLE:
        return Fault.BUSY if "batch scheduling queue" in text else Fault.BROKEN
    if error.code == Code.CANCELLED:
        return Fault.BROKEN  # Nobody here cancels a call that is waited for; a server that is being killed does.
    if error.code == Code.RESOURCE_EXHAUSTED:
        # Older builds shed load without a text.
        full = not text or "Threadpool Exhausted" in text or "waiting in batching queue" in text
        return Fault.BUSY if full else Fault.FINAL
    if error.code == Code.NOT_FOUND or (
        error.code == Code.INVALID_ARGUMENT and text.startswith("Unrecognized servable version label")
    ):
        return Fault.UNCONVERGED
    if error.code == Code.FAILED_PRECONDITION and "padding is turned off" in text:
        return Fault.POISONED
    if error.code == Code.DEADLINE_EXCEEDED and error.local:
        return Fault.SILENT
    return Fault.FINAL


class RetryBudget:
    """Bounds repeated calls to a share of all calls, so that an outage is not multiplied.

    Each call adds `ratio`, each repetition takes one; at most `reserve` is kept. The reserve must cover the calls that
    one dying replica has in flight.
    """

    def __init__(self, reserve: int, ratio: float = 0.2) -> None:
        self.reserve = float(reserve)
        self._ratio = ratio
        self._left = self.reserve

    def deposit(self) -> None:
        """A first attempt was made."""
        if self._left < self.reserve:
            self._left = min(self.reserve, self._left + self._ratio)

    def withdraw(self) -> bool:
        """Whether one repetition is allowed; it is taken from the budget."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
