"""The folder of an experiment: `experiment.json`, `trials.csv`, HdrHistogram logs, plots and `report.html`."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from deployer.decode import json_as
from deployer.errors import SpecError
from deployer.experiment.batching.search import Sweep
from deployer.experiment.latency import PERCENTILES
from deployer.experiment.report import html, plots
from deployer.experiment.results import Experiment, Trial
from deployer.files import replace_file

EXPERIMENT_JSON = "experiment.json"
BATCHING_JSON = "batching.json"
TRIALS_CSV = "trials.csv"
REPORT_HTML = "report.html"


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: Literal["v1"] = msgspec.field(name="schemaVersion")
    tool: str
    timestamp: str
    kind: Literal["Experiment"] = "Experiment"
    experiment: Experiment


class _Batching(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    schema_version: str = "v1"
    kind: str = "BatchingExperiment"
    sweep: Sweep


def write(folder: Path, experiment: Experiment, logs: Mapping[int, str]) -> None:
    """Write all files; `logs` are the texts of the HdrHistogram logs by trial number."""
    folder.mkdir(parents=True, exist_ok=True)
    for trial in experiment.all_trials:
        (folder / trial.histogram).write_text(logs[trial.number])
    _write_csv(folder / TRIALS_CSV, experiment.all_trials)
    write_document(folder, experiment)
    write_report(folder, experiment)


def write_document(folder: Path, experiment: Experiment) -> None:
    """Write `experiment.json`, the only file that `read` needs."""
    document = _Document(
        schema_version="v1",
        tool=f"deployer {experiment.environment.versions.get('tfserving-deployer', 'unknown')}",
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(experiment.finished)),
        experiment=experiment,
    )
    replace_file(folder / EXPERIMENT_JSON, msgspec.json.format(msgspec.json.encode(document), indent=2))


def write_report(folder: Path, experiment: Experiment) -> None:
    """Write the plots and the report of an experiment again, for example with a newer version of this tool."""
    drawn = plots.draw(experiment)
    for plot in drawn:
        replace_file(folder / f"{plot.name}.png", plot.png)
    replace_file(folder / REPORT_HTML, html.render(experiment, drawn).encode())


def write_batching(folder: Path, sweep: Sweep) -> None:
    """Write `batching.json`, and the overview page of a batching experiment."""
    replace_file(folder / BATCHING_JSON, msgspec.json.format(msgspec.json.encode(_Batching(sweep=sweep)), indent=2))
    replace_file(folder / REPORT_HTML, html.render_batching(sweep).encode())


def write_again(folder: Path) -> Path:
    """Write the report of an experiment of either kind again; returns its path. Errors: SpecError as for `read`."""
    path = folder / BATCHING_JSON
    if path.exists():
        try:
            sweep = json_as(path.read_bytes(), _Batching).sweep
        except msgspec.MsgspecError as error:
            raise SpecError(f"{path} cannot be read", hint="it may be from another version of deployer") from error
        write_batching(folder, sweep)
    else:
        write_report(folder, read(folder))
    return folder / REPORT_HTML


def add_picture(folder: Path, title: str, caption: str, svg: bytes) -> None:
    """Put a section with a picture from elsewhere into the report that `write` wrote; `write_report` drops it."""
    report = folder / REPORT_HTML
    replace_file(report, html.with_picture(report.read_text("utf-8"), title, caption, svg).encode())


def read(folder: Path) -> Experiment:
    """Read `experiment.json` of a folder. Errors: SpecError when it is missing or from an incompatible version."""
    path = folder / EXPERIMENT_JSON
    try:
        return json_as(path.read_bytes(), _Document).experiment
    except OSError as error:
        raise SpecError(f"{folder} has no experiment", hint="`deployer experiment run` creates one") from error
    except msgspec.MsgspecError as error:
        raise SpecError(f"{path} cannot be read", hint="it may be from another version of deployer") from error


def _write_csv(path: Path, trials: tuple[Trial, ...]) -> None:
    with path.open("w", newline="") as file:
        rows = [_row(trial) for trial in trials]
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def _row(trial: Trial) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": trial.number,
        "round": trial.round,
        "replicas": trial.replicas,
        "kind": trial.kind.value,
        "offered_rps": trial.offered,
        "concurrency": trial.concurrency,
        "batch": trial.batch,
        "direct": trial.direct,
        "started": f"{trial.started:.3f}",
        "seconds": trial.seconds,
        "sent": trial.sent,
        "answered": trial.answered,
        "throughput_rps": f"{trial.throughput:.3f}",
        "errors": sum(trial.errors.values()),
        "errors_by_code": " ".join(f"{code}={count}" for code, count in sorted(trial.errors.items())),
    }
    for q in PERCENTILES:
        found = trial.latency.at(q)
        row |= {f"p{q:g}_ms": f"{found.ms:.3f}", f"p{q:g}_beyond": found.beyond, f"p{q:g}_resolved": found.resolved}
    return row | {
        "max_ms": f"{trial.latency.max_ms:.3f}",
        "lag_p99_ms": f"{trial.lag.at(99).ms:.3f}",
        "late": trial.late,
        "replica_cores": f"{trial.cores('replica'):.3f}",
        "gateway_cores": f"{trial.cores('gateway'):.3f}",
        "generator_processes": trial.processes,
        "generator_cores": f"{trial.generator_cores:.3f}",
        "machine_busy": "" if trial.machine_busy is None else f"{trial.machine_busy:.3f}",
        "valid": trial.valid,
        "invalid_because": "; ".join(trial.invalid),
    }
