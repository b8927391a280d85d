"""The main job on this machine, on real data: train, export, serve, preprocess, predict, scale, report."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from deployer.domain.experiment import Experiment, Objective
from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import TargetError, UsageError
from deployer.export.samples import DIGITS, SAMPLES, Sample
from deployer.targets.base import Progress
from deployer.targets.local import LocalTarget
from deployer.targets.local_state import Engine
from deployer.tools import process
from deployer.usecases import experiment, local
from deployer.usecases.predict import PredictRequest, predict
from tfserving.client import Client

MARK = ".deployer-demo"
"""Present in a folder that a demo wrote, so that the next one may clear it."""

HEAVY = "digits_conv"
"""The convolutional digits, which keep a replica busy enough to be what saturates."""

STEPS = 6
EXPORT_TIMEOUT = 180.0
DIRECT_ROWS = 64

DESCRIPTION = """\
release: demo
store: store
models: [{models}]
serving:
  replicas: {replicas}
"""


@dataclass(frozen=True, kw_only=True)
class DemoRequest:
    """What to show. `models` are names of samples; `cpus` is the share of each replica, None for no limit."""

    out: Path
    models: tuple[str, ...] = tuple(SAMPLES)
    replicas: int = 2
    cpus: float | None = 0.25
    engine: Engine = Engine.EMBEDDED
    measure: bool = True
    timeout: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of the held-out records that one label of a model got right: without a server, through the gateway as
    records, and by gRPC straight at a replica."""

    model: str
    label: str
    version: int
    records: int
    offline: float
    gateway: float
    direct: float


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """What was shown, and where it can be read again."""

    out: Path
    accuracies: tuple[Accuracy, ...]
    headline: str
    report: Path | None
    seconds: float


def demo(request: DemoRequest, progress: Progress) -> DemoReport:
    """Run all steps. Whatever was started is stopped at the end, on an error and on Ctrl-C.

    Errors: UsageError for a folder that holds something else; TargetError when an accuracy online is not the one
    offline; those of every step.
    """
    begun = time.monotonic()
    samples = [SAMPLES[name] for name in request.models]
    _clear(request, progress)
    heading = _Heading(progress)
    heading(f"Train and export two versions of {' and '.join(request.models)}")
    _export(request, samples, progress)
    heading("Ask each exported version about records that it was not trained on, without a server")
    offline = _offline(request.out / "store", progress)
    heading("Start replicas and a gateway: label stable is version 1, canary is version 2")
    with _running(request, samples, progress) as target:
        heading("Send the held-out records through the gateway and straight to a replica")
        accuracies = tuple(
            _compare(request, target, sample, label, version, offline[sample.name][version], progress)
            for sample in samples
            for label, version in _labels(sample).items()
        )
        result = None
        if request.measure:
            heading(f"Measure what 1 and {request.replicas} replicas carry")
            result = _measure(request, target, progress)
        heading("Stop everything")
    return DemoReport(
        out=request.out,
        accuracies=accuracies,
        headline=result.headline if result else "",
        report=request.out / "experiment" / "report.html" if result else None,
        seconds=time.monotonic() - begun,
    )


class _Heading:
    """Numbers the steps in the transcript."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._step = 0

    def __call__(self, text: str) -> None:
        self._step += 1
        self._progress(f"[{self._step}/{STEPS}] {text}")


def _clear(request: DemoRequest, progress: Progress) -> None:
    """An empty folder; what an earlier demo left is stopped and removed, anything else is refused."""
    out = request.out
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise UsageError(f"{out} holds something that no demo wrote", hint="choose another --out")
        LocalTarget(_state(out)).down(progress=progress)
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _state(out: Path) -> Path:
    return out / local.STATE / "demo"


def _export(request: DemoRequest, samples: Sequence[Sample], progress: Progress) -> None:
    """Each export is a process of its own, the very command that a user would type; this one stays light."""
    for sample in samples:
        sample.write_features(request.out / f"{sample.name}.features.yaml")
        count = sample.holdout().write(request.out / f"{sample.name}.jsonl")
        progress(f"{count} held-out records of {sample.name} are in {request.out / sample.name}.jsonl")
        for source in sample.versions.values():
            _export_one(request.out, source, sample.name, f"{sample.name}.features.yaml", progress)
    if request.measure:
        DIGITS.write_features(request.out / f"{HEAVY}.features.yaml")
        DIGITS.holdout().write(request.out / f"{HEAVY}.jsonl")
        _export_one(request.out, "deployer.export.samples:digits_conv", HEAVY, f"{HEAVY}.features.yaml", progress)


def _export_one(out: Path, source: str, model: str, features: str, progress: Progress) -> None:
    arguments = ["export", source, "--store", str(out / "store"), "--model", model, "--features", str(out / features)]
    progress(f"$ {process.shown(['deployer', *arguments])}")
    process.run([sys.executable, "-m", "deployer.cli", *arguments, "-q"], timeout=EXPORT_TIMEOUT)


def _offline(store: Path, progress: Progress) -> dict[str, dict[int, float]]:
    done = process.run([sys.executable, "-m", "deployer.export.samples", str(store)], timeout=EXPORT_TIMEOUT)
    found = msgspec.json.decode(done.stdout, type=dict[str, dict[int, float]], strict=False)
    for model, versions in found.items():
        progress(f"{model}: " + ", ".join(f"version {v} is right in {100 * a:.1f} %" for v, a in versions.items()))
    return found


def _labels(sample: Sample) -> dict[str, int]:
    return {"stable": min(sample.versions), "canary": max(sample.versions)}


@contextmanager
def _running(request: DemoRequest, samples: Sequence[Sample], progress: Progress) -> Iterator[LocalTarget]:
    """The release of the demo, up; and down at the end, come what may."""
    states = {
        sample.name: ModelState(
            versions=tuple(sample.versions), labels=_labels(sample), weights={"stable": 90, "canary": 10}
        )
        for sample in samples
    }
    if request.measure:
        states[HEAVY] = ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})
    file = request.out / "deployer.yaml"
    file.write_text(DESCRIPTION.format(models=", ".join(states), replicas=request.replicas), "utf-8")
    target = local.up(
        local.UpRequest(
            file=file,
            serving=ServingConfig(models=states),
            cpus=request.cpus,
            engine=request.engine,
            bound=True,
            timeout=request.timeout,
        ),
        progress,
    )
    try:
        progress(f"CPU limit of each replica: {target.cpu_limit()}")
        yield target
    finally:
        target.down(progress=progress)


def _compare(
    request: DemoRequest,
    target: LocalTarget,
    sample: Sample,
    label: str,
    version: int,
    offline: float,
    progress: Progress,
) -> Accuracy:
    """Accuracy of one label, three ways. Errors: TargetError when they are not the same to the last record."""
    asked = PredictRequest(model=sample.name, records=request.out / f"{sample.name}.jsonl", label=label)
    through = predict(target, asked, progress)
    found = Accuracy(
        model=sample.name,
        label=label,
        version=version,
        records=len(through.answers),
        offline=offline,
        gateway=through.accuracy or 0.0,
        direct=_direct(target, sample, label),
    )
    progress(
        f"{found.model} {label} (version {version}): {100 * found.gateway:.2f} % through the gateway, "
        f"{100 * found.direct:.2f} % by gRPC, {100 * found.offline:.2f} % offline"
    )
    if not found.gateway == found.direct == found.offline or set(through.versions) != {version}:
        raise TargetError(
            f"{found.model} {label} does not answer online as offline",
            cause=f"versions {sorted(through.versions)} answered; {found}",
            hint=f"the logs are in {_state(request.out) / 'logs'}",
        )
    return found


def _direct(target: LocalTarget, sample: Sample, label: str) -> float:
    """Accuracy by gRPC at the last replica, from tensors that were made of the raw data here."""
    holdout = sample.holdout()
    answers: list[str] = []
    with Client(target.replicas()[-1].grpc) as client:
        for start in range(0, len(holdout.expected), DIRECT_ROWS):
            rows = {name: array[start : start + DIRECT_ROWS] for name, array in holdout.inputs.items()}
            answers += sample.answer(client.predict(sample.name, rows, label=label, timeout=30.0).outputs)
    return float(np.mean([answer == wanted for answer, wanted in zip(answers, holdout.expected, strict=True)]))


def _measure(request: DemoRequest, target: LocalTarget, progress: Progress) -> Experiment:
    return experiment.run(
        target,
        experiment.ExperimentRequest(
            model=HEAVY,
            records=request.out / f"{HEAVY}.jsonl",
            out=request.out / "experiment",
            replicas=tuple(sorted({1, request.replicas})),
            fractions=(0.5, 0.7, 0.9),
            refine=1,
            seconds=5.0,
            max_seconds=8.0,
            objective=Objective(p99_ms=250.0, error_rate=0.01),
        ),
        progress,
    )
