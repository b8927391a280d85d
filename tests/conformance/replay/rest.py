"""HTTP requests as cases write them, byte by byte, and their responses.

The bytes go out as they are because cases break the protocol on purpose; the standard library reads the responses.
"""

from __future__ import annotations

import base64
import io
import json
import socket
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected

from replay.cases import Answer, Json
from replay.prometheus import observed
from replay.steps import RestRequest, body_bytes

KEPT_HEADERS = frozenset(
    (
        "content-type", "content-encoding", "transfer-encoding", "connection", "allow", "location",
        "access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers",
    )
)  # fmt: skip
"""Headers that are compared; the others say who and when."""

_LONG = 3000
"""Characters from which on a JSON body is kept as values only."""


def bytes_of(request: RestRequest) -> bytes:
    """What is sent for one request."""
    if request.raw_b64 is not None:
        return base64.b64decode(request.raw_b64)
    body = body_bytes(request.body)
    headers: dict[str, str | None] = {"Host": "localhost", **request.headers}
    length_named = any(name.lower() == "content-length" for name in headers)
    if request.chunks is not None:
        headers["Transfer-Encoding"] = "chunked"
        pieces = [chunk.encode() for chunk in request.chunks] + [b""]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    elif not (length_named or request.no_length) and (body or request.method in ("POST", "PUT", "PATCH")):
        headers["Content-Length"] = str(len(body))
    lines = [f"{request.method} {request.path} {request.http}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body


class _Stream(io.BufferedReader):
    """What several responses are read from, one after the other; the first does not close it."""

    def close(self) -> None:
        """Nothing: the socket is closed by who opened it."""

    def makefile(self, mode: str) -> _Stream:
        """What a response asks of a socket."""
        return self


def exchange(port: int, request: RestRequest, limit: float) -> Json:
    """Send a request and read the response: a response, or a list of them for a pipeline. `limit` in seconds.

    Besides a response a response may be `refused`, `closed` or `timed_out`.
    """
    requests = request.pipeline or [request]
    answers: list[Json] = []
    try:
        connection = socket.create_connection(("127.0.0.1", port), limit)
    except OSError:
        return {"refused": True}
    with connection:
        stream = _Stream(socket.SocketIO(connection, "r"))
        for one in requests:
            with suppress(OSError):  # the server may answer and close before it read all
                connection.sendall(bytes_of(one))
                if one.half_close:
                    connection.shutdown(socket.SHUT_WR)
            answer = _read(stream, one.method, request)
            answers.append(answer)
            if "status" not in answer:
                break
        if request.check_close is not None:
            connection.settimeout(request.check_close)
            answer["server_closes"] = _at_end(stream)
    return answers if request.pipeline else answers[0]


def _at_end(stream: _Stream) -> bool:
    try:
        return not stream.peek(1)
    except TimeoutError:
        return False
    except OSError:
        return True


def _read(stream: _Stream, method: str, request: RestRequest) -> Answer:
    response = HTTPResponse(stream, method=method)  # type: ignore[arg-type]  # of a socket only makefile is used
    truncated = False
    try:
        response.begin()
        try:
            body = response.read()
        except IncompleteRead as error:
            body, truncated = error.partial, True
    except TimeoutError:
        return {"timed_out": True}
    except RemoteDisconnected:
        return {"closed": True}
    except HTTPException as error:
        return {"unreadable": f"{type(error).__name__}: {error}"}
    except (OSError, ValueError):  # ValueError: the standard library reads the code of a status line as a number
        return {"closed": True}
    named = response.headers
    headers: dict[str, Json] = {
        name.lower(): ", ".join(named.get_all(name, ())) for name in named if name.lower() in KEPT_HEADERS
    }
    headers["length_given"] = "content-length" in named
    answer: Answer = {
        "status": response.status,
        "http": "HTTP/1.0" if response.version == 10 else "HTTP/1.1",
        "headers": headers,
        **_content(body, request),
    }
    if truncated:
        answer["truncated"] = True
    return answer


def _content(body: bytes, request: RestRequest) -> Answer:
    """A body as far as it is compared: values and text of JSON, else the text; `big` ones by length."""
    content: Answer = {}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
        content["body_b64"] = base64.b64encode(body).decode()
    if request.metrics is not None:
        return content | {"metrics": observed(text or "", request.metrics)}
    if request.big:
        return content | {"length": len(body), "head": (text or "")[:200]}
    try:
        content["json"] = json.loads(text if text is not None else body.decode("latin-1"))
    except ValueError:
        return content if text is None else content | {"body": text}
    if text is not None and len(text) < _LONG:
        content["raw"] = text
    return content
