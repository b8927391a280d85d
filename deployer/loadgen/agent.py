"""`python -m deployer.loadgen.agent HOST PORT TOKEN_SHA256 IDLE_SECONDS`: the generator as a service, inside a cluster.

Load starts beside what it measures: only plans, records and outcomes travel. Every request carries a token whose sha256
the agent was started with. It ends by itself when nobody has asked anything for a while, so that a deployer that was
killed leaves no load behind.

    GET  /machine            what it runs on, as `Machine`
    PUT  /records?offset=N   cut the file of records at N and add the body
    POST /trial              start a trial of this `Plan` with the records that were sent; 409 while one runs
    GET  /trial?seen=N       a `Report`, as soon as there are more than N marks or the end; otherwise after 10 seconds
Answers are JSON; a refusal is {"error": …} with 400, 403, 404 or 409.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

import msgspec

from deployer.errors import DeployerError, SpecError
from deployer.loadgen.plan import Outcome, Plan, parse_plan
from deployer.loadgen.workers import Mark, Workers

TOKEN_HEADER = "x-load-token"
ANSWERS_WITHIN = 10.0
"""Seconds that a question about a trial waits for news."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A trial so far: the marks that have passed, and in the end its outcome or the error that it ended with.

    `kind` is the name of the error's class.
    """

    marks: tuple[Mark, ...] = ()
    outcome: Outcome | None = None
    kind: str = ""
    message: str = ""
    cause: str = ""
    hint: str = ""

    @property
    def over(self) -> bool:
        """Whether there is nothing more to come."""
        return self.outcome is not None or bool(self.kind)


class Refusal(Exception):
    """A request that is not answered; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Agent:
    """The generator processes, the records that were sent, and the one trial that runs or ran last."""

    def __init__(self, workers: Workers, records: Path) -> None:
        self._workers = workers
        self._records = records
        self._news = threading.Condition()
        self._report = Report(kind="None")

    def machine(self, _: dict[str, str], __: bytes) -> object:
        """What the generator runs on."""
        return self._workers.machine()

    def write(self, asked: dict[str, str], body: bytes) -> object:
        """Cut the file of records and add to it."""
        offset = _number(asked, "offset")
        with self._records.open("r+b" if offset else "wb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                raise Refusal(409, f"there are less than {offset} bytes")
            file.truncate(offset)
            file.seek(offset)
            file.write(body)
        return {}

    def start(self, _: dict[str, str], body: bytes) -> object:
        """Begin a trial."""
        try:
            plan = msgspec.structs.replace(parse_plan(body), records=str(self._records))
        except SpecError as error:
            raise Refusal(400, error.message) from error
        with self._news:
            if not self._report.over:
                raise Refusal(409, "a trial runs")
            self._report = Report()
        threading.Thread(target=self._run, args=(plan,), daemon=True).start()
        return {}

    def report(self, asked: dict[str, str], _: bytes) -> object:
        """The trial, once there is something new."""
        seen = _number(asked, "seen")
        with self._news:
            self._news.wait_for(lambda: self._report.over or len(self._report.marks) > seen, ANSWERS_WITHIN)
            return self._report

    def _run(self, plan: Plan) -> None:
        try:
            end = Report(outcome=self._workers.run(plan, self._mark))
        except DeployerError as error:
            end = Report(kind=type(error).__name__, message=error.message, cause=error.cause, hint=error.hint)
        except Exception as error:  # whoever waits for the outcome has to learn of it
            end = Report(kind=DeployerError.__name__, message=f"the load generator failed: {error!r}")
        self._tell(msgspec.structs.replace(end, marks=self._report.marks))

    def _mark(self, mark: Mark) -> None:
        self._tell(msgspec.structs.replace(self._report, marks=(*self._report.marks, mark)))

    def _tell(self, report: Report) -> None:
        with self._news:
            self._report = report
            self._news.notify_all()


class Server(ThreadingHTTPServer):
    """The server, with what its handlers share."""

    daemon_threads = True

    def __init__(self, host: str, port: int, agent: Agent, token_sha256: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self.agent = agent
        self.token_sha256 = token_sha256
        self.asked = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._answer({"/machine": Agent.machine, "/trial": Agent.report})

    def do_PUT(self) -> None:
        self._answer({"/records": Agent.write})

    def do_POST(self) -> None:
        self._answer({"/trial": Agent.start})

    def _answer(self, calls: dict[str, Callable[[Agent, dict[str, str], bytes], object]]) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked = time.monotonic()
        try:
            status, said = 200, self._call(calls, body)
        except Refusal as error:
            status, said = error.status, {"error": str(error)}
        content = msgspec.json.encode(said)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.server.asked = time.monotonic()

    def _call(self, calls: dict[str, Callable[[Agent, dict[str, str], bytes], object]], body: bytes) -> object:
        token = hashlib.sha256(self.headers.get(TOKEN_HEADER, "").encode()).hexdigest()
        if not hmac.compare_digest(token, self.server.token_sha256):
            raise Refusal(403, f"the header {TOKEN_HEADER} is missing or wrong")
        url = urlsplit(self.path)
        if url.path not in calls:
            raise Refusal(404, f"there is no {self.command} {url.path}")
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        return calls[url.path](self.server.agent, asked, body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the caller knows what it asked."""


def _number(asked: dict[str, str], name: str) -> int:
    try:
        return int(asked.get(name, "0"))
    except ValueError:
        raise Refusal(400, f"{name} is a whole number") from None


def _end(*_: object) -> NoReturn:
    sys.exit(0)


def main(arguments: list[str]) -> int:
    """Print the port and serve until nobody has asked anything for too long, or SIGTERM comes."""
    host, port, token_sha256, idle = arguments
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory() as directory, Workers() as workers:
        server = Server(host, int(port), Agent(workers, Path(directory) / "records.jsonl"), token_sha256)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        while time.monotonic() - server.asked < float(idle):
            time.sleep(min(1.0, float(idle) / 4))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
