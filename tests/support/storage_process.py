"""The storage agent as a process of this machine, exactly as it is sent to a pod."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import TargetError
from deployer.targets.base import HttpReply
from deployer.targets.storage.client import Storage
from deployer.targets.storage.pod import agent_source

TOKEN = "secret"


def say_nothing(sentence: str) -> None:
    pass


@dataclass
class Agent:
    """A running agent over `root`; `calls` are the requests it got; `fail_at` cuts the connection before that one."""

    root: Path
    port: int
    calls: list[str]
    fail_at: int = -1

    def send(
        self, method: str, path: str, body: bytes | None, *, headers: Mapping[str, str], timeout: float
    ) -> HttpReply:
        if len(self.calls) == self.fail_at:
            raise TargetError("the connection is cut")
        self.calls.append(f"{method} {path.split('?')[0]}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            return HttpReply(status=answer.status, body=answer.read())
        finally:
            connection.close()

    def storage(self, *, fail_at: int = -1, token: str = TOKEN) -> Storage:
        self.calls.clear()
        self.fail_at = fail_at
        return Storage(self.send, token)

    def visible(self) -> set[str]:
        """What a server would find."""
        return {p.name for p in (self.root / "loan").glob("*") if not p.name.startswith(".")}


def start(root: Path, *, idle: float = 60) -> subprocess.Popen[str]:
    known = hashlib.sha256(TOKEN.encode()).hexdigest()
    argv = [sys.executable, "-I", "-c", agent_source(), str(root), "127.0.0.1", "0", known, str(idle)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


@contextmanager
def running(root: Path) -> Iterator[Agent]:
    """An agent over this directory, for as long as the context lasts."""
    root.mkdir()
    with start(root) as process:
        assert process.stdout is not None
        yield Agent(root=root, port=int(process.stdout.readline()), calls=[])
        process.terminate()
        assert process.wait(10) == 0
