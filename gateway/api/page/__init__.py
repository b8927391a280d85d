"""The page at `/` of the admin port: what runs, how it does, and a form to try a record. One file, no other hosts."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from gateway.api.http import Header

HTML: Final[Header] = (b"content-type", b"text/html; charset=utf-8")


@cache
def page() -> bytes:
    """The file."""
    return files(__package__).joinpath("page.html").read_bytes()
