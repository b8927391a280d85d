"""Records -> input tensors: pure functions over whole requests, column by column."""

from gateway.preprocess.batch import Array, Record, Tensors
from gateway.preprocess.compile import Compiled, compile_spec
from gateway.preprocess.currency import RateProblem, Rates, RateTable

__all__ = ["Array", "Compiled", "RateProblem", "RateTable", "Rates", "Record", "Tensors", "compile_spec"]
