"""The load generator as a service inside a cluster.

`python -m deployer.experiment.loadgen.agent HOST PORT TOKEN_SHA256 IDLE_SECONDS` starts it.

Load starts beside what it measures: only plans, records and outcomes travel.

    GET  /machine            what it runs on, as `Machine`
    PUT  /records?offset=N   cut the file of records at N and add the body
    POST /trial              start a trial of this `Plan` with the records that were sent; 409 while one runs
    GET  /trial?seen=N       a `Report`, as soon as there are more than N marks or the end; otherwise after 10 seconds
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

from deployer.errors import DeployerError, SpecError
from deployer.experiment.loadgen.plan import Outcome, Plan, parse_plan
from deployer.experiment.loadgen.workers import Mark, Workers
from deployer.targets.agents.server import AgentRequest, AgentServer, Refusal

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


class Agent:
    """The generator processes, the records that were sent, and the one trial that runs or ran last."""

    def __init__(self, workers: Workers, records: Path) -> None:
        self._workers = workers
        self._records = records
        self._news = threading.Condition()
        self._report = Report(kind="None")

    def machine(self, _: AgentRequest) -> object:
        """What the generator runs on."""
        return self._workers.machine()

    def write(self, asked: AgentRequest) -> object:
        """Cut the file of records and add to it."""
        offset = asked.number("offset")
        with self._records.open("r+b" if offset else "wb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                raise Refusal(409, f"there are less than {offset} bytes")
            file.truncate(offset)
            file.seek(offset)
            file.write(asked.body)
        return {}

    def start(self, asked: AgentRequest) -> object:
        """Begin a trial."""
        try:
            plan = msgspec.structs.replace(parse_plan(asked.body), records=str(self._records))
        except SpecError as error:
            raise Refusal(400, error.message) from error
        with self._news:
            if not self._report.over:
                raise Refusal(409, "a trial runs")
            self._report = Report()
        threading.Thread(target=self._run, args=(plan,), daemon=True).start()
        return {}

    def report(self, asked: AgentRequest) -> object:
        """The trial, once there is something new."""
        seen = asked.number("seen")
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


def _end(*_: object) -> NoReturn:
    sys.exit(0)


def main(arguments: list[str]) -> int:
    """Print the port and serve until nobody has asked anything for too long, or SIGTERM comes."""
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
