"""A feature spec made ready: `compile_spec` once per version, `Compiled.tensors` once per request."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from gateway.preprocess.batch import Array, Batch, Block, Record, Tensors
from gateway.preprocess.blocks import World, blocks
from gateway.preprocess.currency import Rates
from gateway.preprocess.findings import Findings, kind_name, shortened
from gateway.preprocess.image import PIXELS_MAX
from gateway.preprocess.times import Now
from gateway.spec import FeatureSpec, ImageFeature, Tensor
from gateway.spec.reading.strict import nearest

TENSOR_BYTES_MAX = 1 << 30
"""Largest input tensors of one request together: half of what one gRPC message can carry."""

_SUGGESTIONS_MAX = 20


class _Input:
    """One tensor of a request."""

    def __init__(self, tensor: Tensor, made: Sequence[Block]) -> None:
        self.name = tensor.name
        self._blocks = made
        self._width = tensor.width
        self._shape = tensor.shape[1:]
        self._dtype = np.dtype(object if tensor.dtype == "string" else tensor.dtype)
        self.row_bytes = self._width * self._dtype.itemsize

    def make(self, batch: Batch) -> Array:
        out = np.zeros((len(batch), self._width), dtype=self._dtype)
        for block in self._blocks:
            block.fill(batch, out)
        return out.reshape(len(batch), *self._shape)


class Compiled:
    """Turns records into the input tensors of one version. Made by `compile_spec`; safe to share between threads."""

    def __init__(self, spec: FeatureSpec, world: World) -> None:
        """Errors: SpecProblem."""
        self._inputs = [_Input(tensor, blocks(tensor, world)) for tensor in spec.tensors()]
        self._names = list(dict.fromkeys(name for feature in spec.features for name in (*feature.keys, feature.name)))
        self._known = spec.keys
        self._taken = spec.keys | frozenset(spec.ignore) | ({spec.lookup.key} if spec.lookup is not None else set())
        self._any_key = spec.extra == "ignore"
        self.pictures = any(isinstance(feature, ImageFeature) for feature in spec.features)
        self._rows_max = TENSOR_BYTES_MAX // sum(one.row_bytes for one in self._inputs)

    def tensors(self, records: Sequence[Record]) -> Tensors:
        """The input tensors by name, of the spec's dtypes and shapes, row i from record i; strings are bytes objects.

        Errors: RecordProblems with every problem of every record.
        """
        self.require_room(len(records))
        findings = Findings(self._names)
        batch = Batch(records=records, complete=self._check_keys(records, findings), findings=findings)
        made = {one.name: one.make(batch) for one in self._inputs}
        findings.raise_if_any()
        return made

    def require_room(self, records: int) -> None:
        """That the tensors of so many records can be carried. Errors: RecordProblems."""
        if records > self._rows_max:
            findings = Findings(self._names)
            findings.add(self._rows_max, "", f"too many records; one request to this model holds {self._rows_max}")
            findings.raise_if_any()

    def vectorize(self, records: Sequence[Record]) -> Array:
        """The input tensor of a spec with one input. Errors: RecordProblems; ValueError for a spec with several."""
        if len(self._inputs) > 1:
            raise ValueError(f"the spec has {len(self._inputs)} inputs, so there is no one tensor; use tensors()")
        return self.tensors(records)[self._inputs[0].name]

    def _check_keys(self, records: Sequence[Record], findings: Findings) -> bool:
        """Whether every record has all known keys; unknown ones are reported."""
        if not {dict}.issuperset(map(type, records)):
            _check_objects(records, findings)
        known, taken = self._known, self._taken
        if all(record.keys() == known for record in records):
            return True
        complete = True
        for index, record in enumerate(records):
            complete = complete and record.keys() >= known
            if not self._any_key and not record.keys() <= taken:
                for name in record.keys() - taken:
                    findings.add(index, shortened(str(name)), partial(self._unknown, record, str(name), findings))
        return complete

    def _unknown(self, record: Record, name: str, findings: Findings) -> str:
        # Looking for a near name costs more than all else here; a client with twenty misspelt names has seen enough.
        known = self._known if findings.total <= _SUGGESTIONS_MAX else ()
        flat = "; it is an object, and features read keys of the record itself"
        close = flat if isinstance(record.get(name), dict) else nearest(name[:100], known)
        return f"unknown feature '{shortened(name)}'{close}"


def compile_spec(
    spec: FeatureSpec,
    rates: Rates | None = None,
    *,
    now: Now = time.time,
    image_pixels: int = PIXELS_MAX,
    files: Path | None = None,
) -> Compiled:
    """Prepares a spec for `tensors`; `rates` is what its currency features convert with, `now` the seconds since
    1970, `image_pixels` the most that one picture may have, `files` the folder with the files that it names.

    Errors: SpecProblem when a currency has no rate, an image no Pillow, or a file cannot be read.
    """
    return Compiled(spec, World(rates=rates, now=now, image_pixels=image_pixels, files=files))


def _check_objects(records: Sequence[object], findings: Findings) -> None:
    for index, record in enumerate(records):
        if not isinstance(record, Mapping):
            findings.add(index, "", f"expected an object, got {kind_name(record)}")
    findings.raise_if_any()
