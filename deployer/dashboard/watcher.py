"""Threads that keep the board up to date: the release, doctor's findings, drift, and the reports of experiments."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployer.dashboard import view
from deployer.dashboard.board import Board
from deployer.dashboard.live import LabelFigures, Live
from deployer.errors import DeployerError
from deployer.release import gateway_metrics
from deployer.release.doctor.doctor import doctor
from deployer.release.drift.found import find, statistics
from deployer.release.status import Status, status
from deployer.release.where import Where, open_target
from deployer.rollout.overview import ModelPhase, of_histories, with_rollouts
from deployer.rollout.status import history, with_history
from deployer.targets.base import Target

RELEASE_SECONDS = 1.0
DOCTOR_SECONDS = 60.0
DRIFT_SECONDS = 15.0
REPORTS_SECONDS = 5.0
WATCHER_CLOSE_SECONDS = 4.0
REPORT = "report.html"
DRIFT_FEATURES = 8
"""The worst features that are shown of each label."""


@dataclass(kw_only=True)
class Watcher:
    """Watches one release until it is closed; what fails is a document with `error`, and tried again."""

    where: Where
    board: Board
    reports: Path
    read_only: bool
    _stop: threading.Event = field(default_factory=threading.Event)
    _examine: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _live: dict[str, Live] = field(default_factory=dict)

    def start(self) -> None:
        """Start the threads."""
        self._run("release", RELEASE_SECONDS, self._release)
        self._run("doctor", DOCTOR_SECONDS, self._doctor, self._examine)
        self._run("drift", DRIFT_SECONDS, self._drift)
        self._run("reports", REPORTS_SECONDS, lambda _: self._reports())

    def examine(self) -> None:
        """Let doctor examine the release now."""
        self._examine.set()

    def close(self) -> None:
        """End the threads, each after what it does now; one that waits for a replica is not waited for long."""
        self._stop.set()
        self._examine.set()
        deadline = time.monotonic() + WATCHER_CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def _run(
        self, topic: str, every: float, work: Callable[[Target], object], wake: threading.Event | None = None
    ) -> None:
        bell = wake or self._stop

        def loop() -> None:
            while not self._stop.is_set():
                try:
                    self.board.post(topic, work(open_target(self.where)))  # each thread has connections of its own
                except DeployerError as error:
                    self.board.post(topic, {"error": error.message, "hint": error.hint or ""})
                if bell.wait(every) and bell is not self._stop:
                    bell.clear()

        thread = threading.Thread(target=loop, name=f"dashboard {topic}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _release(self, target: Target) -> view.View:
        found = of_histories(status(target), target.history())
        cards = tuple(self._model(target, found.release, model) for model in found.models)
        return view.whole(found, cards, at=time.time(), read_only=self.read_only)

    def _model(self, target: Target, release: Status, model: ModelPhase) -> view.ModelCard:
        histories, live = target.history(), self._figures(target, model.model)
        try:
            now = with_history(release, histories, model.model, now=time.time())
            past = history(histories, model.model)
        except DeployerError as error:  # one unreadable history must not hide the release
            return view.model_card(release, model.model, live, phase=model.phase, problem=error.message)
        return view.model_card(release, model.model, live, phase=model.phase, status=now, history=past)

    def _figures(self, target: Target, model: str) -> Mapping[str, LabelFigures]:
        try:
            reading = gateway_metrics.read(target, model)
        except DeployerError:  # no gateway responds; its tile says so
            return {}
        return self._live.setdefault(model, Live()).add(time.monotonic(), reading)

    def _doctor(self, target: Target) -> object:
        found = doctor(target, rollouts=with_rollouts, sleep=lambda seconds: (self._stop.wait(seconds), None)[1])
        return {"healthy": found.healthy, "findings": found.findings, "at": round(time.time())}

    def _drift(self, target: Target) -> object:
        models = of_histories(status(target), target.history()).models
        rows = []
        for name in (model.model for model in models):
            if not statistics(target, name):
                continue
            for label in find(target, name).labels:
                worst = [
                    {"name": one.name, "psi": one.psi, "drifted": one.drifted}
                    for one in label.features[:DRIFT_FEATURES]
                ]
                facts = {"model": name, "label": label.label, "version": label.version, "records": label.records}
                rows.append({**facts, "features": worst})
        return {"labels": rows}

    def _reports(self) -> object:
        found = sorted(self.reports.glob(f"*/{REPORT}"), key=lambda path: path.stat().st_mtime, reverse=True)
        return {"folder": str(self.reports), "reports": [path.parent.name for path in found]}
