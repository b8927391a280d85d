"""The TensorFlow runtime: loads SavedModels and runs them. The only module that touches tensorflow.

The shared libraries of the tensorflow wheel are used through TensorFlow's C API, and its Python package is never
imported: the loader, the session and therefore the error texts are those of TensorFlow Serving, the start takes half a
second instead of several, and a run costs tens of microseconds.
"""

from __future__ import annotations

import ctypes as c
import importlib.util
import os
import sys
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import DTYPES, Array

_STRING = 7
_TSTRING_SIZE = 24
_TSTRING_SMALL_MAX = 22
"""Strings up to this length live inside the 24 bytes of TensorFlow's own string type."""

_CALLERS_THREAD = m.RunOptions(inter_op_thread_pool=-1).SerializeToString()


_LOOP_MARKERS = tuple(
    bytes((0x12, len(op))) + op for op in (b"While", b"StatelessWhile", b"Enter", b"For", b"PyFunc", b"EagerPyFunc")
)
"""Operations whose run time the size of the input does not bound, as field 2 of a NodeDef on the wire."""


class Endpoint(c.Structure):
    """One output of one operation of a loaded graph: what a signature's tensor name stands for. A TF_Output."""

    _fields_ = (("operation", c.c_void_p), ("index", c.c_int))


class _Buffer(c.Structure):
    _fields_ = (("data", c.c_void_p), ("length", c.c_size_t), ("deallocate", c.c_void_p))


_p, _buf, _outs, _ptrs = c.c_void_p, c.POINTER(_Buffer), c.POINTER(Endpoint), c.POINTER(c.c_void_p)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "TF_Version": (c.c_char_p, []),
    "TF_NewStatus": (_p, []),
    "TF_SetStatus": (None, [_p, c.c_int, c.c_char_p]),
    "TF_GetCode": (c.c_int, [_p]),
    "TF_Message": (_p, [_p]),
    "TF_NewBuffer": (_buf, []),
    "TF_NewBufferFromString": (_buf, [c.c_char_p, c.c_size_t]),
    "TF_DeleteBuffer": (None, [_buf]),
    "TF_NewGraph": (_p, []),
    "TF_DeleteGraph": (None, [_p]),
    "TF_GraphOperationByName": (_p, [_p, c.c_char_p]),
    "TF_OperationNumOutputs": (c.c_int, [_p]),
    "TF_NewSessionOptions": (_p, []),
    "TF_DeleteSessionOptions": (None, [_p]),
    "TF_SetConfig": (None, [_p, c.c_char_p, c.c_size_t, _p]),
    "TF_LoadSessionFromSavedModel": (_p, [_p, _buf, c.c_char_p, c.POINTER(c.c_char_p), c.c_int, _p, _buf, _p]),
    "TF_CloseSession": (None, [_p, _p]),
    "TF_DeleteSession": (None, [_p, _p]),
    "TF_SessionRun": (None, [_p, _buf, _outs, _ptrs, c.c_int, _outs, _ptrs, c.c_int, _p, c.c_int, _buf, _p]),
    "TF_AllocateTensor": (_p, [c.c_int, c.POINTER(c.c_int64), c.c_int, c.c_size_t]),
    "TF_DeleteTensor": (None, [_p]),
    "TF_TensorData": (_p, [_p]),
    "TF_TensorByteSize": (c.c_size_t, [_p]),
    "TF_TensorType": (c.c_int, [_p]),
    "TF_NumDims": (c.c_int, [_p]),
    "TF_Dim": (c.c_int64, [_p, c.c_int]),
    "TF_StringCopy": (None, [_p, c.c_char_p, c.c_size_t]),
    "TF_StringInit": (None, [_p]),
    "TF_StringDealloc": (None, [_p]),
    "TF_StringGetDataPointer": (_p, [_p]),
    "TF_StringGetSize": (c.c_size_t, [_p]),
}


@cache
def _library() -> Any:
    """The C API with its signatures set. Errors: StatusError FAILED_PRECONDITION when tensorflow is not installed."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise StatusError(
            Code.FAILED_PRECONDITION,
            "the tensorflow package is not installed; the embedded model server needs it (pip install tensorflow)",
        )
    folder = Path(spec.submodule_search_locations[0])
    # Failures come back as statuses; the log would only add that there is no GPU.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The kernels that TensorFlow Serving uses, on every CPU; the wheel chooses them by CPU model.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    suffix = ".2.dylib" if sys.platform == "darwin" else ".so.2"
    # Not RTLD_GLOBAL: TensorFlow's copies of other libraries' symbols would replace those that Python uses.
    c.CDLL(str(folder / f"libtensorflow_framework{suffix}"))
    library = c.CDLL(str(folder / f"libtensorflow_cc{suffix}"))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def version() -> str:
    """The version of TensorFlow that runs the models, such as "2.21.0"."""
    return str(_library().TF_Version().decode())


class _Status(threading.local):
    """The TF_Status of each thread; `check` raises what it holds. A run resets it, other calls need `reset`."""

    def __init__(self) -> None:
        self.pointer = _library().TF_NewStatus()

    def reset(self) -> None:
        _library().TF_SetStatus(self.pointer, 0, b"")

    def check(self) -> None:
        code = _library().TF_GetCode(self.pointer)
        if code:
            raise StatusError(Code(code), self._message().decode("utf-8", "surrogateescape"))

    def _message(self) -> bytes:
        """The whole text. It may hold bytes of the request, so a NUL too, where the C API thinks it ends.

        A status points to its reference count, its code and then its text as a std::string, which begins with a
        pointer to the bytes and their number. Where the library was built otherwise the pointers differ.
        """
        text = _library().TF_Message(self.pointer)
        held = c.cast(self.pointer, _ptrs)[0] or 0
        if held and not held & 3:  # the lowest bits mark a status without a text
            start, size = c.cast(held + 8, c.POINTER(c.c_size_t))[0:2]
            if start == text:
                return c.string_at(text, size)
        return c.string_at(text)


@cache
def _status() -> _Status:
    return _Status()


class Session:
    """A loaded SavedModel. Thread-safe; `close` only after the last run has ended.

    `meta` holds the signatures; the graph itself is dropped from it. `loops` tells whether the graph, its functions
    included, may run for longer than its size says.
    """

    def __init__(self, session: int, graph: int, meta: bytes) -> None:
        self._session, self._graph = session, graph
        self.loops = any(marker in meta for marker in _LOOP_MARKERS)
        self.meta = m.MetaGraphDef.FromString(meta)
        self.meta.DiscardUnknownFields()
        self._no_pool = _library().TF_NewBufferFromString(_CALLERS_THREAD, len(_CALLERS_THREAD))

    def endpoint(self, tensor_name: str) -> Endpoint:
        """Resolve "operation:index" (or "operation", index 0).

        Errors: StatusError NOT_FOUND when the graph has no such operation or output.
        """
        name, _, index = tensor_name.partition(":")
        operation = _library().TF_GraphOperationByName(self._graph, name.encode())
        number = int(index) if index.isdecimal() else 0
        if not operation or number >= _library().TF_OperationNumOutputs(operation):
            raise StatusError(
                Code.NOT_FOUND,
                f"Tensor {tensor_name}, specified in either feed_devices or fetch_devices was not found in the Graph",
            )
        return Endpoint(operation, number)

    def run(
        self,
        feeds: Sequence[tuple[Endpoint, Tensor]],
        fetches: Sequence[Endpoint],
        *,
        timeout_ms: int = 0,
        in_callers_thread: bool = False,
    ) -> list[Tensor]:
        """Feed, compute, fetch. The interpreter lock is released meanwhile.

        `timeout_ms` 0 is no limit; a run in the caller's thread is cheaper but cannot be interrupted.
        Errors: StatusError with TensorFlow's own code and text.
        """
        lib = _library()
        options = self._options(timeout_ms, in_callers_thread)
        feed_keys = (Endpoint * len(feeds))(*[endpoint for endpoint, _ in feeds])
        fetch_keys = (Endpoint * len(fetches))(*fetches)
        values = (c.c_void_p * len(fetches))()
        long_strings: list[int] = []
        fed: list[int] = []
        try:
            for _, tensor in feeds:
                fed.append(_to_native(tensor, long_strings))
            feed_values = (c.c_void_p * len(feeds))(*fed)
            status = _status()
            lib.TF_SessionRun(
                self._session, options, feed_keys, feed_values, len(feeds), fetch_keys, values, len(fetches),
                None, 0, None, status.pointer,
            )  # fmt: skip
            status.check()
            return [_from_native(value) for value in values if value]
        finally:
            for value in values:
                if value:
                    lib.TF_DeleteTensor(value)
            for string in long_strings:
                lib.TF_StringDealloc(string)
            for value in fed:
                lib.TF_DeleteTensor(value)
            if timeout_ms > 0 and not in_callers_thread:
                lib.TF_DeleteBuffer(options)

    def _options(self, timeout_ms: int, in_callers_thread: bool) -> Any:
        if in_callers_thread:
            return self._no_pool
        if timeout_ms <= 0:
            return None
        wire = m.RunOptions(timeout_in_ms=timeout_ms).SerializeToString()
        return _library().TF_NewBufferFromString(wire, len(wire))

    def close(self) -> None:
        """Free the model's memory."""
        lib = _library()
        lib.TF_CloseSession(self._session, _status().pointer)
        lib.TF_DeleteSession(self._session, _status().pointer)
        lib.TF_DeleteGraph(self._graph)
        lib.TF_DeleteBuffer(self._no_pool)


def load(path: str, tags: Sequence[str], config: m.ConfigProto) -> Session:
    """Load a SavedModel folder: restores its variables and runs its initialiser.

    Errors: StatusError with the loader's own code and text.
    """
    lib = _library()
    graph = lib.TF_NewGraph()
    buffer = lib.TF_NewBuffer()
    options = lib.TF_NewSessionOptions()
    wire = config.SerializeToString()
    tag_array = (c.c_char_p * len(tags))(*[t.encode() for t in tags])
    try:
        status = _status()
        status.reset()
        lib.TF_SetConfig(options, wire, len(wire), status.pointer)
        status.check()
        session = lib.TF_LoadSessionFromSavedModel(
            options, None, os.fsencode(path), tag_array, len(tags), graph, buffer, status.pointer
        )
        status.check()
        meta = c.string_at(buffer.contents.data, buffer.contents.length)
    except StatusError:
        lib.TF_DeleteGraph(graph)
        raise
    finally:
        lib.TF_DeleteSessionOptions(options)
        lib.TF_DeleteBuffer(buffer)
    return Session(session, graph, meta)


def _to_native(tensor: Tensor, long_strings: list[int]) -> int:
    lib = _library()
    array = tensor.array
    shape = tensor.shape
    dims = (c.c_int64 * len(shape))(*shape)
    if tensor.dtype.number == _STRING:
        return _strings_to_native(array, dims, long_strings)
    storage = tensor.dtype.storage
    array = np.ascontiguousarray(array, storage)
    native = lib.TF_AllocateTensor(tensor.dtype.number, dims, len(dims), array.nbytes)
    if array.nbytes:
        c.memmove(lib.TF_TensorData(native), array.ctypes.data, array.nbytes)
    return int(native)


def _strings_to_native(array: Array, dims: Any, long_strings: list[int]) -> int:
    """Short strings are laid out in place, in one copy; long ones are allocated by TensorFlow and noted for release."""
    lib = _library()
    flat = [s if isinstance(s, bytes) else str(s).encode() for s in array.ravel().tolist()]
    native = lib.TF_AllocateTensor(_STRING, dims, len(dims), _TSTRING_SIZE * len(flat))
    if not flat:
        return int(native)
    data = lib.TF_TensorData(native)
    cells = b"".join(
        [(bytes((len(s) << 2,)) + s if len(s) <= _TSTRING_SMALL_MAX else b"").ljust(_TSTRING_SIZE, b"\0") for s in flat]
    )
    c.memmove(data, cells, len(cells))
    for i, s in enumerate(flat):
        if len(s) > _TSTRING_SMALL_MAX:
            lib.TF_StringCopy(data + i * _TSTRING_SIZE, s, len(s))
            long_strings.append(data + i * _TSTRING_SIZE)
    return int(native)


def _from_native(native: int) -> Tensor:
    lib = _library()
    number = lib.TF_TensorType(native)
    dtype = DTYPES.get(number)
    if dtype is None:
        raise StatusError(Code.UNIMPLEMENTED, f"an output has element type {number}, which cannot be sent to a client")
    shape = tuple([lib.TF_Dim(native, i) for i in range(lib.TF_NumDims(native))])
    if number == _STRING:
        return Tensor.shaped(dtype, _strings_from_native(native), shape)
    size = lib.TF_TensorByteSize(native)
    content = c.string_at(lib.TF_TensorData(native), size) if size else b""
    return Tensor.shaped(dtype, np.frombuffer(content, dtype.storage), shape)


def _strings_from_native(native: int) -> Array:
    lib = _library()
    count = lib.TF_TensorByteSize(native) // _TSTRING_SIZE
    out = np.empty(count, object)
    data = lib.TF_TensorData(native) if count else 0
    for i in range(count):
        cell = data + i * _TSTRING_SIZE
        out[i] = c.string_at(lib.TF_StringGetDataPointer(cell), lib.TF_StringGetSize(cell))
    return out
