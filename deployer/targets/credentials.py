"""The API key that the deployer's own requests to gateways carry."""

from __future__ import annotations

import os
from collections.abc import Mapping


def api_key() -> str:
    """The key; empty where gateways let everybody in. It stands in no message and no file of results."""
    return os.environ.get("DEPLOYER_API_KEY", "")


def headers() -> Mapping[str, str]:
    """Headers for a request to a gateway."""
    return {"x-api-key": key} if (key := api_key()) else {}
