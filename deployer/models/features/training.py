"""What training data looks like: the distribution of every feature and score, for `assets.extra/statistics.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from deployer.models.features.check import ROWS_AT_A_TIME, record_of
from deployer.records import rows
from deployer.records.columns import table_columns
from deployer.targets.storage import manifest
from gateway.drift import Bins, Measure, measures, scores
from gateway.postprocess.interpret import Interpreter
from gateway.preprocess import Rates, RateTable, Tensors, compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.spec import Distribution, FeatureSpec, Statistics, parse_spec

Array = NDArray[Any]
Run = Callable[[Tensors], Mapping[str, Array]]
"""The outputs of the version for input tensors."""

ROWS_MAX: Final = 200_000
"""Rows that are counted; of more data every second, third … row."""
SCORED_MAX: Final = 20_000
"""Rows that the version is asked about."""
BINS: Final = 10
WORDS_MAX: Final = 50
"""Words with a bin of their own; the others share one."""


def statistics(spec: Path, data: Sequence[str], rates: Path | None, run: Run) -> Statistics:
    """Count the rows of `data` that the spec takes, and what `run` says of them.

    Errors: SpecError for data that cannot be read; those of `run`.
    """
    text = parse_spec(spec.read_bytes())
    table = Rates(RateTable.load(rates)) if rates is not None else None
    compiled, interpreter = compile_spec(text, table, files=spec.parent), Interpreter(text.output)
    features = _Collected(measures(text, table, spec.parent))
    said: dict[str, _Values] = {}
    count = asked = 0
    for records in _chunks(data, text):
        try:
            tensors = compiled.tensors(records)
        except RecordProblems:
            continue  # `check` has told of it
        count += len(records)
        features.take(records)
        if asked < SCORED_MAX:
            asked += len(records)
            for name, one in scores(interpreter.interpret(run(tensors)), text.output).items():
                said.setdefault(name, _Values()).take(one.numbers, one.words)
    return Statistics(
        records=count,
        features=features.distributions(),
        scores=tuple(values.distribution(name) for name, values in said.items() if not values.empty),
    )


def put(version_dir: Path, data: Sequence[str], rates: Path | None, run: Run) -> None:
    """Write statistics.json into a version that has a feature spec. Errors: as for `statistics`."""
    found = statistics(version_dir / manifest.FEATURES, data, rates, run)
    (version_dir / manifest.STATISTICS).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


class _Values:
    """Numbers or words of one feature or score."""

    def __init__(self) -> None:
        self._numbers: list[Array] = []
        self._words: Counter[str | None] = Counter()

    @property
    def empty(self) -> bool:
        return not self._numbers and not self._words

    def take(self, numbers: Array | None, words: Mapping[str | None, int] | None) -> None:
        if numbers is not None:
            self._numbers.append(numbers)
        self._words.update(words or {})

    def distribution(self, name: str, vocabulary: Container[str] | None = None) -> Distribution:
        if self._numbers:
            values = np.concatenate(self._numbers)
            edges = edges_of(values)
            empty = Distribution(name=name, edges=edges, counts=[0] * (len(edges) + 1))
            counts = Bins(empty).of_numbers(values)
        else:
            common = [word for word, _ in self._words.most_common() if word is not None]
            known = [word for word in common if vocabulary is None or word in vocabulary][:WORDS_MAX]
            empty = Distribution(name=name, words=known, counts=[0] * (len(known) + 1))
            counts = Bins(empty, vocabulary).of_words(self._words)
        *inside, missing, unknown = counts.tolist()
        return Distribution(
            name=name, edges=empty.edges, words=empty.words, counts=inside, missing=missing, unknown=unknown
        )


class _Collected:
    def __init__(self, wanted: Sequence[Measure]) -> None:
        self._all = [(measure, _Values()) for measure in wanted]

    def take(self, records: Sequence[Mapping[str, object]]) -> None:
        for measure, values in self._all:
            numbers = measure.numbers(records) if measure.numbers is not None else None
            values.take(numbers, measure.words(records) if measure.words is not None else None)

    def distributions(self) -> list[Distribution]:
        return [values.distribution(measure.name, measure.vocabulary) for measure, values in self._all]


def edges_of(values: Array) -> list[float]:
    """Edges between bins of nearly equal counts, rounded to six digits; NaN is left out.

    Few different values have a bin each.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return []
    different = np.unique(values[:: max(1, len(values) // 10_000)])
    if len(different) <= 2 * BINS:
        wanted = (different[1:] + different[:-1]) / 2
    else:
        wanted = np.quantile(values, np.arange(1, BINS) / BINS)
    return sorted({float(f"{edge:.6g}") for edge in wanted.tolist()})


def _chunks(patterns: Sequence[str], spec: FeatureSpec) -> Iterator[list[dict[str, Any]]]:
    files = rows.expand(patterns)
    counts = [rows.count(path) for path in files]
    read = rows.read(files, table_columns([spec]), counts=counts)
    step = max(1, -(-sum(counts) // ROWS_MAX))
    records = (record_of(row) for row in islice(read, 0, None, step) if not row.problem)
    while chunk := list(islice(records, ROWS_AT_A_TIME)):
        yield chunk
