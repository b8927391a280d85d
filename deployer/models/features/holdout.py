"""Labelled records as the tensors that the gateway would make of them, and what an output says about a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deployer.errors import SpecError
from deployer.records.text import text_of
from gateway.preprocess import RateProblem, Rates, RateTable, compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.spec import Binary, Classification, FeatureSpec, Regression, SpecProblem, parse_spec
from tfserving.wire.tensors import Array


class Holdout:
    """The feature spec of one version."""

    def __init__(self, path: Path, rates: Path | None, name: str) -> None:
        """`path` is features.yaml of the version. Errors: SpecError."""
        try:
            self._spec: FeatureSpec = parse_spec(text_of(path))
            table = Rates(RateTable.load(rates)) if rates is not None else None
            self._compiled = compile_spec(self._spec, table, files=path.parent)
        except (SpecProblem, RateProblem) as error:
            raise SpecError(f"the feature spec of {name} cannot be used: {error}", hint="export it again") from error
        self._name = name

    def tensors(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
        """Errors: SpecError for the first record that the gateway would refuse."""
        try:
            return dict(self._compiled.tensors(list(records)))
        except RecordProblems as error:
            first = error.problems[0]
            raise SpecError(
                f"record {first.record + 1} does not fit {self._name}: feature '{first.feature}': {first.problem}",
                hint="compare versions that take the same records",
            ) from error

    @property
    def numeric(self) -> bool:
        """Whether the answer is a number, so that its error is measured instead of hits being counted."""
        return isinstance(self._spec.output, Regression)

    def answers(self, outputs: Mapping[str, Array]) -> list[Any]:
        """The label or number of each row. Errors: SpecError for an output that the spec does not name."""
        output = self._spec.output
        if output.name not in outputs:
            raise SpecError(f"{self._name} has no output '{output.name}'", hint="export it with its own feature spec")
        values = np.asarray(outputs[output.name])
        match output:
            case Classification():
                return [output.labels[index] for index in values.reshape(len(values), -1).argmax(axis=1)]
            case Binary():
                scores = values.reshape(len(values)).astype(np.float64)
                if output.activation == "sigmoid":
                    scores = 1 / (1 + np.exp(-scores))
                return [output.labels[int(score >= output.threshold)] for score in scores]
            case Regression():
                return [float(value) * output.scale + output.offset for value in values.reshape(len(values))]
            case _:
                return plain_answers(values)


def plain_answers(values: Array) -> list[Any]:
    """Of a row of numbers the index of the largest; a row of one number is the number itself."""
    rows = values.reshape(len(values), -1)
    return [int(row.argmax()) if len(row) > 1 else row[0].item() for row in rows]
