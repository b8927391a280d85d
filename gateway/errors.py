"""The errors that a client of the gateway may see, and how they become an HTTP response.

GatewayError            status, message, details, retry_after
├─ BadRequest     400   the request is wrong; says where
├─ Unauthenticated 401  no credentials, or none that are known
├─ Forbidden      403   the caller may not use this model
├─ NotFound       404   no such model, version or path
├─ BodyTooLarge   413
├─ TooManyRequests 429  the caller has used its requests up
├─ Unavailable    503   overload, no model server, a spec that is not known; worth another try
├─ DeadlinePassed 504
└─ FromModelServer      any error of the model server, by the table of TensorFlow Serving's REST API
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tfserving.wire.status import HTTP_STATUS, Code

RETRY_AFTER_SECONDS: Final = 1


class GatewayError(Exception):
    """A response that is not a prediction. `details` are JSON-ready objects, one a problem."""

    status = 500

    def __init__(
        self,
        message: str,
        *,
        details: Sequence[object] = (),
        stage: str = "",
        reason: str = "",
        denied: str = "",
        retry_after: int | None = None,
    ) -> None:
        """`reason` is the label of `gateway_shed_total` when the gateway refused a request to protect itself, `denied`
        that of `gateway_denied_total` when it did not let it in."""
        super().__init__(message)
        self.message = message
        self.details = details
        self.stage = stage
        self.reason = reason
        self.denied = denied
        self._retry_after = retry_after

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the same request is worth another try."""
        if self._retry_after is not None:
            return self._retry_after
        return RETRY_AFTER_SECONDS if self.status in (429, 503) else None


class BadRequest(GatewayError):
    """The request cannot be answered as it is."""

    status = 400


class Unauthenticated(GatewayError):
    """Nobody that may ask has shown who they are."""

    status = 401


class Forbidden(GatewayError):
    """The caller is known and may not do this."""

    status = 403


class TooManyRequests(GatewayError):
    """The caller asks more often than its key allows."""

    status = 429


class NotFound(GatewayError):
    """The URL names something that does not exist."""

    status = 404


class RequestTimeout(GatewayError):
    """The body did not arrive within the request's deadline."""

    status = 408


class BodyTooLarge(GatewayError):
    """The body exceeds `limits.max_body_bytes`."""

    status = 413


class Unavailable(GatewayError):
    """Not now: overload, no reachable model server, or no spec for the version that responds."""

    status = 503


class DeadlinePassed(GatewayError):
    """The request's deadline passed before there was a response."""

    status = 504


class Misconfigured(GatewayError):
    """The gateway's own config does not fit the model: no request can succeed until it is corrected."""

    status = 500


class FromModelServer(GatewayError):
    """The model server's response, passed on with its message and the HTTP status that TensorFlow Serving gives it."""

    def __init__(self, code: Code, message: str, *, stage: str) -> None:
        super().__init__(message, stage=stage)
        self.status = HTTP_STATUS[code]
