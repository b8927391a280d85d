"""HTTP/1.x messages as libevent reads and writes them, without any input or output.

TensorFlow Serving's REST port is an evhttp server of libevent 2.1.12. What it accepts (bare line feeds, folded headers,
HTTP/0.9), what it refuses and how it responds is visible to clients and proxies, so it is kept here.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache

from tfserving.server.rest.target import authority_is_valid, parse_target

_PHRASES = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    413: "Request Entity Too Large",
    417: "Expectation Failed",
    429: "Too Many Requests",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

LIBEVENT_CONTENT_TYPE = "text/html; charset=ISO-8859-1"
"""What libevent says of a response that names no type."""

METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
_WITH_BODY = METHODS - {"HEAD"}

_VERSION = re.compile(r"HTTP/(\d{1,9})\.(\d{1,9})", re.ASCII)
_LENGTH = re.compile(r"[ \t]*(?P<sign>[+-]?)(?P<digits>\d+)", re.ASCII)
_LONGEST_LENGTH = 18
"""Digits of a length that still means something."""
_CHUNK_SIZE = re.compile(rb"[ \t]*[+]?(?:0[xX])?([0-9a-fA-F]{1,15})(?: .*)?", re.DOTALL)
_SHORTEST_REQUEST_LINE = len("GET / HTTP/1.0")

_MAX_HEAD = 1 << 20
"""Longest head, trailer or line of a chunk's size that is read. libevent reads on until the memory ends."""
_KNOWN_HEAD = 4096
"""Longest head that is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One complete request. `headers` has lower-case names; of a repeated header the first value."""

    method: str
    path: str
    """The path alone, still percent-encoded."""
    path_and_query: str
    version: tuple[int, int]
    headers: Mapping[str, str]
    body: bytes = b""
    gone: Callable[[], bool] = bool
    """Whether the client has left, so that nobody waits for a response."""
    proxied: bool = False
    """The target was an absolute URL, which makes libevent close the connection after its response."""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection serves another request after the response."""
        connection = self.headers.get("connection", "").lower()
        if self.proxied:
            return self.headers.get("proxy-connection", "").lower() == "keep-alive"
        if connection == "close":
            return False
        return self.version >= (1, 1) or connection.startswith("keep-alive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One response; the length, the date and the connection headers are added when it is written."""

    status: int
    body: bytes = b""
    content_type: str = LIBEVENT_CONTENT_TYPE
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message whose response is libevent's HTML page, after which the connection is closed."""

    status: int
    version: tuple[int, int] = (1, 1)
    method: str = ""

    @property
    def stays_open(self) -> bool:
        """Whether the connection is left to the client: libevent takes it for a tunnel that begins."""
        return self.method == "CONNECT"


class Expectation:
    """The client waits for "100 Continue" before it sends the body."""


@dataclass(slots=True)
class _Head:
    method: str
    target: str
    version: tuple[int, int]
    headers: dict[str, str] = field(default_factory=dict)
    length: int = 0
    """Bytes of the body; -1 for chunks."""


class RequestParser:
    """Turns received bytes into requests. Feed bytes, then call `next` until it returns None.

    A body of more than `max_body` bytes is refused, as soon as its length is known.
    """

    def __init__(self, max_body: int = sys.maxsize) -> None:
        self._max_body = max_body
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._chunks: bytearray | None = None
        self._in_trailer = False

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    @property
    def buffered(self) -> int:
        """Bytes that have arrived and belong to no complete message."""
        return len(self._buffer) + len(self._chunks or b"")

    @property
    def idle(self) -> bool:
        """Whether no part of a request has arrived."""
        return self._head is None and not self._buffer

    def next(self) -> Request | Refusal | Expectation | None:
        """The next complete message, a refusal, an expectation to answer, or None when more bytes are needed."""
        if self._head is None:
            started = self._read_head()
            if started is not None:
                return started
            if self._head is None:
                return None
        try:
            body = self._read_body(self._head)
        except _Malformed as bad:
            return Refusal(bad.status)
        if body is None:
            return None
        head, self._head, self._chunks, self._in_trailer = self._head, None, None, False
        return _request(head, body)

    def _read_head(self) -> Refusal | Expectation | None:
        end_of_line = self._buffer.find(b"\n", 0, _MAX_HEAD)
        if end_of_line < 0:
            return Refusal(413) if len(self._buffer) > _MAX_HEAD else None
        try:
            end = _end_of_headers(self._buffer, end_of_line)
            if end < 0:
                _parse_request_line(_line(self._buffer[:end_of_line]))
                if len(self._buffer) <= _KNOWN_HEAD:
                    complete = self._buffer[end_of_line + 1 : self._buffer.rfind(b"\n")]
                    _parse_headers(complete.decode("latin-1"), {})
                return Refusal(413) if len(self._buffer) > _MAX_HEAD else None
            data = bytes(self._buffer[:end])
            head = _known_head(data) if end <= _KNOWN_HEAD else _parse_head(data)
            del self._buffer[:end]
        except _Malformed as bad:
            return Refusal(bad.status)
        if head.length > self._max_body:
            return Refusal(413, head.version, head.method)
        self._head = head
        if head.length and head.version >= (1, 1) and (expect := head.headers.get("expect")) is not None:
            if expect.lower() != "100-continue":
                return Refusal(417)
            if not self._buffer:
                return Expectation()
        return None

    def _read_body(self, head: _Head) -> bytes | None:
        if head.length < 0:
            return self._read_chunks()
        if len(self._buffer) < head.length:
            return None
        body = bytes(memoryview(self._buffer)[: head.length])
        del self._buffer[: head.length]
        return body

    def _read_chunks(self) -> bytes | None:
        if self._chunks is None:
            self._chunks = bytearray()
        while not self._in_trailer:
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > _MAX_HEAD:
                    raise _Malformed(413)
                return None
            line = _line(self._buffer[:end])
            if not line:
                del self._buffer[: end + 1]
                continue
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise _Malformed(413)
            length = int(size[1], 16)
            if length > self._max_body - len(self._chunks):
                raise _Malformed(413)
            if len(self._buffer) < end + 1 + length:
                return None
            self._chunks += self._buffer[end + 1 : end + 1 + length]
            del self._buffer[: end + 1 + length]
            self._in_trailer = length == 0
        end = _end_of_headers(self._buffer, -1)
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise _Malformed(413)
            return None
        try:
            _parse_headers(self._buffer[:end].decode("latin-1"), {})
        except _Malformed:
            raise _Malformed(413) from None
        del self._buffer[:end]
        return bytes(self._chunks)


class _Malformed(Exception):
    def __init__(self, status: int = 400) -> None:
        super().__init__(status)
        self.status = status


def _line(raw: bytes | bytearray) -> bytes:
    return bytes(raw[:-1] if raw.endswith(b"\r") else raw)


def _end_of_headers(buffer: bytearray, end_of_line: int) -> int:
    """Where the body starts, given the line feed before the headers (-1 at the start of the buffer); -1 if unknown."""
    start = end_of_line + 1
    if buffer.startswith(b"\n", start):
        return start + 1
    if buffer.startswith(b"\r\n", start):
        return start + 2
    crlf, lf = buffer.find(b"\n\r\n", start), buffer.find(b"\n\n", start)
    if crlf >= 0 and (lf < 0 or crlf < lf):
        return crlf + 3
    return lf + 2 if lf >= 0 else -1


def _parse_head(data: bytes) -> _Head:
    line, _, headers = data.partition(b"\n")
    head = _parse_request_line(_line(line))
    _parse_headers(headers.decode("latin-1"), head.headers)
    _measure_body(head)
    return head


_known_head = lru_cache(maxsize=256)(_parse_head)
"""Clients repeat themselves: most heads of a connection are the same bytes."""


def _parse_request_line(line: bytes) -> _Head:
    text = line.decode("latin-1").rstrip(" ")
    method, blank, rest = text.partition(" ")
    target, second, version = rest.rpartition(" ")
    number = _VERSION.fullmatch(version)
    if len(text) < _SHORTEST_REQUEST_LINE or not blank or not second or not target or number is None:
        raise _Malformed
    major, minor = int(number[1]), int(number[2])
    if major > 1 or not _is_target(method, target):
        raise _Malformed
    return _Head(method, target, (major, minor))


def _is_target(method: str, target: str) -> bool:
    if method == "CONNECT":
        return authority_is_valid(re.split("[/?#]", target, maxsplit=1)[0])
    return parse_target(target) is not None


def _parse_headers(text: str, headers: dict[str, str]) -> None:
    last = ""
    repeated = True
    for raw in text.split("\n"):
        line = raw[:-1] if raw.endswith("\r") else raw
        if not line:
            return
        if line[0] in " \t":
            if not last:
                raise _Malformed
            if not repeated:
                headers[last] += " " + line.strip(" \t")
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise _Malformed
        last = name.lower()
        repeated = last in headers
        if not repeated:
            headers[last] = value.lstrip(" ").rstrip(" \t")


def _measure_body(head: _Head) -> None:
    """Decide how long the body is. Errors: a length that is no number, or a length together with chunks."""
    if head.method not in _WITH_BODY:
        return
    length = head.headers.get("content-length")
    if head.headers.get("transfer-encoding", "").lower() == "chunked":
        if length is not None:
            raise _Malformed
        head.length = -1
    elif length is not None:
        number = _LENGTH.fullmatch(length)
        size = 0 if number is None else int(number["digits"].lstrip("0")[:_LONGEST_LENGTH] or 0)
        if number is None or (number["sign"] == "-" and size):
            raise _Malformed
        head.length = size


def _request(head: _Head, body: bytes) -> Request | Refusal:
    if head.method not in METHODS:
        return Refusal(501, head.version, head.method)
    target = parse_target(head.target)
    if target is None or not target.valid:
        return Refusal(400, head.version, head.method)
    return Request(
        method=head.method,
        path=target.path,
        path_and_query=target.path_and_query,
        version=head.version,
        headers=head.headers,
        body=body,
        proxied=target.absolute,
    )


def write_refusal(refusal: Refusal) -> bytes:
    """libevent's HTML page for a status."""
    phrase = _PHRASES[refusal.status]
    page = (
        f"<HTML><HEAD>\n<TITLE>{refusal.status} {phrase}</TITLE>\n</HEAD><BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n"
    ).encode()
    major, minor = refusal.version if all(refusal.version) else (1, 1)
    lines = [f"HTTP/{major}.{minor} {refusal.status} {phrase}", "Content-Type: text/html", "Connection: close"]
    lines.append(f"Date: {_date()}")
    if refusal.method not in ("HEAD", "CONNECT"):
        lines.append(f"Content-Length: {len(page)}")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if refusal.method == "HEAD" else head + page


def write_response(request: Request, response: Response) -> bytes:
    """The bytes of a response, with the headers that libevent adds for this request."""
    major, minor = request.version
    connection = request.headers.get("connection", "").lower()
    keeps = connection.startswith("keep-alive")
    has_body = request.method != "HEAD"
    head = f"HTTP/{major}.{minor} {response.status} {_PHRASES[response.status]}\r\n"
    if has_body or response.content_type != LIBEVENT_CONTENT_TYPE:
        head += f"Content-Type: {response.content_type}\r\n"
    for name, value in response.headers:
        head += f"{name}: {value}\r\n"
    if major == 1:
        if minor >= 1:
            head += f"Date: {_date()}\r\n"
        elif keeps:
            head += "Connection: keep-alive\r\n"
        if has_body and (minor >= 1 or keeps):
            head += f"Content-Length: {len(response.body)}\r\n"
    if connection == "close" and not request.proxied:
        head += "Connection: close\r\n"
    encoded = (head + "\r\n").encode("latin-1")
    return encoded + response.body if has_body else encoded


_date_cache: tuple[int, str] = (0, "")


def _date() -> str:
    global _date_cache
    now = int(time.time())
    second, text = _date_cache
    if second != now:
        text = formatdate(now, usegmt=True)
        _date_cache = (now, text)
    return text
