"""The steps of a case: what is written in JSON, as typed values."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path
from typing import Any

import msgspec

from replay.cases import DEFAULT_LIMIT


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that is not written out: base64, another body compressed, or a text repeated between two others."""

    b64: str | None = None
    gzip: str | Made | None = None
    repeat: str | None = None
    times: int = 1
    head: str = ""
    tail: str = ""


Body = str | Made


def body_bytes(body: Body | None) -> bytes:
    """The bytes of a body; a half of a surrogate pair becomes its three bytes, which are not UTF-8."""
    match body:
        case None:
            return b""
        case str():
            return body.encode("utf-8", "surrogatepass")
        case Made(b64=str(text)):
            return base64.b64decode(text)
        case Made(gzip=str() | Made() as inner):
            return gzip.compress(body_bytes(inner), 1, mtime=0)
        case Made(repeat=str(text)):
            return (body.head + text * body.times + body.tail).encode("utf-8", "surrogatepass")
        case _:
            raise ValueError("a body is a text, {b64}, {gzip} or {repeat, times}")


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which metrics a response keeps: names, those with label sets, and those with values (patterns)."""

    only: str = "tensorflow:serving"
    series: str = "."
    values: str = "request_count$|request_latency_count$|runtime_latency_count$"


class RestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One HTTP request. `raw_b64` are its bytes as they are; `pipeline` are several on one connection.

    `check_close` waits that many seconds for the server to close the connection, `big` keeps only the length.
    A header whose value is null is left out.
    """

    method: str = "GET"
    path: str = "/"
    headers: dict[str, str | None] = {}
    body: Body | None = None
    chunks: list[str] | None = None
    http: str = "HTTP/1.1"
    no_length: bool = False
    half_close: bool = False
    raw_b64: str | None = None
    pipeline: list[RestRequest] | None = None
    check_close: float | None = None
    metrics: Metrics | None = None
    big: bool = False


class GrpcRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One unary call. The message is `b64`; with `template` it is made of `json`, whose placeholders are filled in."""

    method: str
    b64: str = ""
    json: Any = None
    template: bool = False
    metadata: dict[str, str] = {}
    compression: str | None = None
    deadline: float | None = None
    big: bool = False


class _Step(msgspec.Struct, frozen=True, tag_field="op", tag=str.lower, forbid_unknown_fields=True):
    """The class's name, in lower case, is the value of `op`."""


class Write(_Step, frozen=True):
    """Write a file, so that a reader sees all of it or none."""

    file: Path
    text: Body


class Copy(_Step, frozen=True, rename={"source": "from"}):
    """Copy a file or a folder, which appears by one rename."""

    source: Path
    to: Path


class Overwrite(_Step, frozen=True, rename={"source": "from"}):
    """Copy a folder over one that is there."""

    source: Path
    to: Path


class Rename(_Step, frozen=True, rename={"source": "from"}):
    """Rename a file or folder."""

    source: Path
    to: Path


class Mkdir(_Step, frozen=True):
    """Make a folder and its parents."""

    dir: Path


class Remove(_Step, frozen=True):
    """Remove a file or a folder with all in it."""

    dir: Path


class Sleep(_Step, frozen=True):
    """Wait."""

    seconds: float


class Start(_Step, frozen=True):
    """Start the server and wait until its ports are open or it ends.

    `log` and `stdout` are patterns looked for in its output, the latter when it ended; `time` asks for the seconds.
    `rest` tells whether a REST port is waited for, `no_ports` leaves out the two flags of the ports.
    """

    flags: list[str]
    limit: float = 60.0
    rest: bool = True
    no_ports: bool = False
    time: bool = False
    log: list[str] = []
    stdout: list[str] = []


class Stop(_Step, frozen=True):
    """Stop the server."""


class Alive(_Step, frozen=True):
    """Tell whether the server runs."""


class WaitExit(_Step, frozen=True, tag="wait_exit"):
    """Wait until the server ends by itself."""

    limit: float = 10.0


class Wait(_Step, frozen=True):
    """Ask for a model's status until these versions have these states."""

    model: str
    states: dict[str, str]
    limit: float = 15.0


class States(_Step, frozen=True):
    """Tell the states of a model's versions."""

    model: str


class Rest(_Step, frozen=True):
    """Send an HTTP request."""

    rest: RestRequest
    limit: float = DEFAULT_LIMIT


class Grpc(_Step, frozen=True):
    """Make a call."""

    grpc: GrpcRequest
    limit: float = DEFAULT_LIMIT


class WaitAnswer(_Step, frozen=True, tag="wait_answer"):
    """Repeat a request until its status or code is as wanted."""

    want: int | str
    rest: RestRequest | None = None
    grpc: GrpcRequest | None = None
    limit: float = 15.0


class Background(_Step, frozen=True):
    """Repeat a request from now on, beside the following steps."""

    name: str
    rest: RestRequest | None = None
    grpc: GrpcRequest | None = None


class BackgroundStop(_Step, frozen=True, tag="background_stop"):
    """End that, and tell how its responses changed."""

    name: str


class Volley(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same request `count` times at once, `after` seconds from the beginning."""

    count: int
    label: str = ""
    after: float = 0.0
    rest: RestRequest | None = None
    grpc: GrpcRequest | None = None


class Burst(_Step, frozen=True):
    """Many requests at once. The response has the different responses of each label, `report: counts` how many of each.

    `full` keeps whole responses instead of status and version.
    """

    groups: list[Volley]
    limit: float = DEFAULT_LIMIT
    full: bool = False
    report: str = ""


Step = (
    Write | Copy | Overwrite | Rename | Mkdir | Remove | Sleep | Start | Stop | Alive | WaitExit | Wait | States
    | Rest | Grpc | WaitAnswer | Background | BackgroundStop | Burst
)  # fmt: skip


def step_of(content: object) -> Step:
    """A step from its JSON. Raises msgspec.ValidationError."""
    step: Step = msgspec.convert(content, type=Step, dec_hook=lambda kind, value: kind(value))
    return step
