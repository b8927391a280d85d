"""A release in memory with its ledgers, and deployers that die or are disturbed at a given point of a rollout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fake_release import MODEL, FakeRelease

from deployer.domain.rollout import Event, RolloutRequest
from deployer.domain.serving import ModelState
from deployer.rollout import files
from deployer.rollout.facts import VersionFacts
from deployer.rollout.proof import Clock
from deployer.rollout.rollouts import Rollouts
from deployer.targets.history import FileHistory

REQUEST = RolloutRequest(to=2, shares=(5, 50), soak=2, gates=("error_rate<5%",), min_samples=20, timeout=20)


class Killed(BaseException):
    """SIGKILL, as far as the code can tell: nothing after the point runs but the kernel's cleaning up."""


class World:
    """A release, its ledgers, and deployers that may die: `at` maps a number of points passed to what happens then."""

    def __init__(
        self, directory: Path, release: FakeRelease | None = None, at: Mapping[int, str | Event] | None = None
    ) -> None:
        self.release = release or FakeRelease()
        self.histories = FileHistory(directory)
        self.release.histories = self.histories
        self.at = dict(at or {})
        self.points: list[str] = []
        self.said: list[str] = []
        self.seen_at: Callable[[str], None] = lambda _: None

    def rollouts(self) -> Rollouts:
        return Rollouts(
            target=self.release,
            histories=self.histories,
            model=MODEL,
            facts=lambda version: VersionFacts(size=1000, parity=0.0),
            progress=self.said.append,
            clock=Clock(now=self.release.now, sleep=self.release.sleep),
            who="ada (process 1)",
            at_point=self.point,
        )

    def point(self, name: str) -> None:
        self.points.append(name)
        self.seen_at(name)
        happens = self.at.pop(len(self.points), None)
        if happens == "kill the deployer":
            raise Killed
        if isinstance(happens, Event):
            self.histories.send_command(MODEL, happens)
        elif happens == "edit_by_hand" and name.endswith("begun recorded"):
            self.at[len(self.points) + 1] = happens  # nobody can see what changes between a look and a write
        elif happens is not None:
            getattr(self.release, happens)()

    def state(self) -> ModelState:
        return files.state(files.current_config(self.release), MODEL)

    def settle(self) -> None:
        for _ in range(6):
            self.release.sleep(1)

    def all_replicas_serve_all_labels(self) -> bool:
        labels = self.state().labels
        return all(
            s.labels == labels and all(s.loaded.get(v) == "AVAILABLE" for v in labels.values())
            for s in self.release.servers
            if s.alive
        )
