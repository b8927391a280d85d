"""Every problem of a feature spec at once: with itself, with a model's signature, with rates and with data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from deployer.domain.store import SignatureFact
from deployer.errors import SpecError
from deployer.models.features.skew import Compared, Skew
from deployer.records import rows
from deployer.records.columns import table_columns
from deployer.records.text import text_of
from gateway.preprocess import Compiled, RateProblem, Rates, RateTable, compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.preprocess.vocabularies import read_words
from gateway.spec import FeatureSpec, SpecProblem
from gateway.spec.reading.problems import Finding, Lines, read_all
from gateway.spec.signature import signature_problems
from gateway.spec.words import check_vocabulary

ROWS_AT_A_TIME: Final = 1000
"""Rows that are preprocessed together."""
PROBLEMS_LISTED: Final = 100
"""Problems of data that are listed; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check found. `rows` were read, `bad_rows` of them are rejected; `problems` lists them all but for those
    past the first 100 of the data, and `notes` what could not be checked."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    rows: int = 0
    bad_rows: int = 0
    skew: Skew | None = None


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """`signature` None skips the model; `rates` is a file as the gateway reads it; `expected` is an .npz with what
    training made of the rows of `data`, one array per input, and `tolerance` the largest difference."""

    spec: Path
    signature: SignatureFact | None = None
    data: tuple[str, ...] = ()
    rates: Path | None = None
    expected: Path | None = None
    tolerance: float = 1e-6


def check(request: CheckRequest) -> Checked:
    """Errors: SpecError for files that cannot be read at all."""
    try:
        read = read_all(text_of(request.spec))
    except OSError as error:
        raise SpecError(f"feature spec {request.spec} cannot be read", hint="check the path") from error
    except SpecProblem as error:
        raise SpecError(f"{request.spec}: {error}", hint="correct the YAML") from error
    found, notes = [str(finding) for finding in read.findings], []
    spec = read.spec
    if spec is None:
        return Checked(problems=tuple(found), notes=("signature and data are checked once the spec is valid",))
    if request.signature is not None:
        found += [str(finding) for finding in signature_findings(spec, read.lines, request.signature)]
    found += [str(finding) for finding in vocabulary_findings(spec, read.lines, request.spec.parent)]
    rates, problems, note = _rates(spec, read.lines, request.rates)
    found += [str(finding) for finding in problems]
    notes += note
    if found or not request.data or (rates is None and spec.currencies):
        return Checked(problems=tuple(found), notes=tuple(notes))
    try:
        compiled = compile_spec(spec, rates, files=request.spec.parent)
    except SpecProblem as error:
        finding = Finding(line=read.lines.of(error.path, error.what), path=error.path, what=error.what)
        return Checked(problems=(str(finding),), notes=tuple(notes))
    return _with_data(request, spec, compiled, notes)


def signature_findings(spec: FeatureSpec, lines: Lines, signature: SignatureFact) -> list[Finding]:
    """Everything in which a spec and a signature do not fit each other, with lines of the spec."""
    return [
        Finding(line=lines.of(problem.path, problem.what), path=problem.path, what=problem.what)
        for problem in signature_problems(spec, signature.inputs, signature.outputs, signature.defaults)
    ]


def vocabulary_findings(spec: FeatureSpec, lines: Lines, folder: Path) -> list[Finding]:
    """What is wrong with the vocabulary files that a spec names, in its folder."""
    found = []
    for name, words in spec.vocabularies.items():
        path = f"features: {name}"
        try:
            known = read_words(folder / str(words.vocabulary_file))
            check_vocabulary(known, words, f"feature '{name}'")
        except ValueError as error:
            found.append(Finding(line=lines.of(path), path="", what=str(error)))
    return found


def _rates(spec: FeatureSpec, lines: Lines, path: Path | None) -> tuple[Rates | None, list[Finding], list[str]]:
    wanted = spec.currencies
    if not wanted:
        return None, [], []
    if path is None:
        names = ", ".join(sorted(set(wanted.values())))
        return None, [], [f"rates: the spec converts into {names}; --rates FILE checks the table, and data needs it"]
    try:
        table = RateTable.load(path)
    except RateProblem as error:
        return None, [Finding(line=0, path="rates", what=str(error))], []
    known = table.codes()
    problems = [
        Finding(
            line=lines.of(f"features: {name}"),
            path=f"features: {name}",
            what=f"currency '{to}' is not in the rate table {path}; it has {', '.join(known[:10])}",
        )
        for name, to in wanted.items()
        if to not in known
    ]
    return Rates(table), problems, []


def _with_data(request: CheckRequest, spec: FeatureSpec, compiled: Compiled, notes: list[str]) -> Checked:
    compared = Compared.load(request.expected, spec, request.tolerance) if request.expected is not None else None
    problems: list[str] = []
    count = bad = 0
    for chunk in _chunks(request.data, spec):
        count += len(chunk)
        rejected, found = rejected_rows(chunk, compiled)
        bad += len(rejected)
        problems += found[: max(0, PROBLEMS_LISTED - len(problems))]
        if compared is not None:
            good = [(row.number - 1, record_of(row)) for index, row in enumerate(chunk) if index not in rejected]
            if good:
                made = compiled.tensors([record for _, record in good])
                compared.take([number for number, _ in good], made)
    skew = compared.skew(count) if compared is not None else None
    if bad > len(problems) and problems:
        notes.append(f"{bad} rows are rejected; the first {PROBLEMS_LISTED} problems are listed")
    if skew is not None and not skew.within:
        problems.append(
            f"skew: {skew.differing_rows} of {skew.rows} rows differ from {request.expected} by more than "
            f"{request.tolerance:g}, by up to {skew.max_difference:g}"
        )
    return Checked(problems=tuple(problems), notes=tuple(notes), rows=count, bad_rows=bad, skew=skew)


def _chunks(patterns: Sequence[str], spec: FeatureSpec) -> Iterator[list[rows.Row]]:
    files = rows.expand(patterns)
    counts = [rows.count(path) for path in files]
    read = rows.read(files, table_columns([spec]), counts=counts)
    while chunk := list(islice(read, ROWS_AT_A_TIME)):
        yield chunk


def rejected_rows(chunk: Sequence[rows.Row], compiled: Compiled) -> tuple[set[int], list[str]]:
    """The indices in the chunk of rows that are not records or that the gateway rejects, and why."""
    rejected = {index for index, row in enumerate(chunk) if row.problem}
    found = [f"{row.file}:{row.line}: {row.problem}" for row in chunk if row.problem]
    valid = [index for index in range(len(chunk)) if index not in rejected]
    while valid:
        try:
            compiled.tensors([record_of(chunk[index]) for index in valid])
            break
        except RecordProblems as error:
            found += [
                f"{chunk[valid[problem.record]].file}:{chunk[valid[problem.record]].line}: "
                f"feature '{problem.feature}': {problem.problem}"
                for problem in error.problems
            ]
            wrong = {valid[problem.record] for problem in error.problems}
            rejected |= wrong
            valid = [index for index in valid if index not in wrong]
    return rejected, found


def record_of(row: rows.Row) -> dict[str, Any]:
    """The record of a row without a problem."""
    record: dict[str, Any] = msgspec.json.decode(row.record)
    return record
