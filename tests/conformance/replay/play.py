"""Plays cases: a server for each group, step after step, and what each step observed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from replay import steps as s
from replay.cases import NOT_PLAYED, SERVER_DIED, Answer, Case, Group, Json, Recordings, Scenario
from replay.client import Client, Repeated, one_of
from replay.server import Interrupted, Server
from replay.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`server` is a command line with {args}; `slack` seconds are added to waits; `jobs` servers run at a time."""

    server: str
    jobs: int = 4
    slack: float = 0.0
    ending: Event = field(default_factory=Event)


def play(
    recordings: Recordings, cases: Iterable[Case], settings: Settings, observe: Callable[[Case, Json], None]
) -> None:
    """Play cases and tell each response to `observe`, from several threads. `settings.ending` ends it early."""

    def one(group: Group) -> None:
        for case, answer in _group(recordings.models, group, settings):
            observe(case, answer)

    with ThreadPoolExecutor(settings.jobs) as threads:
        try:
            for done in [threads.submit(one, group) for group in recordings.groups(cases)]:
                done.result()
        except BaseException:
            settings.ending.set()
            threads.shutdown(cancel_futures=True)
            raise


def _group(models: Path, group: Group, settings: Settings) -> Iterator[tuple[Case, Json]]:
    player = Player(models, settings)
    try:
        if group.scenario is not None and (trouble := _begin(player, group.scenario)):
            for case in group.cases:
                yield case, {NOT_PLAYED: f"the server of scenario {group.name} did not start: {trouble}"}
            return
        for case in group.cases:
            if group.scenario is None:
                yield case, player.case(case)
            elif not player.server.alive:
                yield case, {NOT_PLAYED: f"the server had ended before, with {player.server.exit_code}"}
            else:
                answer = player.case(case)
                if player.died_of(answer):
                    answer = _with_death(answer)
                    player.server.stop()
                    _begin(player, group.scenario)
                yield case, answer
    except Interrupted:
        return
    finally:
        player.close()


def _begin(player: Player, scenario: Scenario) -> str:
    """Start the server of a scenario; what went wrong, or nothing."""
    try:
        for content in scenario.setup:
            player.step(content)
        started = player.step(scenario.start)
        if started != {"result": "ready"}:
            return f"{started}"
        for content in scenario.after_start:
            player.step(content)
    except Interrupted:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _with_death(answer: Json) -> Json:
    if isinstance(answer, dict):
        return answer | {SERVER_DIED: True}
    return [*(answer if isinstance(answer, list) else [answer]), {SERVER_DIED: True}]


class Player:
    """One server, its folder and its client."""

    def __init__(self, models: Path, settings: Settings) -> None:
        self.workspace = Workspace.make(models)
        self.server = Server(settings.server, self.workspace, slack=settings.slack, ending=settings.ending)
        self._client = Client(self.workspace)
        self._settings = settings
        self._repeated: dict[str, Repeated] = {}

    def close(self) -> None:
        """End everything and delete the folder."""
        self.server.stop()
        for repeated in self._repeated.values():
            repeated.stop()
        self._client.close()
        self.workspace.remove()

    def case(self, case: Case) -> Json:
        """The response of a case: that of its step, or the list of those of its steps that observe something."""
        try:
            answers: list[Json] = [seen for content in case.steps if (seen := self.step(content)) is not None]
        except Interrupted:
            raise
        except Exception as error:
            # Whatever it is, it concerns this case, and the others can still be played.
            return {NOT_PLAYED: f"{type(error).__name__}: {error}"}
        return self.workspace.plain(answers if case.sequence else answers[0])

    def died_of(self, answer: Json) -> bool:
        """Whether the server ended while it was asked; a moment is given to a process that is just ending."""
        if isinstance(answer, dict) and ("closed" in answer or answer.get("code") == "UNAVAILABLE"):
            self.server.wait_exit(0.3)
        return not self.server.alive

    def step(self, content: Json) -> Json:
        """Do a step; None when there is nothing to observe. Raises Interrupted when the replay ends."""
        if self._settings.ending.is_set():
            raise Interrupted
        if isinstance(content, dict) and content.get("op") == "start":
            self._client.close()
            self.workspace.take_ports()
        step = s.step_of(self.workspace.fill(content))
        match step:
            case s.Start():
                return self.server.start(step)
            case s.Stop():
                self._client.close()
                self.server.stop()
                return None
            case s.Alive():
                return {"alive": self.server.alive}
            case s.WaitExit():
                return {"exit": self.server.wait_exit(step.limit)}
            case s.Sleep():
                self._settings.ending.wait(step.seconds)
                return None
            case s.Rest():
                return self._client.ask(step.rest, step.limit)
            case s.Grpc():
                return self._client.ask(step.grpc, step.limit)
            case s.States():
                return {"states": {**self._client.states(step.model)}}
            case s.Wait():
                return self._wait(step)
            case s.WaitAnswer():
                return self._wait_answer(step)
            case s.Burst():
                return self._client.burst(step)
            case s.Background():
                self._repeated[step.name] = Repeated(self._client, one_of(step.rest, step.grpc))
                return None
            case s.BackgroundStop():
                return self._repeated.pop(step.name).stop()
            case _:
                _change_files(step)
                return None

    def _wait(self, step: s.Wait) -> Answer:
        begun = time.monotonic()
        until = begun + step.limit + self._settings.slack
        while True:
            states = self._client.states(step.model)
            if all(states.get(version) == state for version, state in step.states.items()):
                return {"reached": True, "states": {**states}, "elapsed": round(time.monotonic() - begun)}
            if time.monotonic() > until:
                return {"reached": False, "states": {**states}}
            self._pause()

    def _wait_answer(self, step: s.WaitAnswer) -> Json:
        begun = time.monotonic()
        until = begun + step.limit + self._settings.slack
        while True:
            answer = self._client.ask(one_of(step.rest, step.grpc))
            wanted = isinstance(answer, dict) and answer.get("status", answer.get("code")) == step.want
            if wanted or time.monotonic() > until:
                return answer | {"elapsed": round(time.monotonic() - begun)} if isinstance(answer, dict) else answer
            self._pause()

    def _pause(self) -> None:
        if self._settings.ending.wait(0.05):
            raise Interrupted


def _change_files(step: s.Write | s.Copy | s.Overwrite | s.Rename | s.Mkdir | s.Remove) -> None:
    match step:
        case s.Write(file=file):
            file.parent.mkdir(parents=True, exist_ok=True)
            written = file.with_name(file.name + ".tmp")
            written.write_bytes(s.body_bytes(step.text))
            written.replace(file)
        case s.Copy(source=source, to=to) if source.is_file():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)
        case s.Copy(source=source, to=to):
            to.parent.mkdir(parents=True, exist_ok=True)
            # Beside the base path, not in it: there it would look like one more version.
            incoming = to.parent.parent / f".incoming-{time.time_ns()}"
            shutil.copytree(source, incoming)
            incoming.rename(to)
        case s.Overwrite(source=source, to=to):
            shutil.copytree(source, to, dirs_exist_ok=True)
        case s.Rename(source=source, to=to):
            source.rename(to)
        case s.Mkdir(dir=folder):
            folder.mkdir(parents=True, exist_ok=True)
        case s.Remove(dir=folder) if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        case s.Remove(dir=file):
            file.unlink(missing_ok=True)
