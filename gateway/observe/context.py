"""W3C Trace Context: which trace a request belongs to, and what calls made for it say of that."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from random import getrandbits
from typing import Final

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)

OUT: Final[ContextVar[str]] = ContextVar("traceparent", default="")
"""`traceparent` of the calls to model servers that are made for the request of this task; empty for none."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A trace, and the span in it that stands for the gateway's work on the request."""

    trace: str
    span: str
    flags: str

    @property
    def traceparent(self) -> str:
        """The header of a call that this span makes."""
        return f"00-{self.trace}-{self.span}-{self.flags}"


def continued(header: str | None) -> TraceContext | None:
    """The trace of a `traceparent` header, with a new span; None without a header, or for one that is not valid.

    A version that is not known is read as far as the first one goes, as the recommendation asks; `ff` is none.
    """
    found = _TRACEPARENT.fullmatch(header.strip()) if header is not None else None
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not found[2].strip("0") or not found[3].strip("0"):
        return None
    return TraceContext(trace=found[2], span=f"{getrandbits(64) or 1:016x}", flags=found[4])
