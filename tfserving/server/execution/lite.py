"""TFLite models: a pool of interpreters that run `model.tflite`, as TensorFlow Serving's --prefer_tflite_model does.

The interpreter is the one inside the tensorflow wheel. Its extension module is loaded by its path, so that the Python
package, which takes seconds to import, is not.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import queue
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tfserving import tflite
from tfserving.server.execution.servable import NotQuick
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError, invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import Array, TensorError, dtype_of

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
SUPPORTED = (np.float32, np.int32, np.uint8, np.int64, np.bool_, np.int16, np.complex64, np.int8, np.bytes_, np.object_)
"""Element types that TensorFlow Serving takes out of and puts into an interpreter."""

_EXTENSION = "_pywrap_tensorflow_interpreter_wrapper"
_FOLDERS = ("", "interpreter_wrapper")
"""Where releases of tensorflow have the extension, below lite/python."""
_ALL_OPERATIONS = 1
_STRING = 7


@cache
def _library() -> Any:
    """The interpreter's extension module. Errors: StatusError FAILED_PRECONDITION when tensorflow is not installed."""
    spec = importlib.util.find_spec("tensorflow")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for below in _FOLDERS:
            path = Path(folder, "lite", "python", below, f"{_EXTENSION}.so")
            if path.exists():
                return _extension(path)
    raise StatusError(
        Code.FAILED_PRECONDITION,
        "the TFLite interpreter is not installed; it is part of the tensorflow package (pip install tensorflow)",
    )


def _extension(path: Path) -> Any:
    if _EXTENSION in sys.modules:
        return sys.modules[_EXTENSION]
    loader = importlib.machinery.ExtensionFileLoader(_EXTENSION, str(path))
    specification = importlib.util.spec_from_loader(_EXTENSION, loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    loader.exec_module(module)
    return module


class _Interpreter:
    """One interpreter. Not thread-safe; its runs release Python's lock, so several run at once.

    It reads the weights in `content`, which must live as long as it does. After a failed run it must not be used again.
    """

    def __init__(self, content: bytes, threads: int) -> None:
        try:
            self._wrapped = _library().CreateWrapperFromBuffer(
                content, _ALL_OPERATIONS, [], [], False, False, threads, False
            )
            self._wrapped.AllocateTensors()
        except (RuntimeError, ValueError) as error:
            raise StatusError(Code.INTERNAL, f"Cannot build Interpreter from buffer. {error}") from error
        self.inputs = {self._name(index): int(index) for index in self._wrapped.InputIndices()}
        self.outputs = {self._name(index): int(index) for index in self._wrapped.OutputIndices()}
        self._shapes = {index: self.shape(index) for index in self.inputs.values()}

    def _name(self, index: int) -> str:
        return str(self._wrapped.TensorName(int(index), 0))

    def type(self, index: int) -> Any:
        """The numpy type of a tensor."""
        return self._wrapped.TensorType(index, 0)

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of a tensor now."""
        return tuple(self._wrapped.TensorSize(index, 0).tolist())

    def run(self, feeds: Mapping[int, Array], fetches: Sequence[int]) -> list[Array]:
        """Errors: StatusError INTERNAL, with TensorFlow Serving's text and the interpreter's reason."""
        what = "Failed to allocate tensors"
        try:
            changed = [index for index, array in feeds.items() if array.shape != self._shapes[index]]
            for index in changed:
                self._wrapped.ResizeInputTensor(index, np.array(feeds[index].shape, np.int32), False)
            if changed:
                self._wrapped.AllocateTensors()
                self._shapes = {index: self.shape(index) for index in self.inputs.values()}
            what = "Failed to invoke TfLite interpreter"
            for index, array in feeds.items():
                self._wrapped.SetTensor(index, array)
            self._wrapped.Invoke()
            return [self._wrapped.GetTensor(index, 0) for index in fetches]
        except (RuntimeError, ValueError) as error:
            raise StatusError(Code.INTERNAL, f"{what}: {error}") from error


class LiteModel:
    """A loaded `model.tflite`: its signatures, and a `Runner` with a pool of interpreters.

    A request takes one interpreter for its run, and waits while all are taken. Thread-safe.
    """

    QUICK_SECONDS = 0.0005
    WEIGHT = 0.2

    def __init__(self, content: bytes, *, interpreters: int, threads: int) -> None:
        if content[4:8] != tflite.IDENTIFIER:
            raise invalid("Cannot build FlatBufferModel from buffer.")
        self._content, self._threads = content, threads
        pool = [_Interpreter(content, threads) for _ in range(max(1, interpreters))]
        first = pool[0]
        self._inputs, self._outputs = first.inputs, first.outputs
        self._types = {index: np.dtype(first.type(index)).type for index in first.inputs.values()}
        self._expected: dict[tuple[tuple[str, ...], int], float] = {}
        self._pool: queue.LifoQueue[_Interpreter] = queue.LifoQueue()
        self.signatures = _signatures(content, first)
        self._declared = {
            first.inputs[info.name]: tuple(dim.size for dim in info.tensor_shape.dim)
            for signature in self.signatures.values()
            for info in signature.inputs.values()
        }
        for interpreter in pool:
            self._pool.put(interpreter)

    def run(
        self, feeds: Mapping[str, Tensor], fetches: Sequence[str], timeout_ms: int, *, only_if_quick: bool = False
    ) -> list[Tensor]:
        """See `Runner.run`. A run cannot be interrupted; `timeout_ms` bounds the wait for an interpreter."""
        key = (tuple(fetches), sum([tensor.array.nbytes for tensor in feeds.values()]).bit_length())
        expected = self._expected.get(key)
        if only_if_quick and (expected is None or expected > self.QUICK_SECONDS):
            raise NotQuick
        arrays = {self._index(self._inputs, name, "input"): tensor.array for name, tensor in feeds.items()}
        arrays = {index: self._fed(index, array) for index, array in arrays.items()}
        wanted = [self._index(self._outputs, name, "output") for name in fetches]
        interpreter = self._take(timeout_ms, only_if_quick)
        try:
            began = time.thread_time()
            found = interpreter.run(arrays, wanted)
            seconds = time.thread_time() - began
        except StatusError:
            interpreter = _Interpreter(self._content, self._threads)
            raise
        finally:
            self._pool.put(interpreter)
        self._expected[key] = seconds if expected is None else expected + self.WEIGHT * (seconds - expected)
        return [_tensor(array) for array in found]

    def close(self) -> None:
        """Free the interpreters; only when nothing runs any more."""
        while not self._pool.empty():
            self._pool.get()

    def _take(self, timeout_ms: int, only_if_quick: bool) -> _Interpreter:
        try:
            if only_if_quick:
                return self._pool.get_nowait()
            return self._pool.get(timeout=timeout_ms / 1000 if timeout_ms > 0 else None)
        except queue.Empty:
            if only_if_quick:
                raise NotQuick from None
            raise StatusError(Code.DEADLINE_EXCEEDED, "all TFLite interpreters were taken") from None

    def _index(self, known: Mapping[str, int], name: str, kind: str) -> int:
        for candidate in (name, name.partition(":")[0]):
            if candidate in known:
                return known[candidate]
        raise StatusError(Code.INTERNAL, f"Missing {kind} TFLite tensor: {name}: Unknown tensor '{name}'.")

    def _fed(self, index: int, array: Array) -> Array:
        """The interpreter copies bytes, so another element type than its own is refused here."""
        wanted = self._types[index]
        given = np.bytes_ if array.dtype == object else array.dtype.type
        if given is not wanted:
            raise invalid(f"Expected an input of type {np.dtype(wanted).name}, got {np.dtype(given).name}")
        declared = self._declared.get(index, ())
        # The interpreter would read rows of another length as more or fewer rows. An old signature counts one row.
        if declared[:1] == (-1,) and not _fits(array.shape, declared):
            raise invalid(f"Expected an input of shape {list(declared)}, got {list(array.shape)}")
        return np.ascontiguousarray(array).reshape(array.shape)


def _fits(shape: Sequence[int], declared: Sequence[int]) -> bool:
    return len(shape) == len(declared) and all(want in (-1, size) for size, want in zip(shape, declared, strict=True))


def load(path: Path, *, interpreters: int, threads: int) -> LiteModel:
    """Load a file. Errors: StatusError with TensorFlow Serving's texts where it has some."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StatusError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error
    return LiteModel(content, interpreters=interpreters, threads=threads)


def _signatures(content: bytes, interpreter: _Interpreter) -> dict[str, m.SignatureDef]:
    """Those of the metadata, whose tensors must exist; without any, one of all inputs and outputs by tensor name."""
    try:
        signatures = tflite.read_signatures(content)
    except tflite.TfLiteError as error:
        raise invalid(f"Invalid SignatureDefs found in TfLite model: {error}") from error
    for signature in signatures.values():
        for kind, infos, known in (
            ("input", signature.inputs, interpreter.inputs),
            ("output", signature.outputs, interpreter.outputs),
        ):
            for alias, info in infos.items():
                _fix(info, known, f"Signature {kind} {alias} references an unknown tensor")
    if signatures:
        return signatures
    made = m.SignatureDef(method_name=PREDICT_METHOD)
    for infos, known in ((made.inputs, interpreter.inputs), (made.outputs, interpreter.outputs)):
        for name, index in known.items():
            infos[name.partition(":")[0]].CopyFrom(_info(interpreter, name, index))
    return {DEFAULT_SIGNATURE: made}


def _fix(info: m.TensorInfo, known: Mapping[str, int], problem: str) -> None:
    """Old converters removed ":0" from the names of tensors."""
    if info.name not in known:
        short = info.name.partition(":")[0]
        if short not in known:
            raise StatusError(Code.INTERNAL, f"{problem}: Unknown tensor '{info.name}'.")
        info.name = short


def _info(interpreter: _Interpreter, name: str, index: int) -> m.TensorInfo:
    kind = np.dtype(interpreter.type(index)).type
    if kind not in SUPPORTED:
        raise StatusError(Code.INTERNAL, f"Unknown TfLite type: {np.dtype(kind).name}")
    number = _STRING if kind in (np.bytes_, np.object_) else dtype_of(np.empty(0, kind)).number
    shape = m.TensorShapeProto(dim=[m.TensorShapeProto.Dim(size=size) for size in interpreter.shape(index)])
    return m.TensorInfo(name=name, dtype=m.DataType.Name(number), tensor_shape=shape)


def _tensor(array: Array) -> Tensor:
    if array.dtype.kind == "S":
        array = array.astype(object)
    try:
        return Tensor.of(array)
    except TensorError as error:
        raise StatusError(Code.UNIMPLEMENTED, f"an output of type {array.dtype} cannot be sent to a client") from error
