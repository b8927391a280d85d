"""Endpoints for records, and predictions, as plain data."""

from __future__ import annotations

import msgspec

from deployer.tools.client_tls import ClientTls

Value = str | float | tuple[float, ...]
"""One comparable prediction: a label, a number, or the numbers of one output row."""


class RecordApi(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="records"):
    """The record API of one or more gateways, used in turn. `path` is the whole path of the URL; `api_key` goes with
    each request, empty for none; `tls` is for URLs with https."""

    urls: tuple[str, ...]
    path: str
    api_key: str = ""
    tls: ClientTls | None = None

    def __repr__(self) -> str:
        """Without the key."""
        return f"RecordApi(urls={self.urls!r}, path={self.path!r})"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers of a request. What was kept of requests is not kept once more when it is sent again."""
        return (("x-no-sampling", "1"), *((("x-api-key", self.api_key),) if self.api_key else ()))


class Grpc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="grpc"):
    """gRPC Predict directly at a model server through one plain channel; `dtypes` is the dtype of each input."""

    address: str
    model: str
    label: str = ""
    signature: str = "serving_default"
    dtypes: dict[str, str] = {}
