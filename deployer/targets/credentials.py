"""The API key that the deployer's own requests to gateways carry."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from deployer.errors import SpecError


def api_key() -> str:
    """The key, of the environment or of a file that it names; empty where gateways let everybody in.

    It stands in no message and no file of results. Errors: SpecError for a file that cannot be read, and for a key that
    no header can carry.
    """
    name, key = "DEPLOYER_API_KEY", os.environ.get("DEPLOYER_API_KEY", "")
    if not key and (path := os.environ.get("DEPLOYER_API_KEY_FILE", "")):
        name = path
        try:
            key = Path(path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(
                f"the API key in {path} cannot be read",
                hint="DEPLOYER_API_KEY_FILE names a file with nothing but the key",
            ) from error
    if not (key.isascii() and key.isprintable()):
        raise SpecError(f"the API key in {name} has a line end or another character that no header can carry")
    return key


def headers() -> Mapping[str, str]:
    """Headers for a request to a gateway. Errors: as of `api_key`."""
    return {"x-api-key": key} if (key := api_key()) else {}
