"""The target of a request, as libevent takes it apart: a path, a whole URL, or what is neither."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

_PARTS = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL
)
_TEXT = r"A-Za-z0-9._~!$&'()*+,;=\-"
_CODE = r"%[0-9A-Fa-f]{2}"
_AUTHORITY = re.compile(
    rf"(?:(?:[{_TEXT}:]|{_CODE})*@)?"
    rf"(?:\[(?:v[0-9A-Fa-f]+\.[{_TEXT}:]*|(?P<ipv6>[^\]v][^\]]*))\]|(?:[{_TEXT}]|{_CODE})*)"
    r"(?::(?P<port>[0-9]*))?"
)
_PATH = re.compile(rf"(?:[{_TEXT}:@/]|{_CODE})*")
_REST = re.compile(rf"(?:\?(?:[{_TEXT}:@/?]|{_CODE})*)?(?:#(?:[{_TEXT}:@/?]|{_CODE})*)?")
_LAST_PORT = 65535
_PORT_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Target:
    """The path alone and with query and fragment, both still percent-encoded.

    `absolute` tells a whole http URL from a path. A target that is not `valid` has characters that no URL has: libevent
    reads its request to the end before it says so.
    """

    path: str
    path_and_query: str
    absolute: bool
    valid: bool


@lru_cache(maxsize=256)
def parse_target(target: str) -> Target | None:
    """The target's parts; None where libevent refuses a request at its first line."""
    parts = _PARTS.fullmatch(target)
    assert parts is not None
    scheme, authority, path, rest = parts.group("scheme", "authority", "path", "rest")
    if authority is not None and not authority_is_valid(authority):
        return None
    if scheme is None and ":" in path.partition("/")[0]:
        return None
    return Target(
        path,
        path + rest,
        absolute=(scheme or "").lower() in ("http", "https") and authority is not None,
        valid=bool(_PATH.fullmatch(path) and _REST.fullmatch(rest)),
    )


def authority_is_valid(authority: str) -> bool:
    """Whether a text is a host, perhaps with user and port; it may be empty."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return False
    port = (found["port"] or "").lstrip("0")
    if len(port) > _PORT_DIGITS or int(port or 0) > _LAST_PORT:
        return False
    return found["ipv6"] is None or _is_ipv6(found["ipv6"])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text
