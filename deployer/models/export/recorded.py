"""Recorded requests as inputs of the model: each record preprocessed as the gateway does it for this version."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from deployer.errors import ExportError, SpecError
from deployer.models.export.samples import Inputs
from deployer.models.features.check import record_of, rejected_rows
from deployer.records import rows
from deployer.records.columns import table_columns
from deployer.records.text import text_of
from deployer.targets.base import Progress
from gateway.preprocess import RateProblem, Rates, RateTable, compile_spec
from gateway.spec import SpecProblem, parse_spec

ROWS_READ = 10_000
"""Records that are looked at until enough fit."""


def read(file: Path, features: Path, rates: Path | None, *, wanted: int, progress: Progress) -> Inputs:
    """The inputs of the first `wanted` records that fit a feature spec, one row per record.

    `file` holds records as `deployer predict` reads them. Records that the gateway would reject are left out, for
    a sample may have masked fields, and counted. Errors: ExportError when there is no spec or none fits, SpecError.
    """
    if not features.exists():
        raise ExportError(
            "--warmup-from needs a feature spec, which makes inputs of records",
            hint="add --features, or pass inputs of the model with --samples",
        )
    try:
        spec = parse_spec(text_of(features))
        compiled = compile_spec(
            spec, Rates(RateTable.load(rates)) if rates is not None else None, files=features.parent
        )
    except (SpecProblem, RateProblem) as error:
        raise SpecError(f"--warmup-from cannot be preprocessed: {error}", hint="correct the spec or --rates") from error
    files = rows.expand([str(file)])
    read_rows = list(
        islice(rows.read(files, table_columns([spec]), counts=[rows.count(one) for one in files]), ROWS_READ)
    )
    bad, problems = rejected_rows(read_rows, compiled)
    fitting = [record_of(row) for index, row in enumerate(read_rows) if index not in bad][:wanted]
    if not fitting:
        raise ExportError(
            f"no record of {file} fits the feature spec",
            cause=problems[0] if problems else "the file has no records",
            hint="pass records that clients of this model have sent",
        )
    left = f", {len(bad)} that do not fit are left out" if bad else ""
    progress(f"warm-up requests from {len(fitting)} record{'' if len(fitting) == 1 else 's'} of {file}{left}")
    return dict(compiled.tensors(fitting))
