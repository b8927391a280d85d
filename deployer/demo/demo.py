"""The main job on this machine, on real data: train, export, serve, preprocess, predict, scale, report."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deployer.decode import json_as
from deployer.demo import forms, rollout
from deployer.demo.models import FORMS, HEAVY, PROGRESS_PREFIX, RESULT, Offline
from deployer.demo.samples import DIGITS, SAMPLES, TUMOR, Sample
from deployer.errors import TargetError, ToolError, UsageError, WaitTimeout
from deployer.experiment import run
from deployer.experiment.report import folder
from deployer.experiment.request import ExperimentRequest
from deployer.experiment.results import Experiment, Objective
from deployer.release import local
from deployer.release.predict import PredictRequest, predict
from deployer.release.render.render import Choice, RenderRequest, render
from deployer.release.where import STATE_FOLDER
from deployer.targets.base import Progress
from deployer.targets.local.process import END_SECONDS
from deployer.targets.local.state import Engine
from deployer.targets.local.target import LocalTarget
from deployer.tools import process
from deployer.tools.running import Running
from tfserving.client import Client

MARK = ".deployer-demo"
"""Present in a folder that a demo wrote, so that the next one may clear it."""

PREPARE_TIMEOUT = 300.0
DIRECT_ROWS = 64

DEPLOYER_YAML = """\
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
    """What was shown, and where it can be read again.

    `answers` counts the responses of each version of digits while versions changed; no request failed. `forms` is
    the comparison of tumor as a SavedModel, as TFLite and as a forest, with its picture.
    """

    out: Path
    accuracies: tuple[Accuracy, ...]
    answers: Counter[int]
    headline: str
    report: Path | None
    seconds: float
    forms: forms.Forms | None = None


def demo(request: DemoRequest, progress: Progress) -> DemoReport:
    """Run all steps. Whatever was started is stopped at the end, on an error and on Ctrl-C.

    Errors: UsageError for a folder that holds something else; TargetError when an accuracy online is not the one
    offline; those of every step.
    """
    begun = time.monotonic()
    samples = [SAMPLES[name] for name in request.models]
    _clear(request, progress)
    rolling = DIGITS.name in request.models
    comparing = request.measure and TUMOR.name in request.models
    heading = _Heading(progress, begun=begun, steps=5 + request.measure + comparing + 2 * rolling)
    heading(f"Train, export and predict offline: two versions of {' and '.join(request.models)}")
    offline = _prepare(request, progress)
    compared = None
    if comparing:
        heading(f"Compare {TUMOR.name} as a SavedModel, as TFLite and as a forest of scikit-learn")
        compared = forms.compare(request.out, progress)
    heading("Render every file of the release: label stable is version 1, canary is version 2")
    choices = _describe(request, samples, progress)
    heading(f"Start {request.replicas} replicas and a gateway")
    with _running(request, choices, progress) as target:
        heading("Send the held-out records through the gateway and directly to a replica")
        accuracies = tuple(
            _compare(request, target, sample, label, version, offline[sample.name][version], progress)
            for sample in samples
            for label, version in _labels(sample).items()
        )
        answers = _roll(request, target, heading, progress) if rolling else Counter()
        result = None
        if request.measure:
            heading(f"Measure the load that 1 and {request.replicas} replicas sustain")
            result = _measure(request, target, progress)
            if compared is not None:
                title = f"Three forms of {TUMOR.name}"
                caption = "Accuracy over latency of a model server on this machine; the red line is the gate."
                folder.add_picture(request.out / "experiment", title, caption, compared.picture.read_bytes())
            progress(result.headline)
        heading("Stop everything")
    return DemoReport(
        out=request.out,
        accuracies=accuracies,
        answers=answers,
        headline=result.headline if result else "",
        report=request.out / "experiment" / "report.html" if result else None,
        seconds=time.monotonic() - begun,
        forms=compared,
    )


class _Heading:
    """Numbers the steps in the transcript and says when they began."""

    def __init__(self, progress: Progress, *, begun: float, steps: int) -> None:
        self._steps = steps
        self._progress = progress
        self._begun = begun
        self._step = 0

    def __call__(self, text: str) -> None:
        self._step += 1
        self._progress(f"[{self._step}/{self._steps}, {time.monotonic() - self._begun:.0f} s] {text}")


def _clear(request: DemoRequest, progress: Progress) -> None:
    """An empty folder; what an earlier demo left is stopped and removed, anything else is refused."""
    out = request.out
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise UsageError(f"{out} contains files that no demo wrote", hint="choose another --out")
        LocalTarget(_state(out)).down(progress=progress)
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _state(out: Path) -> Path:
    return out / STATE_FOLDER / "demo"


def _prepare(request: DemoRequest, progress: Progress) -> Offline:
    """Train and export in a child, telling what it says as it goes. Errors: ToolError, WaitTimeout."""
    out, log = request.out, request.out / "export.log"
    models = [*request.models, *([HEAVY] if request.measure else [])]
    models += [FORMS] if request.measure and TUMOR.name in models else []
    argv = [sys.executable, "-m", "deployer.demo.models", str(out), *models]
    child = Running.of(process.spawn(argv, log=log, bound_to_parent=True))
    shown, deadline = 0, time.monotonic() + PREPARE_TIMEOUT
    try:
        while True:
            running = child.alive()
            lines = [
                line.removeprefix(PROGRESS_PREFIX)
                for line in log.read_text("utf-8").splitlines()
                if line.startswith(PROGRESS_PREFIX)
            ]
            for sentence in lines[shown:]:
                progress(sentence)
            shown = len(lines)
            if not running:
                break
            if time.monotonic() > deadline:
                raise WaitTimeout(f"training took more than {PREPARE_TIMEOUT:g} s", hint=f"see {log}")
            time.sleep(0.2)
    finally:
        child.stop(grace=0)
    code = process.exit_code(child.pid, within=END_SECONDS)
    if code != 0:
        ended = "an unknown end" if code is None else process.ending(code)
        last_lines = process.tail(log.read_text("utf-8"))
        raise ToolError(f"training and export ended with {ended}", cause=last_lines, hint=f"see {log}")
    return json_as((out / RESULT).read_bytes(), Offline, strict=False)


def _labels(sample: Sample) -> dict[str, int]:
    return {"stable": min(sample.versions), "canary": max(sample.versions)}


def _describe(request: DemoRequest, samples: Sequence[Sample], progress: Progress) -> dict[str, Choice]:
    """Write deployer.yaml and what `deployer render` makes of it; return the versions and labels to start with."""
    choices = {sample.name: Choice(labels=_labels(sample), weights={"stable": 100, "canary": 0}) for sample in samples}
    if request.measure:
        choices[HEAVY] = Choice(labels={"stable": 1}, weights={"stable": 100})
    file, output = request.out / "deployer.yaml", request.out / "rendered"
    file.write_text(DEPLOYER_YAML.format(models=", ".join(choices), replicas=request.replicas), "utf-8")
    labels = [f"--label {name}:{label}={version}" for name, c in choices.items() for label, version in c.labels.items()]
    progress(f"$ deployer render -f {file} --output-dir {output} {' '.join(labels)}")
    rendered = render(RenderRequest(file=file, output=output, choices=choices), lambda _: None)
    progress("wrote " + ", ".join(Path(one.path).name for one in rendered.files))
    return choices


@contextmanager
def _running(request: DemoRequest, choices: Mapping[str, Choice], progress: Progress) -> Iterator[LocalTarget]:
    """The release of the demo, up; and down at the end, come what may."""
    done = local.up(
        local.UpRequest(
            file=request.out / "deployer.yaml",
            choices=choices,
            cpus=request.cpus,
            engine=request.engine,
            bound=True,
            timeout=request.timeout,
        ),
        progress,
    )
    target = done.target
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
            f"{found.model} {label} gives other predictions online than offline",
            cause=f"versions {sorted(through.versions)} responded; {found}",
            hint=f"the logs are in {_state(request.out) / 'logs'}",
        )
    return found


def _direct(target: LocalTarget, sample: Sample, label: str) -> float:
    """Accuracy by gRPC at the last replica, from tensors that were made of the raw data here."""
    holdout = sample.holdout()
    labels: list[str] = []
    with Client(target.replicas()[-1].grpc) as client:
        for start in range(0, len(holdout.expected), DIRECT_ROWS):
            rows = {name: array[start : start + DIRECT_ROWS] for name, array in holdout.inputs.items()}
            labels += sample.predicted(client.predict(sample.name, rows, label=label, timeout=30.0).outputs)
    return float(np.mean([one == wanted for one, wanted in zip(labels, holdout.expected, strict=True)]))


def _roll(request: DemoRequest, target: LocalTarget, heading: _Heading, progress: Progress) -> Counter[int]:
    """Promote version 2 of digits and let the gates abort version 3, under load; the responses by version.

    Errors: TargetError when a request failed, or a rollout ended otherwise.
    """
    file, model = request.out / "deployer.yaml", DIGITS.name
    holdout = request.out / f"{model}.jsonl"
    with rollout.traffic(target, model, holdout) as seen:
        heading(f"Roll out version 2 of {model}, which is better, under {rollout.RATE:g} requests a second")
        rollout.require(rollout.roll_out(target, file, model, 2, holdout, seen, progress), "promoted")
        heading("Roll out version 3, trained on shuffled labels: every request still gets a response")
        rollout.require(rollout.roll_out(target, file, model, 3, None, seen, progress), "aborted")
    by_version = ", ".join(f"{count} by version {version}" for version, count in sorted(seen.versions.items()))
    progress(f"{seen.versions.total()} requests succeeded meanwhile: {by_version}; {len(seen.failures)} failed")
    if seen.failures:
        raise TargetError(f"{len(seen.failures)} requests failed while versions changed", cause=seen.failures[0])
    return seen.versions


def _measure(request: DemoRequest, target: LocalTarget, progress: Progress) -> Experiment:
    return run.run(
        target,
        ExperimentRequest(
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
