"""The load generator as an HTTP service in a cluster.

`python -m deployer.experiment.loadgen.agent HOST PORT TOKEN_SHA256 IDLE_SECONDS` starts it.

Load is generated next to the release; only plans, records and outcomes go through the API server.

    GET  /machine            the machine that it runs on, as `Machine`
    PUT  /records?offset=N   truncate the records file at N and append the body
    POST /trial              start a trial of this `Plan` with the uploaded records; 409 while one is running
    GET  /trial?seen=N       a `Report`, once there are more than N marks or the trial has ended; at latest after 10 s
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import NoReturn

import msgspec

from deployer.errors import DeployerError, SpecError, UsageError
from deployer.experiment.loadgen.plan import Outcome, Plan, parse_plan
from deployer.experiment.loadgen.workers import Mark, Workers, missing
from deployer.targets.agents.server import AgentRequest, AgentServer, Refusal

ARGUMENTS = ("HOST", "PORT", "TOKEN_SHA256", "IDLE_SECONDS")
TOKEN_HEADER = "x-load-token"
LONG_POLL_SECONDS = 10.0
"""How long a request for the report waits for a change."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a trial: the marks so far, and at the end its outcome or its error.

    `kind` is the class name of the error.
    """

    marks: tuple[Mark, ...] = ()
    outcome: Outcome | None = None
    kind: str = ""
    message: str = ""
    cause: str = ""
    hint: str = ""

    @property
    def over(self) -> bool:
        """Whether the trial has ended."""
        return self.outcome is not None or bool(self.kind)


class Agent:
    """The generator processes, the uploaded records, and the current or last trial."""

    def __init__(self, workers: Workers, records: Path) -> None:
        self._workers = workers
        self._records = records
        self._changed = threading.Condition()
        self._report = Report(kind="None")

    def machine(self, _: AgentRequest) -> object:
        """The machine that the generator runs on."""
        return self._workers.machine()

    def write(self, request: AgentRequest) -> object:
        """Truncate the records file and append to it."""
        offset = request.number("offset")
        with self._records.open("r+b" if offset else "wb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                raise Refusal(409, f"the file has less than {offset} bytes")
            file.truncate(offset)
            file.seek(offset)
            file.write(request.body)
        return {}

    def start(self, request: AgentRequest) -> object:
        """Start a trial."""
        try:
            plan = msgspec.structs.replace(parse_plan(request.body), records=str(self._records))
        except SpecError as error:
            raise Refusal(400, error.message) from error
        with self._changed:
            if not self._report.over:
                raise Refusal(409, "a trial is running")
            self._report = Report()
        threading.Thread(target=self._run, args=(plan,), daemon=True).start()
        return {}

    def report(self, request: AgentRequest) -> object:
        """The report, once it has changed."""
        seen = request.number("seen")
        with self._changed:
            self._changed.wait_for(lambda: self._report.over or len(self._report.marks) > seen, LONG_POLL_SECONDS)
            return self._report

    def _run(self, plan: Plan) -> None:
        try:
            end = Report(outcome=self._workers.run(plan, self._mark))
        except DeployerError as error:
            end = Report(kind=type(error).__name__, message=error.message, cause=error.cause, hint=error.hint)
        except Exception as error:  # the deployer waits for the outcome and must see the error
            end = Report(kind=DeployerError.__name__, message=f"the load generator failed: {error!r}")
        self._update(msgspec.structs.replace(end, marks=self._report.marks))

    def _mark(self, mark: Mark) -> None:
        self._update(msgspec.structs.replace(self._report, marks=(*self._report.marks, mark)))

    def _update(self, report: Report) -> None:
        with self._changed:
            self._report = report
            self._changed.notify_all()


def _end(*_: object) -> NoReturn:
    sys.exit(0)


def main(arguments: list[str]) -> int:
    """Print the port, and serve until idle for IDLE_SECONDS, or SIGTERM; the exit code is that of `deployer.errors`."""
    if len(arguments) != len(ARGUMENTS):
        sys.stderr.write(f"usage: python -m deployer.experiment.loadgen.agent {' '.join(ARGUMENTS)}\n")
        return UsageError.exit_code
    if problem := missing():
        sys.stderr.write(f"error: {problem.message}\nhint: {problem.hint}\n")
        return problem.exit_code
    host, port, token_sha256, idle = arguments
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory() as directory, Workers() as workers:
        agent = Agent(workers, Path(directory) / "records.jsonl")
        routes = {
            "GET /machine": agent.machine,
            "PUT /records": agent.write,
            "POST /trial": agent.start,
            "GET /trial": agent.report,
        }
        server = AgentServer(
            host, int(port), routes, header=TOKEN_HEADER, token_sha256=token_sha256, encode=msgspec.json.encode
        )
        server.serve_until_idle(float(idle))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
