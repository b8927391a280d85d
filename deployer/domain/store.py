"""The model store as pure values: version numbers, the content of a version, and which versions can be pruned.

A store is `<store>/<model>/<N>/…`. For TensorFlow Serving, every child of `<model>` whose name is an integer is a
version. The same rule applies here, so unfinished directories never have an integer as their name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_SIGNATURE = "serving_default"

_SERVER_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*\Z")
_MODEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?\Z")
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*((?:[kmgt]i?)?)b?\s*\Z", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_INT64_MAX = 2**63 - 1


def version_of(name: str) -> int | None:
    """The version number that TensorFlow Serving reads from a directory name ("3", " 3", "+3", "0003"), else None."""
    if not _SERVER_NUMBER.match(name):
        return None
    number = int(name)
    return number if -_INT64_MAX - 1 <= number <= _INT64_MAX else None


def next_version(taken: Iterable[int]) -> int:
    """The number after the highest one in use; 1 in an empty store. Gaps are not filled: numbers give the order."""
    return max((0, *taken)) + 1


def model_name_problem(name: str) -> str:
    """Why `name` is not a valid model name (in URLs, labels and directories); empty if it is valid."""
    if _MODEL_NAME.match(name):
        return ""
    return (
        f"{name!r} is not a valid model name: 1 to 63 letters, digits, '-', '_' or '.'"
        ", the first and last a letter or digit"
    )


def parse_size(text: str) -> int:
    """Bytes of "500MB" (10^6), "1.5 GiB" (2^30) or a bare number. Errors: ValueError."""
    match = _SIZE.match(text)
    if not match:
        raise ValueError(f"size {text!r} is not a number with an optional unit (kB, MB, GB, KiB, MiB, GiB)")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def size_text(size: int) -> str:
    """Bytes as text in decimal units: 12_345_678 -> "12.3 MB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


class WarmUp(StrEnum):
    """What becomes of the warm-up requests that a SavedModel brings along."""

    KEEP = "keep"
    """They stay as they are, byte for byte; without any, new ones are written."""
    NEW = "new"
    """New ones from the sample inputs replace them."""


class Format(StrEnum):
    """What a version directory holds."""

    SAVED_MODEL = "savedmodel"
    TFLITE = "tflite"
    """`model.tflite`, which a model server with --prefer_tflite_model serves."""


class Quantize(StrEnum):
    """The numbers of a TFLite model."""

    NONE = "none"
    """float32, as in the source."""
    FLOAT16 = "float16"
    """Weights as float16: half the size."""
    DYNAMIC = "dynamic"
    """Weights as int8; activations are quantized while it runs: a quarter of the size."""
    INT8 = "int8"
    """Weights and activations as int8, with ranges from the sample inputs; inputs and outputs stay as they are."""


@dataclass(frozen=True, kw_only=True)
class TensorFact:
    """One named tensor of a signature. `dtype` is numpy's name ("float32") or "string"; -1 is an unknown dimension.

    `shape` is None when the rank is unknown.
    """

    dtype: str
    shape: tuple[int, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype} of unknown rank"
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, kw_only=True)
class SignatureFact:
    """One signature of a SavedModel: its tensors by name, and the method name that TensorFlow Serving checks.

    `defaults` names the inputs that a request may leave out.
    """

    inputs: Mapping[str, TensorFact]
    outputs: Mapping[str, TensorFact]
    method: str = ""
    defaults: tuple[str, ...] = ()

    def batching_problem(self) -> str:
        """Why requests to this signature cannot be batched; empty if they can.

        TensorFlow Serving concatenates requests along dimension 0 of every input and splits every output along it.
        """
        if not self.inputs:
            return "the signature has no input"
        for kind, tensors in (("input", self.inputs), ("output", self.outputs)):
            for name, tensor in sorted(tensors.items()):
                if tensor.shape is None:
                    return f"{kind} '{name}' has an unknown rank"
                if not tensor.shape:
                    return f"{kind} '{name}' is a scalar: it has no batch dimension"
                if tensor.shape[0] != -1:
                    return f"{kind} '{name}' has a fixed dimension 0 ({tensor.shape[0]}) instead of an unknown one"
        return ""


@dataclass(frozen=True, kw_only=True)
class FileFact:
    """Size in bytes and sha256 (hex) of one file."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ParityFact:
    """Result of the comparison of the written SavedModel with its source model.

    `max_difference` is the largest absolute difference over all numeric outputs of `rows` sample rows. For a quantized
    model, `error` is the root mean square difference as a share of the range of the source's output, the largest over
    all outputs, and `agreement` the share of rows with the same highest score, None without scores.
    """

    rows: int
    rtol: float
    atol: float
    max_difference: float
    error: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class SkewFact:
    """What training made of `rows` rows against what the feature spec makes of them: the largest difference."""

    rows: int
    max_difference: float


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is known about one immutable version.

    `created` is ISO 8601 in UTC. `files` maps each path inside the version, except the manifest, to its facts.
    `batching_problem` is empty when `signature` can be batched. `parity` and `skew` are None when the export did not
    compare.
    """

    model: str
    version: int
    created: str
    source: str
    tensorflow: str
    signature: str
    signatures: Mapping[str, SignatureFact]
    files: Mapping[str, FileFact]
    batching_problem: str = ""
    warmup_batch_sizes: tuple[int, ...] = ()
    parity: ParityFact | None = None
    skew: SkewFact | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    format: Format = Format.SAVED_MODEL
    quantize: Quantize = Quantize.NONE

    @property
    def size(self) -> int:
        """Bytes of all listed files."""
        return sum(f.size for f in self.files.values())

    @property
    def batchable(self) -> bool:
        """Whether TensorFlow Serving can batch requests to `signature`."""
        return not self.batching_problem


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One difference between a version and its manifest; `problem` says what was expected and what was found."""

    path: str
    problem: str


def find_faults(expected: Mapping[str, FileFact], found: Mapping[str, FileFact]) -> tuple[Fault, ...]:
    """Every file that is missing, changed or extra, sorted by path."""
    faults = []
    for path in sorted(expected.keys() | found.keys()):
        want, have = expected.get(path), found.get(path)
        if want is None:
            faults.append(Fault(path=path, problem="is not in the manifest"))
        elif have is None:
            faults.append(Fault(path=path, problem="is missing"))
        elif want.size != have.size:
            faults.append(Fault(path=path, problem=f"has {have.size} bytes instead of {want.size}"))
        elif want.sha256 != have.sha256:
            problem = f"has sha256 {have.sha256[:12]}… instead of {want.sha256[:12]}…"
            faults.append(Fault(path=path, problem=problem))
    return tuple(faults)


@dataclass(frozen=True, kw_only=True)
class PrunePlan:
    """Versions to remove, ascending, and why each of the others stays."""

    remove: tuple[int, ...]
    keep: Mapping[int, str]


def plan_prune(versions: Collection[int], *, keep: int, protected: Mapping[int, str]) -> PrunePlan:
    """Keep the `keep` highest versions and all protected ones; `protected` maps a version to its user.

    Errors: ValueError when `keep` is below 1. The highest version always stays: its number is not used again, and a
    server that follows the newest version always has one.
    """
    if keep < 1:
        raise ValueError(f"prune keeps at least 1 version, not {keep}")
    newest = sorted(versions)[-keep:]
    kept = {}
    for version in sorted(versions):
        if version in protected:
            kept[version] = protected[version]
        elif version in newest:
            kept[version] = f"one of the newest {keep}"
    return PrunePlan(remove=tuple(v for v in sorted(versions) if v not in kept), keep=kept)
