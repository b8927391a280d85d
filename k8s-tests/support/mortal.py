"""`python mortal.py FILE KUBECONFIG TO`: a rollout of `digits` whose deployer dies of SIGKILL at every point of its
journal, and is followed each time by one that resumes. Prints the points and the outcome as JSON.

Each deployer is a process of its own, forked from this one, which has imported everything already.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from deployer.domain.rollout import RolloutRequest
from deployer.release.where import Kind, Where
from deployer.rollout.facts import VersionFacts
from deployer.rollout.rollouts import Rollouts, rollouts_of

MOST = 100
"""Deaths, after which something goes round in a circle."""


def opened(where: Where, facts: Callable[[], VersionFacts]) -> Rollouts:
    """The rollouts, with connections of their own; what the store knows is not looked up again."""
    return replace(rollouts_of(where, "digits", lambda _: None), facts=lambda _: facts())


def work(where: Where, facts: VersionFacts, request: RolloutRequest, survived: Collection[str], tell: int) -> None:
    """Start or resume; die at the first point that no deployer has died at. Tells that point, or the outcome."""

    def at_point(name: str) -> None:
        if name not in survived:
            os.write(tell, json.dumps({"point": name}).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    verbs = replace(opened(where, lambda: facts), at_point=at_point)
    last = verbs.histories.read("digits").rollout
    if last is None or (not survived and not last.open):
        last = verbs.start(request)
    elif last.open:
        last = verbs.resume()
    os.write(tell, json.dumps({"outcome": last.outcome or f"{last.phase}: {last.reason}"}).encode())


def main(file: Path, kubeconfig: str, to: int) -> None:
    """Until a deployer has lived to the end."""
    where = Where(file=file, kind=Kind.CLUSTER, kubeconfig=kubeconfig)
    facts = rollouts_of(where, "digits", lambda _: None).facts(to)
    request = RolloutRequest(to=to, shares=(50,), soak=0.5, timeout=60, no_gates=True)
    died: list[str] = []
    while len(died) < MOST:
        hear, tell = os.pipe()
        if (child := os.fork()) == 0:
            os.close(hear)
            work(where, facts, request, died, tell)
            os._exit(0)
        os.close(tell)
        with os.fdopen(hear, "rb") as pipe:
            said = json.loads(pipe.read() or "{}")
        os.waitpid(child, 0)
        if "point" not in said:
            print(json.dumps({"died": died, "outcome": said.get("outcome", "an error")}))  # noqa: T201
            return
        died.append(said["point"])
    raise SystemExit(f"still dying after {died}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
