"""Amounts of money in one currency, by a table of rates that can be replaced while requests are served."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from gateway.files import BadText, not_json, text_of
from gateway.preprocess.batch import Array, Batch
from gateway.preprocess.findings import kind_name, listed, shown
from gateway.spec import Currency


class RateProblem(ValueError):
    """A rate table that cannot be used; the message names the currency and the reason."""


class _RateFile(msgspec.Struct, frozen=True):
    """The file as exchange-rate services publish it; further keys (date, timestamp, licence) are left alone."""

    base: str
    rates: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class RateTable:
    """Rates of one moment: 1 unit of `base` is `rates[X]` units of X."""

    base: str
    rates: Mapping[str, float]

    def __post_init__(self) -> None:
        for code, rate in self.rates.items():
            if not (math.isfinite(rate) and rate > 0):
                raise RateProblem(f"rates: {code} is {rate}, a rate must be a finite number above 0")
        if self.rates.get(self.base, 1.0) != 1.0:
            raise RateProblem(f"rates: {self.base} is the base and has rate {self.rates[self.base]}, it must be 1")

    @classmethod
    def load(cls, path: Path) -> RateTable:
        """Reads `{"base": "USD", "rates": {"EUR": 0.92, …}}`. Errors: RateProblem that names the file."""
        try:
            text = text_of(path)
        except OSError as error:
            raise RateProblem(f"{path}: cannot be read: {error.strerror or error}") from error
        except BadText as error:
            raise RateProblem(str(error)) from error
        try:
            table = msgspec.json.decode(text, type=_RateFile)
            return cls(base=table.base, rates=table.rates)
        except RateProblem as error:
            raise RateProblem(f"{path}: {error}") from error
        except msgspec.DecodeError as error:
            raise RateProblem(str(not_json(text, path, error))) from error

    def codes(self) -> list[str]:
        """Every currency of the table, sorted."""
        return sorted({self.base, *self.rates})

    def factors(self, to: str) -> dict[str, float]:
        """What an amount of each currency is multiplied with to be one of `to`."""
        rates = {self.base: 1.0, **self.rates}
        return {code: rates[to] / rate for code, rate in rates.items()}


class Rates:
    """The table in force. Specs name the currencies that they convert into; a table without one of them is refused."""

    def __init__(self, table: RateTable) -> None:
        self._table = table
        self._factors: dict[str, dict[str, float]] = {}

    def replace(self, table: RateTable) -> None:
        """Puts a new table in force for requests from now on; a request that is being worked on keeps the old one.

        Errors: RateProblem, and the old table stays, when the new one lacks a currency that a spec converts into.
        """
        missing = sorted(set(self._factors) - set(table.codes()))
        if missing:
            raise RateProblem(f"the new rate table lacks {listed(missing)}, which a feature spec converts into")
        self._factors = {to: table.factors(to) for to in self._factors}
        self._table = table

    def require(self, to: str) -> None:
        """Says that a spec converts into `to`. Errors: RateProblem when the table does not have it."""
        if to not in self._table.codes():
            raise RateProblem(f"currency '{to}' is not in the rate table; it has {listed(self._table.codes())}")
        self._factors = {**self._factors, to: self._table.factors(to)}

    def factors(self, to: str) -> Mapping[str, float]:
        """The factors into a currency that was required before."""
        return self._factors[to]


@dataclass(frozen=True, kw_only=True, slots=True)
class Money:
    """One column of a block that holds amounts of money."""

    column: int
    key: str
    currency: Currency
    rates: Rates

    def factors(self, batch: Batch) -> Array:
        """What each record's amount is multiplied with: 1 where the default stands in, which is in `to` already.

        NaN where the currency is not known; the problem is reported.
        """
        known = self.rates.factors(self.currency.to)
        factors = np.ones(len(batch))
        for row, record in enumerate(batch.records):
            code = record.get(self.currency.field, self.currency.default)
            present = self.currency.field in record
            if record.get(self.key) is None and (isinstance(code, str) or not present):
                continue
            factor = known.get(code) if isinstance(code, str) else None
            if factor is None:
                batch.findings.add(row, self.key, partial(self._problem, code, known, present=present))
            factors[row] = math.nan if factor is None else factor
        return factors

    def _problem(self, code: object, factors: Mapping[str, float], *, present: bool) -> str:
        if not present:
            return f"missing field '{self.currency.field}', the currency of the amount"
        if not isinstance(code, str):
            return f"field '{self.currency.field}': expected a currency as a string, got {kind_name(code)}"
        return f"unknown currency {shown(code)} in field '{self.currency.field}'; known: {listed(sorted(factors))}"
